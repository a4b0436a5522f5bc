package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	chains "github.com/bearergate/bearergate/envoy/config"
)

const gateway = "127.0.0.1:10000"

// startGateway starts a real Envoy with the filter and the cluster that the
// notes of a release show, which finds the Pods by the headless Service.
func startGateway(t *testing.T, r *installation, token string) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	bootstrap, err := chains.Bootstrap("envoy.yaml", chains.Addresses{
		Listener: gateway, Admin: "127.0.0.1:9901", Upstream: upstream.Listener.Addr().String(), Bearergate: "127.0.0.1:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := r.snippets(t)
	if len(shown) != 3 {
		t.Fatalf("got %d snippets in the notes, want 3", len(shown))
	}
	// A machine that is busy with other tests is no failure of what is shown.
	filter := shown[0]
	for _, limit := range []string{"timeout: 1s", "max_interval: 1s"} {
		if strings.Count(filter, limit) != 1 {
			t.Fatalf("got no one %q in %s", limit, filter)
		}
		filter = strings.Replace(filter, limit, strings.Replace(limit, "1s", "5s", 1), 1)
	}
	bootstrap = replaceElement(t, bootstrap, "envoy.filters.http.ext_authz", filter)
	bootstrap = replaceElement(t, bootstrap, "bearergate", shown[2])
	write(t, inWork("envoy.yaml"), bootstrap)
	programs, name := filepath.Split(os.Getenv("ENVOY"))
	start(t, programs, name, "-c", inWork("envoy.yaml"), "--log-level", "warn",
		"--disable-hot-restart", "--concurrency", "2")
	eventually(t, "Envoy", func() error {
		if answer := requestAnswer(token, http.StatusOK, allowed); answer != allowed {
			return errors.New(answer)
		}
		return nil
	})
}

// snippets are the blocks of a release's notes that are indented by five spaces.
func (r *installation) snippets(t *testing.T) []string {
	t.Helper()
	var blocks []string
	inside := false
	notes := output(inWork("helm"), "get", "notes", r.name, "--namespace", namespace)
	for line := range strings.Lines(string(notes)) {
		text, ok := strings.CutPrefix(line, "     ")
		switch {
		case ok && inside:
			blocks[len(blocks)-1] += text
		case ok:
			blocks = append(blocks, text)
		}
		inside = ok
	}
	return blocks
}

// replaceElement puts the only element of a YAML list in place of the element
// of that name, wherever it is.
func replaceElement(t *testing.T, document, name, list string) string {
	t.Helper()
	var all any
	var replacement []any
	if err := errors.Join(
		yaml.Unmarshal([]byte(document), &all), yaml.Unmarshal([]byte(list), &replacement),
	); err != nil {
		t.Fatal(err)
	}
	if len(replacement) != 1 || replace(all, name, replacement[0]) != 1 {
		t.Fatalf("got no one place for %s", list)
	}
	content, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// replace returns how many elements of lists had the name, and have become another.
func replace(node any, name string, with any) (found int) {
	switch node := node.(type) {
	case map[string]any:
		for _, value := range node {
			found += replace(value, name, with)
		}
	case []any:
		for i, value := range node {
			if element, ok := value.(map[string]any); ok && element["name"] == name {
				node[i] = with
				found++
			} else {
				found += replace(value, name, with)
			}
		}
	}
	return found
}

// request asks for something behind Envoy, and returns status and header.
func request(ctx context.Context, token string) (int, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gateway+"/orders/1", nil)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	return response.StatusCode, response.Header, response.Body.Close()
}

// checks returns how many Checks a Pod has answered since its process began.
func checks(pod netip.Addr) (int, error) {
	sum, err := metric(pod, "bearergate_checks_total")
	return int(sum), err
}

// metric returns the sum of the series of a metric of a Pod.
func metric(pod netip.Addr, name string) (sum float64, err error) {
	response, err := http.Get("http://" + pod.String() + ":9193/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if series, _, _ := strings.Cut(series, "{"); series != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", lines.Text(), err)
		}
		sum += n
	}
	return sum, nil
}

// shares wants that each Pod of a Service answers a fair part of what is asked
// through Envoy: of three no fewer than a fifth.
func shares(t *testing.T, pods []netip.Addr, token string) {
	t.Helper()
	if len(pods) != 3 {
		t.Fatalf("got %d Pods, want 3", len(pods))
	}
	const requests = 600
	answered := func() map[netip.Addr]int {
		now := map[netip.Addr]int{}
		for _, pod := range pods {
			n, err := checks(pod)
			if err != nil {
				t.Fatal(err)
			}
			now[pod] = n
		}
		return now
	}
	before := answered()
	for range requests {
		if answer := requestAnswer(token, http.StatusOK, allowed); answer != allowed {
			t.Fatal(answer)
		}
	}
	for pod, n := range answered() {
		share := n - before[pod]
		t.Logf("%s: %d of %d", pod, share, requests)
		if share < requests/5 {
			t.Errorf("%s: got %d of %d Checks, want a fair part", pod, share, requests)
		}
	}
}
