package compose

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRequestsAreDecided(t *testing.T) {
	t.Parallel()
	p := up(t)
	p.waitHealthy(t, "bearergate", 1)
	p.want(t, http.StatusUnauthorized, "/orders/1", "")
	p.want(t, http.StatusUnauthorized, "/orders/1", "no-such-token")
	p.want(t, http.StatusForbidden, "/orders/1", p.mustToken(t, "scope", "orders:write"))
	p.want(t, http.StatusUnauthorized, "/orders/1", p.mustToken(t, "audience", "another-api"))
	p.want(t, http.StatusOK, "/healthz", "")
	for _, format := range []string{"jwt", "opaque"} {
		got := p.want(t, http.StatusOK, "/orders/1", p.mustToken(t, "format", format))
		if got.Headers["X-Auth-Sub"] != "demo" || got.Headers["X-Auth-Scope"] != "orders:read" {
			t.Errorf("%s: headers to the upstream: got %v, want sub demo and scope orders:read", format, got.Headers)
		}
		if _, ok := got.Headers["Authorization"]; ok {
			t.Errorf("%s: the upstream saw the token", format)
		}
	}
}

// The lines at the head of docker-compose.yaml do what they say.
func TestCurlLines(t *testing.T) {
	t.Parallel()
	p := up(t)
	content, err := os.ReadFile("docker-compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("127.0.0.1:8080", p.issuer, "127.0.0.1:10000", p.envoy).Replace(commands(string(content)))
	out, err := output(exec.Command("sh", "-euc", script))
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	var got []string
	for _, match := range regexp.MustCompile(`HTTP/1\.1 (\d{3})`).FindAllStringSubmatch(out, -1) {
		got = append(got, match[1])
	}
	if want := []string{"401", "200"}; !slices.Equal(got, want) {
		t.Errorf("statuses: got %q, want %q\n%s", got, want, out)
	}
}

// commands returns the shell lines of the comment, but for docker's own.
func commands(file string) string {
	var lines []string
	for line := range strings.Lines(file) {
		command, ok := strings.CutPrefix(line, "#   ")
		if ok && !strings.HasPrefix(command, "docker ") {
			lines = append(lines, command)
		}
	}
	return strings.Join(lines, "")
}

// Each service is started alone, so that nothing waits for anything: also
// Bearergate before its trust anchors exist, and Envoy before both.
func TestStartInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range []string{
		"envoy bearergate upstream issuer certificates",
		"certificates bearergate envoy upstream issuer",
		"certificates issuer upstream envoy bearergate",
	} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			for service := range strings.FieldsSeq(order) {
				p.must(t, "up", "--detach", "--no-build", "--no-deps", service)
				time.Sleep(time.Second)
				if got, err := p.get("/orders/1", ""); err == nil && got.status == http.StatusOK {
					t.Fatalf("after %s: a request without a token passed", service)
				}
			}
			p.waitAllowed(t)
			for _, service := range []string{"issuer", "bearergate", "upstream"} {
				p.waitHealthy(t, service, 1)
			}
		})
	}
}

// While the authorization server is away what needs it is 503, never 401, and
// the rest goes on. When it is back, with new keys, everything goes on.
func TestAuthorizationServerRestarted(t *testing.T) {
	t.Parallel()
	p := up(t)
	used, unused, opaque := p.mustToken(t), p.mustToken(t), p.mustToken(t, "format", "opaque")
	p.want(t, http.StatusOK, "/orders/1", used)

	p.must(t, "stop", "--timeout", "2", "issuer")
	p.want(t, http.StatusOK, "/orders/1", used)
	p.want(t, http.StatusOK, "/orders/1", unused)
	got := p.want(t, http.StatusServiceUnavailable, "/orders/1", opaque)
	if got.header.Get("Retry-After") == "" || got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("headers: got %v, want Retry-After and no challenge", got.header)
	}
	p.want(t, http.StatusUnauthorized, "/orders/1", "")

	p.must(t, "start", "issuer")
	p.waitAllowed(t)
	p.waitHealthy(t, "bearergate", 1)
}

// Without Bearergate nothing passes, not even what is public, and a new one is
// found by its name.
func TestBearergateKilledAndReplaced(t *testing.T) {
	t.Parallel()
	p := up(t)
	token := p.mustToken(t)
	before := p.want(t, http.StatusOK, "/orders/1", token).Requests

	docker(t, "rm", "--force", p.containers(t, "bearergate")[0])
	for range 20 {
		p.want(t, http.StatusServiceUnavailable, "/orders/1", token)
		p.want(t, http.StatusServiceUnavailable, "/orders/1", "")
		time.Sleep(100 * time.Millisecond)
	}

	p.must(t, "up", "--detach", "--no-build", "bearergate")
	var after answer
	eventually(t, "the token passes", func() error {
		var err error
		if after, err = p.get("/orders/1", token); err == nil && after.status != http.StatusOK {
			err = fmt.Errorf("status: got %d, want 200", after.status)
		}
		return err
	})
	if got := after.Requests - before; got != 1 {
		t.Errorf("requests that reached the upstream: got %d, want 1", got)
	}
}

// The chain that users copy is the one that runs here.
func TestFilterChainIsThePublishedOne(t *testing.T) {
	ours, published := manager(t, "envoy.yaml"), manager(t, "../../envoy/config/envoy.yaml")
	if ours != published {
		t.Errorf("connection manager: got\n%s\nwant that of envoy/config/envoy.yaml\n%s", ours, published)
	}
}

// manager is everything that the connection manager is told, filters included.
func manager(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(content), "stat_prefix: ingress\n")
	chain, _, ended := strings.Cut(rest, "\n  clusters:\n")
	if !found || !ended {
		t.Fatalf("%s: no connection manager before clusters", file)
	}
	return chain
}
