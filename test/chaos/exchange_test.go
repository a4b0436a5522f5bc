package chaos

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// TestExchangeFaults: whatever the token endpoint does, the upstream gets a token that
// is its own, or no request at all; the client's token never goes there, although
// forward_token is true.
func TestExchangeFaults(t *testing.T) {
	s := newSite(t)
	base := strings.Replace(config(s.issuer.URL()), "log: {level: debug}\n", "", 1)
	s.service.Write(t, base+`forward_token: true
rules:
- {name: own, match: {paths: ["/own"]}, upstream_token: {audience: [upstream]}}
- {name: other, match: {paths: ["/other"]}, upstream_token: {audience: [upstream], header: x-upstream-token}}
`)
	harness.Eventually(t, "the rules are in force", func() bool { return s.exchanged(t.Context(), "/own", "fresh") == "allowed" })
	for _, f := range []struct {
		name, toxic string
		behaviour   devissuer.Behaviour
		change      claims
	}{
		{name: "none"},
		{name: "aborts", behaviour: devissuer.Behaviour{Abort: true}},
		{name: "slow", behaviour: devissuer.Behaviour{Delay: 3 * time.Second}},
		{name: "broken", behaviour: devissuer.Behaviour{Status: 500}},
		{name: "overloaded", behaviour: devissuer.Behaviour{Status: 429, Header: map[string]string{"Retry-After": "1"}}},
		{name: "garbage", behaviour: devissuer.Behaviour{Status: 200, Body: "\x00{[<"}},
		{name: "HTML", behaviour: devissuer.Behaviour{Status: 200, Kind: "text/html", Body: "<html>"}},
		{name: "a redirect", behaviour: devissuer.Behaviour{Status: 302, Header: map[string]string{"Location": "https://x.example.com"}}},
		{name: "no token", change: claims{"access_token": nil}},
		{name: "a line break in the token", change: claims{"access_token": "a\r\nb: c"}},
		{name: "N_A", change: claims{"token_type": "N_A"}},
		{name: "DPoP", change: claims{"token_type": "DPoP"}},
		{name: "connection reset", toxic: `{"type":"reset_peer","attributes":{"timeout":5}}`},
		{name: "answers never come", toxic: `{"type":"timeout","attributes":{"timeout":0}}`},
		{name: "cut off after 100 bytes", toxic: `{"type":"limit_data","attributes":{"bytes":100}}`},
		{name: "down", toxic: "down"},
	} {
		var c tally
		s.issuer.Behave(devissuer.PathToken, f.behaviour)
		s.issuer.AnswerTokens(f.change)
		if f.toxic != "" {
			s.fault(t, f.toxic)
		}
		ctx, cancel := context.WithTimeout(t.Context(), duration(700*time.Millisecond, 10*time.Second))
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for ctx.Err() == nil {
					for _, path := range []string{"/own", "/other"} {
						c.note(path, s.exchanged(ctx, path, "fresh"), "allowed", nil)
					}
				}
			})
		}
		all.Wait()
		cancel()
		s.issuer.Behave(devissuer.PathToken, devissuer.Behaviour{})
		s.issuer.AnswerTokens(nil)
		if f.toxic != "" {
			s.mend(t, f.toxic)
		}
		began := time.Now()
		for s.exchanged(t.Context(), "/own", "fresh") != "allowed" {
			if time.Since(began) > 15*time.Second { // a breaker tries again within that
				t.Fatalf("%s: not recovered", f.name)
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%s: %d requests, %d right, %d unavailable, %d wrong, recovered in %.1f s",
			f.name, c.requests.Load(), c.right.Load(), c.unavailable.Load(), len(c.wrong), time.Since(began).Seconds())
		for _, wrong := range c.wrong {
			t.Errorf("%s: %s", f.name, wrong)
		}
		if whole := f.name == "none"; whole != (c.right.Load() == c.requests.Load()) || c.requests.Load() == 0 {
			t.Errorf("%s: got %d of %d right", f.name, c.right.Load(), c.requests.Load())
		}
	}
}

// exchanged returns the reason for a new token of the client's, or what is wrong with
// what the upstream would see.
func (s *site) exchanged(ctx context.Context, path, sub string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // as envoy.yaml has it
	defer cancel()
	token := s.issuer.JWT(claims{"aud": "api", "sub": sub})
	reason, response, err := harness.Ask(ctx, s.client, path, "Bearer "+token)
	if err != nil {
		return err.Error()
	}
	if strings.Contains(response.String(), token) {
		return "the client's token is in the answer"
	}
	if reason != "allowed" {
		if harness.Allowed(response) {
			return "an allow for the reason " + reason
		}
		return reason
	}
	return s.upstreamSees(path, response)
}

func (s *site) upstreamSees(path string, response *authv3.CheckResponse) string {
	removed := strings.Join(response.GetOkResponse().GetHeadersToRemove(), " ") + " "
	carried := map[string]string{}
	for _, h := range response.GetOkResponse().GetHeaders() {
		carried[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	own, ok := strings.CutPrefix(carried["authorization"], "Bearer ")
	if path == "/other" {
		own, ok = carried["x-upstream-token"], carried["authorization"] == "" && strings.Contains(removed, "authorization ")
	}
	if state := s.issuer.State(own); !ok || state["aud"] != "upstream" {
		return fmt.Sprintf("the upstream sees %v, without %s", carried, removed)
	}
	return "allowed"
}
