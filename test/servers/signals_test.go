package servers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/test/harness"
)

// gate is a Bearergate that hears of revocations in one way, behind a real Envoy.
type gate struct {
	server *Server
	grant  Grant
	envoy  *harness.Envoy
}

// trySignals has a server tell by its events and logout tokens that a user is logged
// out, and sees the tokens die at Envoy.
func trySignals(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	if s.Signals.Receiver == "" {
		return
	}
	t.Run("events, pushed", func(t *testing.T) { tryPush(ctx, t, s) })
	t.Run("events, polled", func(t *testing.T) { tryPoll(ctx, t, s) })
	t.Run("back-channel logout", func(t *testing.T) { tryLogout(ctx, t, s) })
	t.Run("recheck", func(t *testing.T) { tryRecheck(ctx, t, s) })
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// newGate runs Bearergate with the configuration of the page and a section revocation,
// for the users of one client.
func newGate(t *testing.T, s *Server, client Client, more, section string, changes ...string) *gate {
	t.Helper()
	running := service(t, s, more, section, changes...)
	return &gate{
		server: s, envoy: harness.Gateway(t, running.GRPC, harness.Echo(t).Address),
		grant: Grant{
			Name: "authorization code", Type: "authorization_code", Client: client,
			Parameters: map[string]string{"scope": "openid email"},
		},
	}
}

// status is what Envoy answers to a token.
func (g *gate) status(t *testing.T, token string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, g.envoy.URL+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// logIn returns a session of which the access token passes. One that was issued in the
// second of a revocation before is covered by that: times in tokens are whole seconds.
func (g *gate) logIn(ctx context.Context, t *testing.T) (session *Session, token string) {
	t.Helper()
	harness.Eventually(t, "a new token passes", func() bool {
		var err error
		if session, err = g.server.Get(ctx, g.grant); err != nil {
			t.Fatal(err)
		}
		for _, got := range session.Tokens {
			if got.Kind == "access" {
				token = got.Raw
			}
		}
		if g.status(t, token) == http.StatusOK {
			return true
		}
		time.Sleep(time.Second)
		return false
	})
	return session, token
}

// dies wants a token to be refused soon.
func (g *gate) dies(t *testing.T, what, token string, began time.Time) {
	t.Helper()
	harness.Eventually(t, what+": the token is refused", func() bool { return g.status(t, token) == http.StatusUnauthorized })
	t.Logf("%s: refused %s after it", what, time.Since(began).Round(time.Millisecond))
}

// tryEvents does everything that the server tells as an event.
func (g *gate) tryEvents(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, tc := range []struct {
		what string
		do   func(*Session) error
	}{
		{"the user logs out", func(session *Session) error { return session.logOut(ctx) }},
		{"an administrator ends all sessions", func(*Session) error { return g.server.LogOutEverywhere(ctx) }},
		{"the password is reset", func(*Session) error { return g.server.ResetPassword(ctx) }},
	} {
		session, token := g.logIn(ctx, t)
		if err := tc.do(session); err != nil {
			t.Fatal(err)
		}
		g.dies(t, tc.what, token, time.Now())
	}
	_, token := g.logIn(ctx, t)
	time.Sleep(2 * time.Second)
	if got := g.status(t, token); got != http.StatusOK {
		t.Errorf("a token of a new session: got %d, want 200", got)
	}
}

func (s *Server) eventsSection(delivery string) string {
	return fmt.Sprintf("revocation: {receiver_address: %q, events: [{transmitter: %q, issuer: %q, audience: %q, %s}]}\n",
		s.Signals.Receiver, s.Issuer, s.Issuer, s.Signals.Audience, delivery)
}

func tryPush(ctx context.Context, t *testing.T, s *Server) {
	const secret = "a-token-that-only-the-transmitter-knows"
	g := newGate(t, s, s.Grants[0].Client, "", s.eventsSection(fmt.Sprintf("push_token_file: %q", writeFile(t, "push", secret))))
	if err := s.PushStream(ctx, "Bearer "+secret); err != nil {
		t.Fatal(err)
	}
	g.tryEvents(ctx, t)
}

func tryPoll(ctx context.Context, t *testing.T, s *Server) {
	endpoint, token, err := s.PollStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, s, s.Grants[0].Client, "", s.eventsSection(fmt.Sprintf(
		"delivery: poll, poll_endpoint: %q, poll_token_file: %q", endpoint, writeFile(t, "poll", token))))
	g.tryEvents(ctx, t)
}

// tryLogout runs Bearergate as the client that users log in by: logout tokens are for
// that one, and nobody else.
func tryLogout(ctx context.Context, t *testing.T, s *Server) {
	section := fmt.Sprintf("revocation: {receiver_address: %q, backchannel_logout: [%q]}\n", s.Signals.Receiver, s.Issuer)
	g := newGate(t, s, s.Signals.App, "", section, "client_id: "+s.Gate.ID, "client_id: "+s.Signals.App.ID)
	for _, tc := range []struct {
		what string
		do   func(session *Session, token string) error
	}{
		{"the user logs out", func(session *Session, _ string) error { return session.logOut(ctx) }},
		{"an administrator ends all sessions", func(*Session, string) error { return s.LogOutEverywhere(ctx) }},
		{"an administrator ends the session", func(_ *Session, token string) error {
			return s.LogOutOf(ctx, sidOf(t, token))
		}},
	} {
		session, token := g.logIn(ctx, t)
		_, other := g.logIn(ctx, t)
		if err := tc.do(session, token); err != nil {
			t.Fatal(err)
		}
		g.dies(t, tc.what, token, time.Now())
		want := http.StatusOK
		if strings.Contains(tc.what, "all") {
			g.dies(t, tc.what+", another session", other, time.Now())
			continue
		}
		if got := g.status(t, other); got != want {
			t.Errorf("%s: a token of another session: got %d, want %d", tc.what, got, want)
		}
	}
}

func sidOf(t *testing.T, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.SID == "" {
		t.Fatalf("got claims %s, %v; want a sid", payload, err)
	}
	return claims.SID
}

// tryRecheck has a token revoked at the server's endpoint (RFC 7009), which Keycloak
// tells nobody.
func tryRecheck(ctx context.Context, t *testing.T, s *Server) {
	g := newGate(t, s, s.Grants[0].Client, "  recheck_interval: 1s\n", "revocation: {}\n")
	_, token := g.logIn(ctx, t)
	if err := s.Revoke(ctx, s.Grants[0].Client, token); err != nil {
		t.Fatal(err)
	}
	g.dies(t, "the client revokes the token", token, time.Now())
}
