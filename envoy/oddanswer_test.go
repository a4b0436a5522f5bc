package envoy

import (
	"context"
	"log/slog"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/bearergate/bearergate/authz"
)

// TestAnAllowThatEnvoyCannotReadIsADeny: a Policy may be anybody's, and to Envoy an
// answer that it cannot read is an outage of ours, which failure_mode_allow lets pass
// with the client's own headers (E-06). The generated code refuses to write one.
func TestAnAllowThatEnvoyCannotReadIsADeny(t *testing.T) {
	for name, d := range map[string]authz.Decision{
		"value":   {Reason: authz.Allowed, Set: []authz.HeaderValue{{Name: "x-auth-sub", Value: "\xff"}}},
		"name":    {Reason: authz.Allowed, Set: []authz.HeaderValue{{Name: "\xff", Value: "v"}}},
		"removed": {Reason: authz.Allowed, Remove: []string{"\xff"}},
	} {
		s := NewServer(Observer{}, slog.New(slog.DiscardHandler))
		s.Use(decider(func(context.Context, *authz.Request) authz.Decision { return d }))
		answer, err := s.Answer(t.Context(), wire(t, full()), nil)
		if err != nil {
			t.Fatal(err)
		}
		response := new(authv3.CheckResponse)
		if err := proto.Unmarshal(answer, response); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
