package cluster

import (
	"bufio"
	"context"
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

	chains "github.com/bearergate/bearergate/envoy/config"
)

const gateway = "127.0.0.1:10000"

// startGateway starts a real Envoy with the shipped chain, which finds the Pods
// by the name of a headless Service.
func startGateway(t *testing.T, service, token string) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	bootstrap, err := chains.Bootstrap("envoy.yaml", chains.Addresses{
		Listener: gateway, Admin: "127.0.0.1:9901", Upstream: upstream.Listener.Addr().String(),
		Bearergate: service + "." + namespace + ".svc.cluster.local:9191",
	})
	if err != nil {
		t.Fatal(err)
	}
	const static = "- name: bearergate\n      type: STATIC\n"
	if !strings.Contains(bootstrap, static) {
		t.Fatalf("the chain has no %q", static)
	}
	byName := strings.Replace(static, "STATIC", "STRICT_DNS\n      dns_lookup_family: V4_ONLY", 1)
	write(t, inWork("envoy.yaml"), strings.Replace(bootstrap, static, byName, 1))
	programs, name := filepath.Split(os.Getenv("ENVOY"))
	start(t, programs, name, "-c", inWork("envoy.yaml"), "--log-level", "warn",
		"--disable-hot-restart", "--concurrency", "2")
	eventually(t, "Envoy", func() error { return request(t.Context(), token) })
}

// request asks for something behind Envoy.
func request(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gateway+"/orders/1", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s, want 200", response.Status)
	}
	return nil
}

// checks returns how many Checks a Pod has answered.
func checks(t *testing.T, pod netip.Addr) int {
	t.Helper()
	response, err := http.Get("http://" + pod.String() + ":9192/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if series, value, _ := strings.Cut(lines.Text(), " "); strings.HasPrefix(series, "bearergate_checks_total") {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			sum += n
		}
	}
	return int(sum)
}

// shares wants that each Pod of a Service answers a fair part of what is asked
// through Envoy: of three no fewer than a fifth.
func shares(t *testing.T, pods []netip.Addr, token string) {
	t.Helper()
	if len(pods) != 3 {
		t.Fatalf("got %d Pods, want 3", len(pods))
	}
	const requests = 600
	before := map[netip.Addr]int{}
	for _, pod := range pods {
		before[pod] = checks(t, pod)
	}
	for range requests {
		if err := request(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range pods {
		share := checks(t, pod) - before[pod]
		t.Logf("%s: %d of %d", pod, share, requests)
		if share < requests/5 {
			t.Errorf("%s: got %d of %d Checks, want a fair part", pod, share, requests)
		}
	}
}
