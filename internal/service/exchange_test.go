package service_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

const exchanging = `rules:
- {name: orders, match: {paths: ["/orders/**"]}, upstream_token: {audience: [orders-internal], scopes: [orders:read]}}
`

// upstreamOf returns the reason, and what the upstream would see as Authorization.
func upstreamOf(t *testing.T, svc *service.Service, token string) (string, string) {
	t.Helper()
	response, err := svc.Checks().Check(context.Background(), check(token))
	if err != nil {
		t.Fatal(err)
	}
	return response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), authorization(response)
}

func authorization(response *authv3.CheckResponse) string {
	for _, h := range response.GetOkResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "authorization" {
			return h.GetHeader().GetValue()
		}
	}
	return ""
}

// TestExchange: the upstream's token is the issuer's, meant for the upstream, and what
// the issuer says against it is told.
func TestExchange(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), exchanging))
	token := as.Opaque("", claims{"sub": "alice", "aud": "api", "scope": "orders:read"})
	got, sees := upstreamOf(t, svc, token)
	state := as.State(strings.TrimPrefix(sees, "Bearer "))
	if got != "allowed" || state["aud"] != "orders-internal" || state["sub"] != "alice" || state["scope"] != "orders:read" {
		t.Errorf("got %s and a token that says %v", got, state)
	}
	if again, same := upstreamOf(t, svc, token); again != "allowed" || same != sees || as.Calls(devissuer.PathToken) != 1 {
		t.Errorf("got %s by %d calls, want what is remembered", again, as.Calls(devissuer.PathToken))
	}
	if entries := svc.Entries()["exchange"]; entries != 1 {
		t.Errorf("got %d entries, want 1", entries)
	}
	for want, answer := range map[string]devissuer.Behaviour{
		"exchange_refused": {Status: 400, Body: `{"error":"invalid_target"}`},
		"inactive":         {Status: 400, Body: `{"error":"invalid_grant"}`},
		"misconfigured":    {Status: 401, Body: `{"error":"invalid_client"}`},
		"unavailable":      {Status: 502, Body: `{}`},
	} {
		as.Behave(devissuer.PathToken, answer)
		got, sees := upstreamOf(t, svc, as.JWT(claims{"aud": "api", "scope": "orders:read"}))
		if got != want || sees != "" {
			t.Errorf("got %s and Authorization %q, want %s", got, sees, want)
		}
		failed := want == "misconfigured" || want == "unavailable"
		state := svc.States()[0].Exchange
		if told := state != nil && state.Failure != nil; failed && !told {
			t.Errorf("%s: got state %+v, want the failure", want, state)
		}
	}
}

// TestExchangeInTime: the answer comes before Envoy's deadline, and the call fills the
// cache (E-08).
func TestExchangeInTime(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), exchanging))
	as.Behave(devissuer.PathToken, devissuer.Behaviour{Delay: 1300 * time.Millisecond})
	token := as.JWT(claims{"aud": "api", "scope": "orders:read"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	response, err := svc.Checks().Check(ctx, check(token))
	if got := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); err != nil || got != "unavailable" || ctx.Err() != nil {
		t.Errorf("got %s, %v, %v, want unavailable in time", got, err, ctx.Err())
	}
	time.Sleep(time.Second)
	if got, sees := upstreamOf(t, svc, token); got != "allowed" || sees == "" || as.Calls(devissuer.PathToken) != 1 {
		t.Errorf("got %s by %d calls", got, as.Calls(devissuer.PathToken))
	}
}

// TestExchangeOfARevokedToken: that the client's token is not good any longer is found
// out with the issuer, as soon as what is known of it is old.
func TestExchangeOfARevokedToken(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), exchanging+"cache: {ttl: 50ms, negative_ttl: 0s}\n"))
	token := as.Opaque("", claims{"aud": "api", "scope": "orders:read"})
	if got, _ := upstreamOf(t, svc, token); got != "allowed" {
		t.Fatalf("got %s", got)
	}
	as.Revoke(token)
	time.Sleep(100 * time.Millisecond)
	if got, sees := upstreamOf(t, svc, token); got != "inactive" || sees != "" {
		t.Errorf("got %s and %q", got, sees)
	}
}

