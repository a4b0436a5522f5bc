package compose

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What one replica was told to revoke the other refuses within a second, also after
// the store was replaced by an empty one; one introspection served both.
func TestFleet(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.env = []string{"CONFIG=fleet.yaml", "COMPOSE_PROFILES=fleet"}
	p.start(t, "--scale", "bearergate=2")
	p.waitHealthy(t, "bearergate", 2)
	eventually(t, "both replicas reach the store", func() error {
		for _, id := range p.containers(t, "bearergate") {
			if up := metric(t, id, "bearergate_shared_up"); up != 1 {
				return fmt.Errorf("bearergate_shared_up: got %v, want 1", up)
			}
		}
		return nil
	})

	token := p.mustToken(t, "format", "opaque")
	asked := p.introspections(t)
	p.both(t, token, http.StatusOK, "allowed")
	if got := p.introspections(t) - asked; got != 1 {
		t.Errorf("got %v introspections, want one for both replicas", got)
	}

	jwt := p.mustToken(t)
	p.both(t, jwt, http.StatusOK, "allowed")
	for _, token := range []string{token, jwt} {
		if said := p.revoke(t, token); !strings.Contains(said, "every replica") {
			t.Errorf("got %q, want that every replica knows", said)
		}
		time.Sleep(time.Second)
		p.both(t, token, http.StatusUnauthorized, "revoked")
	}

	store := p.containers(t, "store")[0]
	docker(t, "stop", "--time", "2", store)
	p.both(t, jwt, http.StatusUnauthorized, "revoked")
	p.both(t, p.mustToken(t, "format", "opaque"), http.StatusOK, "allowed")
	docker(t, "start", store) // it kept nothing
	newcomer := docker(t, "restart", "--time", "30", p.containers(t, "bearergate")[0])
	t.Logf("%s starts with an empty store", newcomer)
	p.waitHealthy(t, "bearergate", 2)
	eventually(t, "the restarted replica reads what the other wrote back", func() error {
		if n := metric(t, newcomer, "bearergate_revocation_entries"); n != 2 {
			return fmt.Errorf("bearergate_revocation_entries: got %v, want 2", n)
		}
		return nil
	})
	p.both(t, jwt, http.StatusUnauthorized, "revoked")
}

// both sends requests until each replica has answered one, all with this status.
func (p *project) both(t *testing.T, token string, status int, reason string) {
	t.Helper()
	decision := map[int]string{http.StatusOK: "allow"}[status]
	if decision == "" {
		decision = "deny"
	}
	series := fmt.Sprintf("bearergate_checks_total{decision=%q,reason=%q}", decision, reason)
	ids := p.containers(t, "bearergate")
	before := make([]float64, len(ids))
	for i, id := range ids {
		before[i] = metric(t, id, series)
	}
	for range 200 {
		p.want(t, status, "/orders/1", token)
		answered := 0
		for i, id := range ids {
			if metric(t, id, series) > before[i] {
				answered++
			}
		}
		if answered == len(ids) {
			return
		}
	}
	t.Errorf("one of %d replicas was never asked", len(ids))
}

// revoke tells the first replica.
func (p *project) revoke(t *testing.T, token string) string {
	t.Helper()
	cmd := exec.Command("docker", "exec", "--interactive", p.containers(t, "bearergate")[0], //nolint:gosec // ours
		"/bearergate", "revoke", "--issuer", "https://issuer:8443", "--token-file", "-", "--admin-token-file", "/tls/admin-token")
	cmd.Stdin = strings.NewReader(token)
	said, err := output(cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return said
}

// introspections are those that ended well, of all replicas.
func (p *project) introspections(t *testing.T) float64 {
	t.Helper()
	var sum float64
	for _, id := range p.containers(t, "bearergate") {
		sum += metric(t, id, `bearergate_introspection_requests_total{issuer="https://issuer:8443",result="active"}`)
	}
	return sum
}

// metric reads a series of one replica, whose network is that of the tests; zero: it
// has none.
func metric(t *testing.T, id, series string) float64 {
	t.Helper()
	address := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id)
	resp, err := client.Get("http://" + address + ":9192/metrics")
	if err != nil {
		t.Logf("%s: %v", id, err)
		return 0
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return 0
}
