package servers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
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
			port := freePorts(t)
			s := start(ctx, t, name, port)
			client := serve(t, s, "")
			tryTokens(ctx, t, s, client)
			tryScope(ctx, t, s)
			tryExchange(ctx, t, s)
			tryBound(ctx, t, s)
			trySignals(ctx, t, s)
			tryRotation(ctx, t, s)
			tryRestart(ctx, t, s, port, client)
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

// start runs a server until the end of the test. One that cannot be had here is
// skipped, and told apart from one that was tried.
func start(ctx context.Context, t *testing.T, name string, port int) *Server {
	t.Helper()
	s, err := Start(ctx, name, port)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// These servers share a machine with whatever else tests there: an answer may
// take long, which is no outage.
const patience = "  request_timeout: 30s\n"

// rotated is how soon the keys of a server are looked at again, and late what a
// busy machine may add to it.
const (
	rotated = 5 * time.Second
	late    = 5 * time.Second
)

// serve runs Bearergate with the configuration of the page, and more keys of the
// issuer.
func serve(t *testing.T, s *Server, more string) authv3.AuthorizationClient {
	t.Helper()
	return serveWith(t, s, more, "")
}

// serveWith adds sections too, and changes what the page says: old, new.
func serveWith(t *testing.T, s *Server, more, sections string, changes ...string) authv3.AuthorizationClient {
	t.Helper()
	return service(t, s, more, sections, changes...).Client(t)
}

func service(t *testing.T, s *Server, more, sections string, changes ...string) *harness.Service {
	t.Helper()
	for name, value := range s.Environment {
		t.Setenv(name, value)
	}
	configuration, err := s.Configuration()
	if err != nil {
		t.Fatal(err)
	}
	addresses := "server: {grpc_address: \"$GRPC\", admin_address: \"$ADMIN\"}\n" +
		"jwks: {refresh_interval: " + rotated.String() + "}\n"
	const loopback = "  insecure_http: true\n"
	configuration = strings.Replace(configuration, loopback, loopback+patience+more, 1)
	configuration = strings.NewReplacer(changes...).Replace(configuration)
	return harness.Serve(t, addresses+configuration+sections).Ready(t)
}

func tryTokens(ctx context.Context, t *testing.T, s *Server, client authv3.AuthorizationClient) {
	t.Helper()
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

// access returns the access token of each way to get one that Bearergate takes.
func access(ctx context.Context, t *testing.T, s *Server) []Token {
	t.Helper()
	var all []Token
	for _, g := range s.Grants {
		if g.Want != "" {
			continue
		}
		session, err := s.Get(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range session.Tokens {
			if token.Kind == "access" {
				all = append(all, token)
			}
		}
	}
	return all
}

// tryScope demands a scope that nobody was given.
func tryScope(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	client := serve(t, s, "  required_scopes: [nobody-has-it]\n")
	for _, token := range access(ctx, t, s) {
		expect(ctx, t, client, token, "insufficient_scope")
	}
}

// tryRotation makes the server sign with another key while it runs. The tokens
// of the new key pass at once; those of the old one pass as long as the server
// publishes it, and not much longer.
func tryRotation(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	t.Logf("%s: its keys change by %s", s.name, s.Rotation)
	client := serve(t, s, "")
	old := signed(access(ctx, t, s))
	for _, token := range old {
		expect(ctx, t, client, token, "allowed")
	}
	retire, err := s.Rotate(ctx)
	if errors.Is(err, ErrRestart) {
		t.Log(err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	fresh := signed(access(ctx, t, s))
	for _, token := range fresh {
		if got := keyID(t, token); got == keyID(t, old[0]) {
			t.Fatalf("%s: got the key ID %s again, want another", token.Grant, got)
		}
		expect(ctx, t, client, token, "allowed")
	}
	for _, token := range old {
		expect(ctx, t, client, token, "allowed")
	}
	if err := retire(ctx); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, token := range old {
		refusedSoon(ctx, t, client, token)
	}
	took := time.Since(began)
	t.Logf("%s: tokens of the old key were refused after %s", s.name, took.Round(time.Second/10))
	if took > rotated+late {
		t.Errorf("tokens of the old key: refused after %s, want within %s", took, rotated)
	}
	for _, token := range append(fresh, signed(access(ctx, t, s))...) {
		expect(ctx, t, client, token, "allowed")
	}
}

// signed returns the JWTs among tokens.
func signed(tokens []Token) []Token {
	return slices.DeleteFunc(tokens, func(token Token) bool { return strings.Count(token.Raw, ".") != 2 })
}

func keyID(t *testing.T, token Token) string {
	t.Helper()
	encoded, _, _ := strings.Cut(token.Raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := json.Unmarshal(text, &header); err != nil || header.KeyID == "" {
		t.Fatalf("%s: got header %s, %v; want a kid", token.Grant, text, err)
	}
	return header.KeyID
}

// refusedSoon waits until a token is refused because its key is gone. Where the
// server is asked about each token, it says inactive.
func refusedSoon(ctx context.Context, t *testing.T, client authv3.AuthorizationClient, token Token) {
	t.Helper()
	harness.Eventually(t, token.Grant+": a token of the old key is refused", func() bool {
		got, _, err := harness.Ask(ctx, client, "/", "Bearer "+token.Raw)
		return err == nil && (got == "unknown_key" || got == "inactive")
	})
}

// tryRestart ends the server and starts it anew. All of them keep their keys in
// memory here and come back with others, which is a rotation too.
func tryRestart(ctx context.Context, t *testing.T, s *Server, port int, client authv3.AuthorizationClient) {
	t.Helper()
	old := signed(access(ctx, t, s))
	s.Stop()
	for _, token := range old {
		// What only the server could say is undecided while it is away; where JWTs
		// are verified here, they go on.
		expect(ctx, t, client, token, "allowed", "unavailable")
	}
	s = start(ctx, t, s.name, port)
	for _, token := range access(ctx, t, s) {
		harness.Eventually(t, token.Grant+": a new token passes", func() bool {
			got, _, err := harness.Ask(ctx, client, "/", "Bearer "+token.Raw)
			return err == nil && got == "allowed"
		})
	}
	for _, token := range old {
		refusedSoon(ctx, t, client, token)
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
