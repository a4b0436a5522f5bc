package e2e

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

const migrating = "../../docs/migrating.md"

// The issuer of the page; the tests put their own in its place.
const documentedIssuer = "https://auth.example.com"

// documented returns the YAML block of docs/migrating.md that begins with this
// comment.
func documented(t *testing.T, comment string) string {
	t.Helper()
	page, err := os.ReadFile(migrating)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n# "+comment+"\n")
	block, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatalf("the page has no block %q", comment)
	}
	return block
}

// loopback is a configuration of the page for issuers on loopback.
func loopback(config, issuer string) string {
	return `server: {grpc_address: "$GRPC", admin_address: "$ADMIN"}` + "\n" + strings.NewReplacer(
		"  issuer: "+documentedIssuer, "  insecure_http: true\n  issuer: "+issuer,
		"{issuer: "+documentedIssuer, "{insecure_http: true, issuer: "+issuer,
		"{issuer: https://partner.example.com", "{insecure_http: true, issuer: "+issuer+"/partner",
	).Replace(config)
}

// enforced is step 3 of the page.
func enforced(config string) string { return strings.ReplaceAll(config, "    enforce: false\n", "") }

type object = map[string]any

// parsed reads a block, or a bootstrap.
func parsed(t *testing.T, content string) object {
	t.Helper()
	var all object
	if err := yaml.Unmarshal([]byte(content), &all); err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	return all
}

// gateway is the chain of envoy.yaml with other filters before the router.
type gateway struct {
	bootstrap, manager, listener object
	ours, router                 any
}

func newGateway(t *testing.T, a chains.Addresses) gateway {
	t.Helper()
	content, err := chains.Bootstrap("envoy.yaml", a)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway{bootstrap: parsed(t, content)}
	g.listener = g.bootstrap["static_resources"].(object)
	chain := g.listener["listeners"].([]any)[0].(object)["filter_chains"].([]any)[0].(object)
	g.manager = chain["filters"].([]any)[0].(object)["typed_config"].(object)
	filters := g.manager["http_filters"].([]any)
	g.ours, g.router = filters[0], filters[1]
	return g
}

