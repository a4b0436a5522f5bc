package service_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

// keysIn writes a JWKS whose keys are these, as they are written.
func keysIn(t *testing.T, path string, keys ...any) {
	t.Helper()
	content, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// published is the public half of a key, with other members.
func published(t *testing.T, key jose.JSONWebKey, change map[string]any) map[string]any {
	t.Helper()
	raw, err := key.Public().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatal(err)
	}
	maps.Copy(members, change)
	return members
}

func signingKey(t *testing.T, id string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: id, Algorithm: "ES256"}
}

// Nothing is fetched for keys that are in a file: the service is ready at once, and
// its answers follow the file, over reloads too.
func TestKeysInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	one, two := signingKey(t, "one"), signingKey(t, "two")
	keysIn(t, path, published(t, one, nil))
	token := func(key jose.JSONWebKey, jti string) string {
		return devissuer.Sign(key, map[string]any{"typ": "at+jwt"}, claims{
			"iss": "air-gapped", "aud": "api", "jti": jti, "exp": time.Now().Add(time.Hour).Unix(),
		})
	}
	load := func(more string) *config.Config {
		cfg, err := config.Parse("a.yaml", []byte("auth: {issuer: air-gapped, audience: api, jwks_file: '"+path+"'"+more+"}"), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	m := metrics.New("test", "test")
	svc := service.New(slog.New(slog.DiscardHandler), m)
	pages := m.Handler(svc)
	page := func() string {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		return w.Body.String()
	}
	t.Cleanup(svc.Close)
	if err := svc.Apply(load("")); err != nil {
		t.Fatal(err)
	}
	if err := svc.Ready(); err != nil {
		t.Errorf("got %v, want it ready at once", err)
	}
	cached := token(one, "cached")
	wantReason(t, svc, cached, "allowed")
	wantReason(t, svc, token(two, "a"), "unknown_key")

	probes := svc.Probe(t.Context())
	if len(probes) != 2 || probes[1].What != "keys: read from "+path || probes[1].Err != nil {
		t.Errorf("got %+v", probes)
	}
	walk, err := explain.Run(t.Context(), svc.Checks(), explain.Request{
		Method: "GET", Host: "h", Path: "/", Token: token(one, "explained"), Issuers: []string{"air-gapped"},
	})
	var text strings.Builder
	if err != nil || walk.Text(&text) != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"keys read from " + path, "jwks_file " + path} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("got no %q in\n%s", want, text.String())
		}
	}

	walk, err = explain.Run(t.Context(), svc.Checks(), explain.Request{
		Method: "GET", Host: "h", Path: "/", Token: token(two, "explained"), Issuers: []string{"air-gapped"},
	})
	if err != nil || !strings.Contains(walk.Hint, "is in "+path+": did") {
		t.Errorf("got %+v, %v; want a hint at the file", walk, err)
	}

	keysIn(t, path, published(t, two, nil))
	eventually(t, func() bool { return reason(t, svc, token(two, rand.Text())) == "allowed" })
	wantReason(t, svc, cached, "unknown_key") // what was remembered ended with its key

	// Between two looks at the file comes a reload, which reads it itself.
	keysIn(t, path, published(t, one, nil), published(t, two, nil))
	if err := svc.Apply(load(", clock_skew: 10s")); err != nil {
		t.Fatal(err)
	}
	wantReason(t, svc, token(one, "b"), "allowed")

	// A file that is not usable is a configuration that is not valid; what is in use
	// serves on, with an alarm.
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := svc.Apply(load2(t, path)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want the file refused", err)
	}
	eventually(t, func() bool {
		return strings.Contains(page(), `jwks_refreshes_total{issuer="air-gapped",result="failure"}`)
	})
	wantReason(t, svc, token(two, "c"), "allowed")
	three := signingKey(t, "three")
	eventually(t, func() bool { return reason(t, svc, token(three, "d")) == "unavailable" })
	if err := svc.Ready(); err != nil {
		t.Error(err)
	}
}

