package servers

import (
	"context"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/test/harness"
)

// TestServers puts the tokens of real authorization servers to Bearergate, with
// the configuration that the documentation shows for each. They take minutes to
// fetch and to start, so they run when SERVERS names them, or says all.
func TestServers(t *testing.T) {
	wanted := strings.Split(os.Getenv("SERVERS"), ",")
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			if !slices.Contains(wanted, name) && !slices.Contains(wanted, "all") {
				t.Skip("SERVERS does not name it")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
			defer cancel()
			s, err := Start(ctx, name, freePorts(t))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			tryTokens(ctx, t, s)
		})
	}
}

// freePorts returns the first of three ports in a row where nobody listens.
func freePorts(t *testing.T) int {
	t.Helper()
next:
	for range 100 {
		_, text, _ := net.SplitHostPort(harness.Free(t))
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		for more := range 3 {
			lis, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+more)))
			if err != nil {
				continue next
			}
			_ = lis.Close()
		}
		return port
	}
	t.Fatal("no three free ports in a row")
	return 0
}

func tryTokens(ctx context.Context, t *testing.T, s *Server) {
	for name, value := range s.Environment {
		t.Setenv(name, value)
	}
	configuration, err := s.Configuration()
	if err != nil {
		t.Fatal(err)
	}
	const addresses = "server: {grpc_address: \"$GRPC\", admin_address: \"$ADMIN\"}\n"
	client := harness.Serve(t, addresses+configuration).Ready(t).Client(t)
	for _, g := range s.Grants {
		session, err := s.Get(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range session.Tokens {
			want := refused()
			if token.Kind == "access" {
				want = []string{"allowed"}
				if g.Want != "" {
					want = []string{g.Want}
				}
			}
			expect(ctx, t, client, token, want...)
		}
		tryRevoked(ctx, t, s, g, client)
	}
	if s.Logout != "" {
		token, err := s.LogoutToken(ctx)
		if err != nil {
			t.Fatal(err)
		}
		expect(ctx, t, client, token, refused()...)
	}
}

// refused are the reasons for what is no access token. Keycloak signs refresh
// tokens with a secret of its own, and the algorithm is looked at first.
func refused() []string { return []string{"wrong_type", "inactive", "unsupported_algorithm"} }

// tryRevoked revokes an opaque token before Bearergate has seen it. A JWT is
// good until it ends, and many servers do not even take it back.
func tryRevoked(ctx context.Context, t *testing.T, s *Server, g Grant, client authv3.AuthorizationClient) {
	t.Helper()
	session, err := s.Get(ctx, g)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range session.Tokens {
		if token.Kind != "access" || strings.Count(token.Raw, ".") == 2 {
			continue
		}
		if err := s.Revoke(ctx, g.Client, token.Raw); err != nil {
			t.Fatal(err)
		}
		expect(ctx, t, client, token, "inactive")
	}
}

func expect(ctx context.Context, t *testing.T, client authv3.AuthorizationClient, token Token, want ...string) {
	t.Helper()
	got, response, err := harness.Ask(ctx, client, "/", "Bearer "+token.Raw)
	if err != nil || !slices.Contains(want, got) {
		t.Errorf("%s token, %s: got %s, %v; want %s", token.Kind, token.Grant, got, err, strings.Join(want, " or "))
	}
	if harness.Allowed(response) != (got == "allowed") {
		t.Errorf("%s token, %s: got reason %s and status %v", token.Kind, token.Grant, got, response.GetStatus())
	}
}