// jwtAuthn is the filter of the page, and the cluster that it fetches keys
// through.
func jwtAuthn(t *testing.T, issuer string) (filter any, cluster object) {
	t.Helper()
	block := strings.ReplaceAll(documented(t, "Envoy, before"), documentedIssuer, issuer)
	host, port, err := net.SplitHostPort(strings.TrimPrefix(issuer, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
	return parsed(t, block)["http_filters"].([]any)[0], parsed(t, `{name: auth, load_assignment: {cluster_name: auth,
  endpoints: [{lb_endpoints: [{endpoint: {address: `+address+`}}]}]}}`)
}

// start runs Envoy with these filters before the router, and with the changes
// that the page makes to the chain where Bearergate is one of them.
func (g gateway) start(t *testing.T, a chains.Addresses, filters []any, clusters ...any) *harness.Envoy {
	t.Helper()
	changes := parsed(t, documented(t, "Envoy, both: instead of x-auth-* in envoy.yaml"))
	g.manager["early_header_mutation_extensions"] = changes["early_header_mutation_extensions"]
	ours := g.ours.(object)["typed_config"].(object)
	ours["decoder_header_mutation_rules"] = changes["decoder_header_mutation_rules"]
	g.manager["http_filters"] = append(filters, g.router)
	g.listener["clusters"] = append(g.listener["clusters"].([]any), clusters...)
	content, err := yaml.Marshal(g.bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, t.TempDir(), "envoy.yaml", content)
	e := &harness.Envoy{URL: "http://" + a.Listener, Admin: "http://" + a.Admin}
	e.Process = harness.Run(t, nil, harness.EnvoyBinary(t),
		"-c", file, "--log-level", "warn", "--disable-hot-restart", "--concurrency", "2")
	e.Wait(t, e.Admin+"/ready", http.StatusOK)
	return e
}

// request is one of the journey, and what the client gets for it: from jwt_authn,
// and with it until Bearergate's rules are enforced, and from Bearergate.
type request struct {
	name, path, token string
	before, after     int
	reason            string // of Bearergate, where it refuses
}

func journey(s *stage) []request {
	token := func(change claims) string {
		all := claims{"aud": "orders-api", "groups": []string{"staff", "on call"}}
		maps.Copy(all, change)
		return s.jwt(all)
	}
	id := devissuer.Sign(s.issuer.Key(), claims{"typ": "JWT"}, claims{
		"iss": s.issuer.URL(), "sub": "alice", "aud": "orders-api", "nonce": "n", "exp": time.Now().Add(time.Hour).Unix(),
	})
	return []request{
		{"good", "/orders", token(nil), 200, 200, ""},
		{"public", "/healthz", "", 200, 200, ""},
		{"none", "/orders", "", 401, 401, "no_token"},
		{"expired", "/orders", token(claims{"exp": 1}), 401, 401, "expired"},
		{"another audience", "/orders", token(claims{"aud": "other"}), 403, 401, "wrong_audience"},
		{"another issuer", "/orders", token(claims{"iss": "https://other.example.com"}), 401, 401, "wrong_issuer"},
		{"opaque", "/orders", "opaque", 401, 401, "malformed_token"},
		{"ID token", "/orders", id, 200, 401, "wrong_type"},
		{"in the query", "/orders?access_token=" + token(nil), "", 200, 401, "no_token"},
	}
}

// spoof is what a client might say of itself.
var spoof = http.Header{"X-Jwt-Sub": {"root"}, "X-Jwt-Groups": {"root"}, "X-Jwt-Payload": {"root"}}

// travel makes each request, and holds the answers and what the upstream sees to
// what is wanted: identity of jwt_authn's making, or of Bearergate's.
func (s *stage) travel(t *testing.T, want func(request) int, groups string, payload bool) {
	t.Helper()
	for _, r := range journey(s) {
		headers := spoof.Clone()
		if r.token != "" {
			headers["Authorization"] = []string{"Bearer " + r.token}
		}
		resp, body := s.get(t, r.path, headers)
		seen := s.upstream.Take()
		if resp.StatusCode != want(r) || len(seen) != map[bool]int{true: 1}[want(r) == http.StatusOK] {
			t.Errorf("%s: got %d %s, and %d requests at the upstream; want %d",
				r.name, resp.StatusCode, body, len(seen), want(r))
		}
		for _, u := range seen {
			if u.Header.Get("Authorization") != "" {
				t.Errorf("%s: the upstream got the token", r.name)
			}
			if strings.Contains(fmt.Sprint(u.Header), "root") {
				t.Errorf("%s: the upstream got the client's %v", r.name, u.Header)
			}
			if r.name != "good" {
				continue
			}
			if got := u.Header.Values("X-Jwt-Sub"); len(got) != 1 || got[0] != "alice" {
				t.Errorf("%s: got x-jwt-sub %q, want alice once", r.name, got)
			}
			if got := u.Header.Values("X-Jwt-Groups"); len(got) != 1 || got[0] != groups {
				t.Errorf("%s: got x-jwt-groups %q, want %s once", r.name, got, groups)
			}
			if got := u.Header.Get("X-Jwt-Payload") != ""; got != payload {
				t.Errorf("%s: got x-jwt-payload %t, want %t", r.name, got, payload)
			}
		}
	}
}

// TestFromJWTAuthn goes the way of docs/migrating.md with a real Envoy, in the
// page's own configuration. What matters is step 2: nothing that a client or the
// upstream sees differs, and every refusal to come is told.
func TestFromJWTAuthn(t *testing.T) {
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	beside := loopback(documented(t, "bearergate.yaml, beside jwt_authn"), s.issuer.URL())
	s.service = harness.Serve(t, beside).Ready(t)
	// What jwt_authn makes of a list, and Bearergate: a member's own space is not one between members.
	theirs, ours := base64.URLEncoding.EncodeToString([]byte(`["staff","on call"]`)), "staff on%20call"
	before := func(r request) int { return r.before }
	after := func(r request) int { return r.after }
	open := func(filters func(ours, theirs any) []any) {
		a := chains.Addresses{
			Listener: harness.Free(t), Bearergate: s.service.GRPC, Upstream: s.upstream.Address, Admin: harness.Free(t),
		}
		g := newGateway(t, a)
		filter, cluster := jwtAuthn(t, s.issuer.URL())
		s.envoy = g.start(t, a, filters(g.ours, filter), cluster)
		harness.Eventually(t, "Envoy has keys and reaches Bearergate", func() bool {
			resp, _ := s.get(t, "/orders", bearer(journey(s)[0].token))
			return resp.StatusCode == http.StatusOK
		})
		s.upstream.Take()
	}

	open(func(_, theirs any) []any { return []any{theirs} })
	s.travel(t, before, theirs, true)

	open(func(ours, theirs any) []any { return []any{ours, theirs} })
	told := func(reason string) float64 {
		return s.service.Metric(t, fmt.Sprintf("bearergate_shadow_total{reason=%q}", reason))
	}
	wanted := map[string]float64{}
	for _, r := range journey(s) {
		if r.reason != "" {
			wanted[r.reason] -= told(r.reason)
		}
	}
	s.travel(t, before, theirs, true)
	for reason := range wanted {
		wanted[reason] += told(reason)
	}
	for _, r := range journey(s) {
		if r.reason != "" {
			wanted[r.reason]--
		}
	}
	for reason, off := range wanted {
		if off != 0 {
			t.Errorf("beside: %s was told %+v times too often", reason, off)
		}
	}

	s.reload(t, enforced(beside))
	s.travel(t, after, theirs, true)

	s.reload(t, loopback(documented(t, "bearergate.yaml, instead of jwt_authn"), s.issuer.URL()))
	open(func(ours, _ any) []any { return []any{ours} })
	s.travel(t, after, ours, false)
}

// reload has the service read another configuration.
func (s *stage) reload(t *testing.T, config string) {
	t.Helper()
	const reloads = `bearergate_config_reloads_total{result="success"}`
	before := s.service.Metric(t, reloads)
	s.service.Write(t, config)
	harness.Eventually(t, "the reload", func() bool { return s.service.Metric(t, reloads) > before })
}

// TestMigratedRules has each configuration of the page validated, and asks the
// rules of those that have some.
func TestMigratedRules(t *testing.T) {
	issuer := harness.Issuer(t)
	token := func(change claims) string {
		all := claims{"sub": "alice", "aud": "orders-api", "scope": "orders:read", "groups": []string{"staff"}}
		maps.Copy(all, change)
		return "Bearer " + issuer.JWT(all)
	}
	staff, writer := token(nil), token(claims{"scope": "orders:write", "groups": nil})
	type ask struct{ method, path, authorization, reason string }
	for comment, asks := range map[string][]ask{
		"beside RequestAuthentication": {
			{"GET", "/healthz", "", "public"},
			{"GET", "/orders/1/lines", staff, "allowed"},
			{"GET", "/orders/1", writer, "forbidden"},
			{"DELETE", "/orders/1", writer, "allowed"},
			{"DELETE", "/orders/1", staff, "insufficient_scope"},
			{"GET", "/elsewhere", staff, "forbidden"},
			{"GET", "/orders/1", "", "no_token"},
		},
		"beside oauth2-proxy": {
			{"GET", "/healthz", "", "public"},
			{"POST", "/healthz", "", "no_token"},
			{"GET", "/orders", staff, "allowed"},
			{"GET", "/orders", writer, "forbidden"},
			{"GET", "/orders", "Basic YTpi", "no_token"},
		},
		"beside heimdall": {
			{"GET", "/healthz", "", "public"},
			{"GET", "/orders/1/lines", staff, "allowed"},
			{"GET", "/orders/1", writer, "forbidden"},
			{"PUT", "/orders/1", writer, "allowed"},
			{"PUT", "/orders/1", staff, "insufficient_scope"},
			{"PUT", "/orders/1/lines", writer, "forbidden"},
			{"GET", "/elsewhere", staff, "forbidden"},
		},
		"beside jwt_authn": nil, "instead of jwt_authn": nil,
	} {
		t.Run(comment, func(t *testing.T) {
			config := documented(t, "bearergate.yaml, "+comment)
			for _, content := range []string{config, enforced(config)} {
				file := write(t, t.TempDir(), "bearergate.yaml", []byte(content))
				output, err := exec.Command(harness.Binary(t), "validate", "--config", file).CombinedOutput()
				if err != nil {
					t.Errorf("%v: %s", err, output)
				}
			}
			if asks == nil {
				return
			}
			service := harness.Serve(t, loopback(enforced(config), issuer.URL()))
			client := service.Client(t)
			for _, a := range asks {
				headers := map[string]string{}
				if a.authorization != "" {
					headers["authorization"] = a.authorization
				}
				var got string
				harness.Eventually(t, "the issuer's keys", func() bool {
					check := harness.Check(a.method, "api.example.com", a.path, headers, nil)
					response, err := client.Check(t.Context(), check)
					got = harness.Reason(response)
					return err == nil && got != "unavailable"
				})
				if got != a.reason {
					t.Errorf("%s %s: got %s, want %s", a.method, a.path, got, a.reason)
				}
			}
		})
	}
}

// TestManifestsOfThePage: blocks of other programs are YAML, at least.
func TestManifestsOfThePage(t *testing.T) {
	for comment, want := range map[string]int{
		"Istio, before": 2, "heimdall, before: mechanisms and a rule set (0.17)": 2, "Envoy, before": 1,
	} {
		decoder, got := yaml.NewDecoder(strings.NewReader(documented(t, comment))), 0
		for {
			var document object
			if err := decoder.Decode(&document); err != nil {
				break
			}
			got++
		}
		if got != want {
			t.Errorf("%s: got %d documents, want %d", comment, got, want)
		}
	}
}