// load2 is a configuration as of somebody who does not look at the file.
func load2(t *testing.T, path string) *config.Config {
	t.Helper()
	content := "auth: {issuer: air-gapped, audience: api, clock_skew: 20s, jwks_file: '" + path + "'}"
	cfg, err := config.ParsePolicy("a.yaml", []byte(content), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func wantReason(t *testing.T, svc *service.Service, token, want string) {
	t.Helper()
	if got := reason(t, svc, token); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// example is a configuration of docs/workload-identity with the keys of a test.
func example(t *testing.T, name string, keys ...any) *service.Service {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../docs/workload-identity", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	keysIn(t, path, keys...)
	_, rest, ok := strings.Cut(string(content), "jwks_file: ")
	at, _, _ := strings.Cut(rest, " ")
	if !ok {
		t.Fatal("no jwks_file")
	}
	cfg, err := config.Parse(name, []byte(strings.Replace(string(content), at, path, 1)), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return newService(t, cfg)
}

// TestSPIFFE: JWT-SVIDs as SPIRE makes them, with a bundle as SPIRE shows it: keys of
// certificates beside those of tokens.
func TestSPIFFE(t *testing.T) {
	key, other := signingKey(t, "aCd3"), signingKey(t, "x509")
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	svid := func(key jose.JSONWebKey, header, change claims) string {
		all := claims{
			"iss": "https://spire.example.org", "sub": "spiffe://example.org/ns/shop/sa/web", "aud": []string{"spiffe://example.org/orders"},
			"iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
		}
		maps.Copy(all, change)
		maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
		return devissuer.Sign(key, header, all)
	}
	jwt := claims{"typ": "JWT"}
	ed := jose.JSONWebKey{Key: edwards, KeyID: "ed", Algorithm: "EdDSA"}
	svc := example(t, "spiffe.yaml",
		published(t, other, claims{"use": "x509-svid", "kid": "x509", "x5c": []string{"MIIB"}, "alg": ""}),
		published(t, key, claims{"use": "jwt-svid", "alg": ""}),
		published(t, ed, claims{"use": "jwt-svid"}),
	)
	for name, tc := range map[string]struct{ token, want string }{
		"JWT-SVID":                {svid(key, jwt, nil), "allowed"},
		"without typ":             {svid(key, nil, nil), "allowed"},
		"typ JOSE":                {svid(key, claims{"typ": "JOSE"}, nil), "wrong_type"},
		"WIT-SVID":                {svid(key, claims{"typ": "wit+jwt"}, nil), "wrong_type"},
		"key of certificates":     {svid(other, jwt, nil), "unknown_key"},
		"EdDSA":                   {svid(ed, jwt, nil), "unsupported_algorithm"},
		"without jwt_issuer":      {svid(key, jwt, claims{"iss": nil}), "wrong_issuer"},
		"another namespace":       {svid(key, jwt, claims{"sub": "spiffe://example.org/ns/audit/sa/web"}), "forbidden"},
		"another trust domain":    {svid(key, jwt, claims{"sub": "spiffe://example.com/ns/shop/sa/web"}), "forbidden"},
		"for another workload":    {svid(key, jwt, claims{"aud": "spiffe://example.org/billing"}), "wrong_audience"},
		"one of several audience": {svid(key, jwt, claims{"aud": []string{"a", "spiffe://example.org/orders"}}), "allowed"},
		"expired":                 {svid(key, jwt, claims{"exp": time.Now().Add(-time.Minute).Unix()}), "expired"},
	} {
		if got := reason(t, svc, tc.token); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

// TestServiceAccounts: tokens in the shape of a Kubernetes API server, whose keys have
// use sig and no typ in their tokens. test/cluster asks a real one.
func TestServiceAccounts(t *testing.T) {
	key := signingKey(t, "Zk9")
	svc := example(t, "kubernetes-air-gapped.yaml", published(t, key, claims{"use": "sig"}))
	now := time.Now().Unix()
	account := func(change claims) string {
		all := claims{
			"aud": []string{"orders-api"}, "iss": "https://kubernetes.default.svc.cluster.local", "iat": now, "nbf": now, "exp": now + 3600,
			"jti": rand.Text(), "sub": "system:serviceaccount:shop:web",
			"kubernetes.io": claims{
				"namespace": "shop", "node": claims{"name": "n1", "uid": "u1"}, "pod": claims{"name": "web-0", "uid": "u2"},
				"serviceaccount": claims{"name": "web", "uid": "u3"}, "warnafter": now + 3607,
			},
		}
		maps.Copy(all, change)
		maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
		return devissuer.Sign(key, nil, all)
	}
	for name, tc := range map[string]struct{ token, want string }{
		"bound":             {account(nil), "allowed"},
		"of the API server": {account(claims{"aud": []string{"https://kubernetes.default.svc.cluster.local"}}), "wrong_audience"},
		"another namespace": {account(claims{"kubernetes.io": claims{"namespace": "audit"}}), "forbidden"},
		"of a secret (no exp)": {account(claims{
			"exp": nil, "iss": "kubernetes/serviceaccount", "aud": nil, "kubernetes.io": nil,
			"kubernetes.io/serviceaccount/namespace": "shop",
		}), "wrong_issuer"},
		"without an end": {account(claims{"exp": nil}), "malformed_token"},
	} {
		if got := reason(t, svc, tc.token); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}
