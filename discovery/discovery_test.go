package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/safehttp"
)

func TestCandidates(t *testing.T) { // D-01, D-02, D-04
	for issuer, want := range map[string][]string{
		"https://as":   {"https://as/.well-known/oauth-authorization-server", "https://as/.well-known/openid-configuration"},
		"https://as/":  {"https://as/.well-known/oauth-authorization-server", "https://as/.well-known/openid-configuration"},
		"https://as/t": {"https://as/.well-known/oauth-authorization-server/t", "https://as/.well-known/openid-configuration/t", "https://as/t/.well-known/openid-configuration", "https://as/t/.well-known/oauth-authorization-server"},
		"https://as:8443/t%2F1/": {
			"https://as:8443/.well-known/oauth-authorization-server/t%2F1", "https://as:8443/.well-known/openid-configuration/t%2F1",
			"https://as:8443/t%2F1/.well-known/openid-configuration", "https://as:8443/t%2F1/.well-known/oauth-authorization-server",
		},
	} {
		if diff := cmp.Diff(want, candidates(issuer)); diff != "" {
			t.Errorf("%s: %s", issuer, diff)
		}
	}
}

func TestValidateReportsEveryMistake(t *testing.T) { // D-03
	for issuer, want := range map[string]string{
		"":                         "missing",
		"https://as?":              "query",
		"https://as/#":             "fragment",
		"https://u@as":             "user information",
		"http://as.example.com":    "use https",
		"http://127.0.0.1:1/":      "insecure_http",
		"urn:example:as":           "no host",
		"https://as.example.com/%": "not a URL",
	} {
		err := Config{Issuer: issuer, JWKSURI: "http://as/jwks"}.Validate()
		if err == nil || !strings.Contains(err.Error(), "issuer: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("issuer %q: got %v, want %q", issuer, err, want)
		}
		if got := len(field.List(err)); got != 5 {
			t.Errorf("issuer %q: got %d mistakes, want 5: %v", issuer, got, err)
		}
	}
}

// as is an authorization server whose answers a test sets path by path.
type as struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string]func(http.ResponseWriter)
	asked   []string
	fetches atomic.Int32 // of /jwks
}

func newAS(t *testing.T) *as {
	s := &as{answers: map[string]func(http.ResponseWriter){}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.EscapedPath())
		answer := s.answers[r.URL.EscapedPath()]
		s.mu.Unlock()
		if r.URL.Path == "/jwks" {
			s.fetches.Add(1)
		}
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		answer(w)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *as) set(path string, status int, kind, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		fmt.Fprint(w, strings.ReplaceAll(body, "$ISSUER", s.URL))
	}
}

func (s *as) publish(keys ...jose.JSONWebKey) {
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		panic(err)
	}
	s.set("/jwks", 200, "application/json", string(body))
}

func key(t *testing.T, id string) jose.JSONWebKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: "ES256", Use: "sig"}
}

func (s *as) config() Config {
	return Config{
		Issuer: s.URL, NeedKeys: true, InsecureHTTP: true, RequestTimeout: time.Second,
		RefreshInterval: time.Hour, MinRefreshInterval: time.Minute, MaxStale: 24 * time.Hour,
	}
}

