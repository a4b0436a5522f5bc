package istio

import (
	"os"
	"strings"
	"testing"

	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
)

const checksTokens = "envoy.filters.http.jwt_authn"

// documented is the block of docs/migrating.md with RequestAuthentication and its
// policy. Its keys stand in it, so that istiod fetches none.
func documented(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(root + "/docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n# Istio, before\n")
	block, _, found := strings.Cut(rest, "```\n")
	const audiences = "      audiences: [orders-api]\n"
	if !found || strings.Count(block, audiences) != 1 {
		t.Fatalf("the page has another block: %s", block)
	}
	return strings.Replace(block, audiences, audiences+"      jwks: '{\"keys\": []}'\n", 1)
}

// TestBesideRequestAuthentication: docs/migrating.md rests on it that Istio asks
// Bearergate first, while the token is there and before the headers are made, and
// that RequestAuthentication then takes the token away.
func TestBesideRequestAuthentication(t *testing.T) {
	for file, at := range map[string]struct {
		listener string
		changes  []string
	}{
		sidecarFile: {listener: "virtualInbound"},
		gatewayFile: {listener: "0.0.0.0_443", changes: []string{
			"namespace: orders", "namespace: ingress",
			"app.kubernetes.io/name: orders", "gateway.networking.k8s.io/gateway-name: ingress",
		}},
	} {
		t.Run(at.listener, func(t *testing.T) {
			in := load(t, file)
			in.add(t, strings.NewReplacer(at.changes...).Replace(documented(t)))
			proxy := sidecar()
			if file == gatewayFile {
				proxy = ingress()
			}
			http, _ := split(translate(t, in, proxy).chains(t, at.listener))
			for _, c := range http {
				ours, theirs := c.position(t, httpAsks), c.position(t, checksTokens)
				if ours < 0 || theirs < ours {
					t.Fatalf("%s: got %s at %d and %s at %d, want one before the other", c.name, httpAsks, ours, checksTokens, theirs)
				}
				filter := unpack(t, c.http.GetHttpFilters()[theirs].GetTypedConfig(), new(jwtauthnv3.JwtAuthentication))
				if len(filter.GetProviders()) != 1 {
					t.Errorf("%s: got %d providers, want 1", c.name, len(filter.GetProviders()))
				}
				for _, p := range filter.GetProviders() {
					if p.GetForward() {
						t.Errorf("%s: the token goes on", c.name)
					}
				}
			}
			if len(http) == 0 {
				t.Error("got no chain of HTTP")
			}
		})
	}
}
