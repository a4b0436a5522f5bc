package service_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

const hurriedRules = `rules:
- {name: orders, match: {paths: ["/orders/**"]}, scopes: [orders:read]}
- {name: public, match: {paths: ["/public"]}, access: public}
- {name: own, match: {paths: ["/own"]}, upstream_token: {audience: [orders-internal]}}
dpop: {}
`

// hurriedService also returns what it logs.
func hurriedService(t *testing.T, cfg *config.Config) (*service.Service, *metrics.Metrics, *bytes.Buffer) {
	t.Helper()
	var written bytes.Buffer
	m := metrics.New("test", "test")
	svc := service.New(slog.New(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelDebug})), m)
	t.Cleanup(svc.Close)
	if err := svc.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	return svc, m, &written
}

// counted is what was counted of requests.
func counted(t *testing.T, m *metrics.Metrics, svc *service.Service) string {
	t.Helper()
	families, err := m.Gatherer(svc).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		for _, prefix := range []string{"bearergate_checks", "bearergate_cache_requests", "bearergate_proofs", "bearergate_introspection_requests"} {
			if strings.HasPrefix(f.GetName(), prefix+"_total") {
				lines = append(lines, f.String())
			}
		}
	}
	return strings.Join(lines, "\n")
}

// TestNobodyWaitsInAHurry: what would have to be verified or asked for is not, and
// nobody is told; all else is decided at once, and as it is without a hurry. What was
// decided once with time to wait is decided in a hurry from then on, proofs aside.
func TestNobodyWaitsInAHurry(t *testing.T) {
	as, client := newIssuer(t), devissuer.NewProver()
	cfg := configuration(t, as.URL(), hurriedRules)
	bound := as.JWT(claims{"aud": "api", "scope": "orders:read", "cnf": claims{"jkt": client.Thumbprint()}})
	good := claims{"sub": "alice", "aud": "api", "scope": "orders:read"}
	jwt, gone := as.JWT(good), as.Key()
	gone.KeyID = "gone"
	bearer := func(token string) []string { return []string{"Bearer " + token} }
	for name, tc := range map[string]struct {
		path          string
		authorization []string
		waits, again  bool // the first time, and once it is known
		want          authz.Reason
	}{
		"no token":       {"/orders/1", nil, false, false, authz.NoToken},
		"public":         {"/public", nil, false, false, authz.Public},
		"two":            {"/orders/1", append(bearer("a"), bearer("b")...), false, false, authz.BadRequest},
		"path":           {"/orders//1", bearer(jwt), false, false, authz.BadRequest},
		"malformed":      {"/orders/1", bearer("eyJhbGciOiJub25lIn0.e30.e30"), false, false, authz.UnsupportedAlgorithm},
		"expired":        {"/orders/1", bearer(as.JWT(claims{"aud": "api", "exp": 1})), false, false, authz.Expired},
		"issuer":         {"/orders/1", bearer(as.JWT(claims{"aud": "api", "iss": "https://other"})), false, false, authz.WrongIssuer},
		"JWT":            {"/orders/1", bearer(jwt), true, false, authz.Allowed},
		"scope":          {"/orders/1", bearer(as.JWT(claims{"aud": "api"})), true, false, authz.InsufficientScope},
		"audience":       {"/orders/1", bearer(as.JWT(claims{"aud": "other"})), true, false, authz.WrongAudience},
		"signature":      {"/orders/1", bearer(jwt[:len(jwt)-8] + "AAAAAAAA"), true, true, authz.BadSignature},
		"unknown key":    {"/orders/1", bearer(devissuer.Sign(gone, map[string]any{"kid": "gone"}, claims{"iss": as.URL(), "aud": "api", "exp": time.Now().Add(time.Hour).Unix()})), true, true, authz.UnknownKey},
		"opaque":         {"/orders/1", bearer(as.Opaque("", good)), true, false, authz.Allowed},
		"inactive":       {"/orders/1", bearer("junk"), true, false, authz.Inactive},
		"proof":          {"/orders/1", []string{"DPoP " + bound}, true, true, authz.Allowed},
		"bound, bearer":  {"/orders/1", bearer(bound), true, false, authz.WrongBinding},
		"upstream token": {"/own", bearer(as.Opaque("", good)), true, false, authz.Allowed},
	} {
		t.Run(name, func(t *testing.T) {
			svc, m, written := hurriedService(t, cfg)
			request := func() *authz.Request {
				return &authz.Request{
					Method: "GET", Scheme: "https", Host: "api.example.com", Path: tc.path, Authorization: tc.authorization,
					Header: func(name string) (string, bool) {
						return client.Proof("GET", "https://api.example.com"+tc.path, bound, nil), name == "dpop"
					},
				}
			}
			calls := func() int {
				return as.Calls(devissuer.PathIntrospection) + as.Calls(devissuer.PathToken) + as.Calls(devissuer.PathJWKS)
			}
			told := func() string { return counted(t, m, svc) + written.String() }
			attempt := func(waits bool) (d authz.Decision) {
				before, asked, began := told(), calls(), time.Now()
				d, decided := svc.Checks().DecideNow(request())
				if decided == waits {
					t.Fatalf("got decided %t (%s), want %t", decided, d.Reason, !waits)
				}
				if n := calls() - asked; n != 0 {
					t.Errorf("%d calls were made in %s", n, time.Since(began))
				}
				if after := told(); waits && after != before {
					t.Errorf("an attempt was told of: %s", cmp.Diff(before, after))
				} else if !waits && after == before {
					t.Error("a decision was not told of")
				}
				return d
			}
			first := attempt(tc.waits)
			patient := svc.Checks().Decide(context.Background(), request())
			if patient.Reason != tc.want {
				t.Fatalf("got %s (%v), want %s", patient.Reason, patient.Err, tc.want)
			}
			if !tc.waits {
				same(t, first, patient)
			}
			if second := attempt(tc.again); !tc.again {
				same(t, second, patient)
			}
		})
	}
}

func same(t *testing.T, got, want authz.Decision) {
	t.Helper()
	got.Err, want.Err = nil, nil
	if got.Token != nil && want.Token != nil {
		got.Token, want.Token = nil, nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in a hurry (+): %s", diff)
	}
}

// TestAHurryIsNoOutage: while the issuer cannot be reached, the attempt says that it
// would wait, and what comes after it is unavailable.
func TestAHurryIsNoOutage(t *testing.T) {
	as := newIssuer(t)
	token := as.JWT(claims{"aud": "api"})
	cfg, err := config.Parse("a.yaml", []byte("auth: {issuer: '"+as.URL()+"', audience: api, token_validation: jwt, insecure_http: true}"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	as.Behave(devissuer.PathJWKS, devissuer.Behaviour{Status: http.StatusBadGateway})
	svc, _, _ := hurriedService(t, cfg)
	request := &authz.Request{Method: "GET", Host: "h", Path: "/", Authorization: []string{"Bearer " + token}}
	if d, decided := svc.Checks().DecideNow(request); decided {
		t.Errorf("got %s in a hurry", d.Reason)
	}
	if d := svc.Checks().Decide(context.Background(), request); d.Reason != authz.Unavailable {
		t.Errorf("got %s, want unavailable", d.Reason)
	}
}