func server(t *testing.T, cfg Config, o Options) *Server {
	t.Helper()
	client, err := safehttp.New(safehttp.Options{Timeout: cfg.RequestTimeout, InsecureHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	o.Client, o.Log = client, slog.New(slog.DiscardHandler)
	s, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts s and stops it at the end of the test.
func run(t *testing.T, s *Server) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

const (
	oauthPath  = "/.well-known/oauth-authorization-server"
	openidPath = "/.well-known/openid-configuration"
	jsonKind   = "application/json"
	good       = `{"issuer":"$ISSUER","jwks_uri":"$ISSUER/jwks","introspection_endpoint":"$ISSUER/introspect","response_types_supported":["code"]}`
)

func TestWhichDocumentCounts(t *testing.T) {
	type answer struct {
		status     int
		kind, body string
	}
	for name, tc := range map[string]struct {
		oauth, openid answer
		want          string // empty: adopted
	}{
		"RFC 8414 first":                 {oauth: answer{200, jsonKind, good}},
		"parameters of the type":         {oauth: answer{200, "application/json; charset=utf-8", good}},
		"404 leads on (D-07)":            {oauth: answer{404, "text/html", "gone"}, openid: answer{200, jsonKind, good}},
		"401 leads on (D-07)":            {oauth: answer{401, jsonKind, "{}"}, openid: answer{200, jsonKind, good}},
		"500 does not lead on (D-07)":    {oauth: answer{500, jsonKind, "{}"}, openid: answer{200, jsonKind, good}, want: "status 500"},
		"429 does not lead on (D-07)":    {oauth: answer{429, jsonKind, "{}"}, openid: answer{200, jsonKind, good}, want: "status 429"},
		"302 does not lead on (D-09)":    {oauth: answer{302, jsonKind, "{}"}, openid: answer{200, jsonKind, good}, want: "status 302"},
		"another issuer stops (D-05)":    {oauth: answer{200, jsonKind, `{"issuer":"https://evil.example","jwks_uri":"$ISSUER/jwks"}`}, openid: answer{200, jsonKind, good}, want: "got issuer"},
		"a slash more is another issuer": {oauth: answer{200, jsonKind, strings.Replace(good, "$ISSUER", "$ISSUER/", 1)}, want: "got issuer"},
		"no issuer":                      {oauth: answer{200, jsonKind, `{"jwks_uri":"$ISSUER/jwks"}`}, want: "got issuer"},
		"HTML (D-08)":                    {oauth: answer{200, "text/html", good}, want: "content type"},
		"wrong case (D-10)":              {oauth: answer{200, jsonKind, `{"ISSUER":"$ISSUER","jwks_uri":"$ISSUER/jwks"}`}, want: "got issuer"},
		"repeated member (D-10)":         {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER","jwks_uri":"https://evil.example","jwks_uri":"$ISSUER/jwks"}`}, want: "strict JSON"},
		"no jwks_uri (D-11)":             {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER"}`}, want: "no jwks_uri"},
		"http for the keys (D-12)":       {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER","jwks_uri":"http://as.example.com/jwks"}`}, want: "use https"},
		"list":                           {oauth: answer{200, jsonKind, `[]`}, want: "strict JSON"},
		"too large (D-09)":               {oauth: answer{200, jsonKind, good + strings.Repeat(" ", maxMetadataBytes)}, want: "more than"},
		"nowhere":                        {want: "no metadata document"},
	} {
		t.Run(name, func(t *testing.T) {
			as := newAS(t)
			if tc.oauth.status != 0 {
				as.set(oauthPath, tc.oauth.status, tc.oauth.kind, tc.oauth.body)
			}
			if tc.openid.status != 0 {
				as.set(openidPath, tc.openid.status, tc.openid.kind, tc.openid.body)
			}
			s := server(t, as.config(), Options{})
			_, err := s.refreshMetadata(t.Context())
			if tc.want == "" {
				m, merr := s.Metadata()
				if err != nil || merr != nil || m.JWKSURI != as.URL+"/jwks" {
					t.Fatalf("got %+v, %v, %v; want it adopted", m, err, merr)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if _, err := s.Metadata(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
}

func TestLastGoodDocumentStays(t *testing.T) { // D-14
	as := newAS(t)
	now := time.Now()
	s := server(t, as.config(), Options{Now: func() time.Time { return now }})
	as.set(oauthPath, 200, jsonKind, good)
	if _, err := s.refreshMetadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	as.set(oauthPath, 200, jsonKind, `{"issuer":"https://evil.example","jwks_uri":"$ISSUER/evil"}`)
	if _, err := s.refreshMetadata(t.Context()); err == nil {
		t.Fatal("another issuer was adopted")
	}
	if m, err := s.Metadata(); err != nil || m.JWKSURI != as.URL+"/jwks" {
		t.Errorf("got %+v, %v; want the last good document", m, err)
	}
	now = now.Add(25 * time.Hour)
	if _, err := s.Metadata(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after max_stale: got %v, want ErrUnavailable", err)
	}
}

func TestOverridesNeedNoDiscovery(t *testing.T) {
	as := newAS(t)
	as.publish(key(t, "a"))
	cfg := as.config()
	cfg.JWKSURI = as.URL + "/jwks"
	s := server(t, cfg, Options{})
	run(t, s)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	as.mu.Lock()
	defer as.mu.Unlock()
	if diff := cmp.Diff([]string{"/jwks"}, as.asked); diff != "" {
		t.Error(diff)
	}
}

func TestRecoversByItself(t *testing.T) { // D-15
	as := newAS(t)
	s := server(t, as.config(), Options{})
	run(t, s)
	if err := s.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	as.publish(key(t, "a"))
	as.set(openidPath, 200, jsonKind, good)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	if _, err := s.Key(t.Context(), "a", "ES256"); err != nil {
		t.Error(err)
	}
}

func TestUnknownKeyFetchesOnceInAWhile(t *testing.T) { // J-27, L-05
	as := newAS(t)
	as.set(oauthPath, 200, jsonKind, good)
	as.publish(key(t, "a"))
	var mu sync.Mutex
	now := time.Now()
	s := server(t, as.config(), Options{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	run(t, s)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			if _, err := s.Key(t.Context(), fmt.Sprint("random", i), "ES256"); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("got %v, want ErrUnknownKey", err)
			}
			if _, err := s.Key(t.Context(), "a", "ES256"); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if got := as.fetches.Load(); got != 2 {
		t.Errorf("got %d fetches, want the first and one more", got)
	}
	as.publish(key(t, "b"))
	if _, err := s.Key(t.Context(), "b", "ES256"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("within min_refresh_interval: got %v, want ErrUnknownKey", err)
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	if _, err := s.Key(t.Context(), "b", "ES256"); err != nil {
		t.Errorf("after min_refresh_interval: %v", err)
	}
	if _, err := s.Key(t.Context(), "a", "ES256"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a key that is no longer published: got %v, want ErrUnknownKey (A-07)", err)
	}
}

func TestLastGoodKeysStay(t *testing.T) { // J-11, L-06
	for name, body := range map[string]string{
		"empty object":   `{}`,
		"empty set":      `{"keys":[]}`,
		"null":           `{"keys":null}`,
		"no JSON":        `<html>`,
		"no usable key":  `{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}`,
		"two sets":       `{"keys":[],"keys":[]}`,
		"10 MB":          `{"keys":[` + strings.Repeat(" ", 10<<20) + `]}`,
		"10,000 keys":    `{"keys":[` + strings.Repeat(`{},`, 9999) + `{}]}`,
		"trailing bytes": `{"keys":[]} {"keys":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			as := newAS(t)
			as.set(oauthPath, 200, jsonKind, good)
			as.publish(key(t, "a"))
			now := time.Now()
			var failures atomic.Int32
			s := server(t, as.config(), Options{
				Now:   func() time.Time { return now },
				Hooks: Hooks{Keys: func(_ string, err error) { failures.Add(int32(min(1, len(field.List(err))))) }},
			})
			if _, err := s.refreshMetadata(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.refreshKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			as.set("/jwks", 200, jsonKind, body)
			if _, err := s.refreshKeys(t.Context()); err == nil {
				t.Error("no alarm")
			}
			if failures.Load() != 1 {
				t.Errorf("got %d failures counted, want 1", failures.Load())
			}
			if _, err := s.Key(t.Context(), "a", "ES256"); err != nil {
				t.Errorf("the last good key is gone: %v", err)
			}
			now = now.Add(25 * time.Hour)
			if _, err := s.Key(t.Context(), "a", "ES256"); !errors.Is(err, ErrUnavailable) {
				t.Errorf("after max_stale: got %v, want ErrUnavailable", err)
			}
		})
	}
}

func TestMaxAgeShortensOnly(t *testing.T) {
	s := server(t, Config{Issuer: "https://as", RequestTimeout: time.Second, RefreshInterval: 5 * time.Minute, MinRefreshInterval: 15 * time.Second, MaxStale: time.Hour}, Options{})
	for value, want := range map[string]time.Duration{
		"":                          5 * time.Minute,
		"max-age=60":                time.Minute,
		"public, Max-Age=\"60\"":    time.Minute,
		"max-age=86400":             5 * time.Minute,
		"max-age=0":                 15 * time.Second,
		"max-age=-1":                5 * time.Minute,
		"max-age=99999999999999999": 5 * time.Minute,
		"no-store":                  5 * time.Minute,
	} {
		if got := s.pause(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

func TestAlarmOnSecretKeys(t *testing.T) { // J-10
	as := newAS(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	as.set(oauthPath, 200, jsonKind, good)
	as.publish(key(t, "a"), jose.JSONWebKey{Key: private, KeyID: "leaked"})
	var successes, alarms int
	s := server(t, as.config(), Options{Hooks: Hooks{Keys: func(_ string, err error) {
		if errors.Is(err, errSecret) {
			alarms++
		} else if err == nil {
			successes++
		}
	}}})
	if _, err := s.refreshMetadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.refreshKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alarms != 1 || successes != 1 {
		t.Errorf("got %d alarms, %d successes; want 1 and 1", alarms, successes)
	}
	if _, err := s.Key(t.Context(), "leaked", "ES256"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("got %v, want ErrUnknownKey", err)
	}
	if _, err := s.Key(t.Context(), "a", "ES256"); err != nil {
		t.Error(err)
	}
}

func TestCallersContextEndsTheWait(t *testing.T) {
	as := newAS(t)
	as.set(oauthPath, 200, jsonKind, good)
	as.publish(key(t, "a"))
	s := server(t, as.config(), Options{})
	run(t, s)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	as.mu.Lock()
	as.answers["/jwks"] = func(http.ResponseWriter) { <-release }
	as.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Key(ctx, "b", "ES256"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}