// TestExchangeSurvivesAReload: what was got stays where the issuer is the same, and a
// rule that wants another token gets another.
func TestExchangeSurvivesAReload(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), exchanging))
	token := as.JWT(claims{"aud": "api", "scope": "orders:read"})
	_, first := upstreamOf(t, svc, token)
	for more, same := range map[string]bool{
		exchanging + "cache: {max_entries: 500}\n":                          true,
		exchanging + "jwks: {refresh_interval: 1m}\n":                       true,
		strings.Replace(exchanging, "orders-internal", "stock-internal", 1): false,
	} {
		if err := svc.Apply(configuration(t, as.URL(), more)); err != nil {
			t.Fatal(err)
		}
		svc.Settle(t.Context(), 10*time.Second)
		if got, sees := upstreamOf(t, svc, token); got != "allowed" || (sees == first) != same {
			t.Errorf("%s: got %s, the same token: %t, want %t", more, got, sees == first, same)
		}
	}
	if err := svc.Apply(configuration(t, as.URL(), rules)); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	if got, sees := upstreamOf(t, svc, token); got != "allowed" || sees != "" || svc.Entries()["exchange"] != 0 {
		t.Errorf("got %s and %q without upstream_token", got, sees)
	}
}

func TestExchangeConfiguration(t *testing.T) {
	for keys, want := range map[string]string{
		"client_id: gate, client_secret: s":                               "",
		"client_id: gate, client_auth_method: none":                       "",
		"token_validation: jwt, client_id: gate, client_secret: s":        "",
		"client_id: gate, client_secret: s, client_auth_method: bearer":   "auth.client_auth_method",
		"token_validation: jwt, client_auth_method: bearer, client_id: g": "auth.client_auth_method",
		"token_validation: jwt":                                           "auth.client_id",
		"token_validation: jwt, client_id: gate":                          "auth.client_secret",
	} {
		file := "auth: {issuer: https://a.example.com, audience: api, " + keys + "}\n" + exchanging
		_, err := config.Parse("a.yaml", []byte(file), os.LookupEnv)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want+": ")) {
			t.Errorf("%s: got %v, want a mistake at %q", keys, err, want)
		}
	}
}

// TestProbeTriesTheTokenEndpoint: with our own credentials, by a token that nobody was given.
func TestProbeTriesTheTokenEndpoint(t *testing.T) {
	as := newIssuer(t)
	for keys, ok := range map[string]bool{"client_id: gate, client_secret: s3cret": true, "client_id: gate, client_secret: wrong": false} {
		svc := newService(t, configurationOf(t, as.URL(), keys, exchanging))
		told := ""
		for _, p := range svc.Probe(t.Context()) {
			if strings.HasPrefix(p.What, "tokens for upstreams: "+as.URL()+devissuer.PathToken) {
				told = p.What
				if (p.Err == nil) != ok {
					t.Errorf("%s: got %v", p.What, p.Err)
				}
			}
		}
		if told == "" {
			t.Error("the token endpoint was not tried")
		}
	}
}

// TestExchangeMetrics: calls and look-ups are counted by closed sets.
func TestExchangeMetrics(t *testing.T) {
	as := newIssuer(t)
	m := metrics.New("test", "test")
	svc := service.New(slog.New(slog.DiscardHandler), m)
	t.Cleanup(svc.Close)
	if err := svc.Apply(configuration(t, as.URL(), exchanging)); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	token := as.JWT(claims{"aud": "api", "scope": "orders:read"})
	for range 2 {
		if got, _ := upstreamOf(t, svc, token); got != "allowed" {
			t.Fatalf("got %s", got)
		}
	}
	recorder := httptest.NewRecorder()
	m.Handler(svc).ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`bearergate_token_exchange_requests_total{issuer="` + as.URL() + `",result="success"} 1`,
		`bearergate_token_exchange_duration_seconds_count{issuer="` + as.URL() + `"} 1`,
		`bearergate_cache_requests_total{cache="exchange",result="hit"} 1`,
		`bearergate_cache_requests_total{cache="exchange",result="miss"} 1`,
		`bearergate_cache_entries{cache="exchange"} 1`,
	} {
		if !strings.Contains(recorder.Body.String(), want+"\n") {
			t.Errorf("got no %s", want)
		}
	}
}
