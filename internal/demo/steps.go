package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// step is one request to try.
type step struct {
	title   string
	url     string
	headers [][2]string
	want    int
	subject string                           // that the upstream must get
	token   func(authorization string) error // what is wrong with what the upstream gets as a token; nil: nobody looks
}

// steps are the requests of the README.
func (p *parts) steps() []step {
	claims := func(sub, scope string, exp time.Duration) devissuer.Claims {
		return devissuer.Claims{
			"sub": sub, "aud": audience, "client_id": "demo-client", "scope": scope, "exp": time.Now().Add(exp).Unix(),
		}
	}
	bearer := func(token string) [2]string { return [2]string{"Authorization", "Bearer " + token} }
	url := "http://" + p.addresses.Listener + "/orders/1"
	jwt := p.issuer.JWT(claims("alice", "orders:read", time.Hour))
	opaque := p.issuer.Opaque("", claims("bob", "orders:read", time.Hour))
	expired := p.issuer.JWT(claims("alice", "orders:read", -time.Hour))
	narrow := p.issuer.JWT(claims("alice", "profile", time.Hour))
	spoofed := [][2]string{bearer(jwt), {"x-auth-sub", "admin"}}
	own := func(authorization string) error {
		token, ok := strings.CutPrefix(authorization, "Bearer ")
		state := p.issuer.State(token)
		if !ok || token == jwt || state["aud"] != upstreamAudience || state["sub"] != "alice" {
			return fmt.Errorf("got a token that says %v, want one of alice's for %s", state, upstreamAudience)
		}
		return nil
	}
	return []step{
		{"a JWT", url, [][2]string{bearer(jwt)}, http.StatusOK, "alice", none},
		{"an opaque token", url, [][2]string{bearer(opaque)}, http.StatusOK, "bob", none},
		{"no token", url, nil, http.StatusUnauthorized, "", nil},
		{"an expired token", url, [][2]string{bearer(expired)}, http.StatusUnauthorized, "", nil},
		{"a token without the scope", url, [][2]string{bearer(narrow)}, http.StatusForbidden, "", nil},
		{"a spoofed x-auth-sub, which does not get through", url, spoofed, http.StatusOK, "alice", none},
		{
			"an upstream that gets a token of its own in place of the client's",
			"http://" + p.addresses.Listener + "/internal/1", [][2]string{bearer(jwt)}, http.StatusOK, "alice", own,
		},
	}
}

// none is what the upstream gets as a token where no rule gives it one.
func none(authorization string) error {
	if authorization != "" {
		return errors.New("got a token, want none")
	}
	return nil
}

func (s step) curl() string {
	var b strings.Builder
	b.WriteString("curl -i")
	for _, h := range s.headers {
		fmt.Fprintf(&b, " -H '%s: %s'", h[0], h[1])
	}
	return b.String() + " " + s.url
}

func checkAll(ctx context.Context, out io.Writer, steps []step) error {
	for _, s := range steps {
		if err := send(ctx, s); err != nil {
			return err
		}
		fmt.Fprintf(out, "%d  %s\n", s.want, s.title)
	}
	return nil
}

// send makes the request, and compares status, subject and the upstream's token with what
// is wanted.
func send(ctx context.Context, s step) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	for _, h := range s.headers {
		req.Header.Add(h[0], h[1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var seen struct{ Headers map[string]string }
	if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil && resp.StatusCode == http.StatusOK {
		return fmt.Errorf("%s: %w", s.title, err)
	}
	if got := seen.Headers["X-Auth-Sub"]; resp.StatusCode != s.want || got != s.subject {
		return fmt.Errorf("%s: got status %d and subject %q, want %d and %q",
			s.title, resp.StatusCode, got, s.want, s.subject)
	}
	if s.token != nil {
		if err := s.token(seen.Headers["Authorization"]); err != nil {
			return fmt.Errorf("%s: the upstream: %w", s.title, err)
		}
	}
	return nil
}
