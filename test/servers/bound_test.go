package servers

import (
	"context"
	"encoding/json"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// The resource of the checks, as harness.Check says it.
const boundResource = "https://api.example.com/"

// tryBound puts tokens that the server bound to a key to Bearergate: decided by
// itself where they are JWTs, and by the server's answer about each of them.
func tryBound(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	for _, strategy := range []string{"both", "introspection"} {
		if len(s.Bound) == 0 {
			return
		}
		client := serveWith(t, s, "", "dpop: {}\n", "token_validation: both", "token_validation: "+strategy)
		for _, algorithm := range []string{"ES256", "RS256", "PS256", "EdDSA"} {
			for _, g := range s.Bound {
				tryBoundToken(ctx, t, s, g, client, algorithm, strategy)
			}
		}
	}
}

func tryBoundToken(
	ctx context.Context, t *testing.T, s *Server, g Grant, client authv3.AuthorizationClient, algorithm, strategy string,
) {
	t.Helper()
	owner, thief := devissuer.NewProverOf(algorithm), devissuer.NewProverOf(algorithm)
	token, err := s.GetBound(ctx, g, owner)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := s.Introspect(ctx, token); strategy == "introspection" && (err != nil || !isActive(answer)) {
		return // oidc-provider says nothing about its JWTs
	}
	proof := owner.Proof("GET", boundResource, token, nil)
	for _, tc := range []struct{ name, scheme, proof, want string }{
		{"right", "DPoP", proof, "allowed"},
		{"replayed", "DPoP", proof, "invalid_proof"},
		{"no proof", "DPoP", "", "invalid_proof"},
		{"as bearer", "Bearer", "", "wrong_binding"},
		{"another's key", "DPoP", thief.Proof("GET", boundResource, token, nil), "wrong_binding"},
	} {
		headers := map[string]string{"authorization": tc.scheme + " " + token}
		if tc.proof != "" {
			headers["dpop"] = tc.proof
		}
		response, err := client.Check(ctx, harness.Check("GET", "api.example.com", "/", headers, nil))
		if got := harness.Reason(response); err != nil || got != tc.want {
			t.Errorf("%s, %s, %s, %s: got %s, %v; want %s", g.Name, algorithm, strategy, tc.name, got, err, tc.want)
		}
		if harness.Allowed(response) != (tc.want == "allowed") {
			t.Errorf("%s, %s: got %v", g.Name, tc.name, response.GetStatus())
		}
	}
}

func isActive(answer json.RawMessage) bool {
	var members struct{ Active bool }
	return json.Unmarshal(answer, &members) == nil && members.Active
}
