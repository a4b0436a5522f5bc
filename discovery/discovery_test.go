package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/jwk"
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
		"accounts.google.com":      "with jwks_uri it may be any text",
		"https://as\n":             "control characters",
	} {
		err := Config{Issuer: issuer, MetadataURL: "http://as/metadata", NeedKeys: true}.Validate()
		if err == nil || !strings.Contains(err.Error(), "issuer: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("issuer %q: got %v, want %q", issuer, err, want)
		}
		if !strings.Contains(err.Error(), `metadata_url: "http" is not allowed`) {
			t.Errorf("got %v, want it to speak of metadata_url", err)
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
		Intervals: Intervals{RefreshInterval: time.Hour, MinRefreshInterval: time.Minute, MaxStale: 24 * time.Hour},
	}
}

func server(t *testing.T, cfg Config, o Options) *Issuer {
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
func run(t *testing.T, s *Issuer) {
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
	evil       = `{"issuer":"https://evil.example","jwks_uri":"$ISSUER/jwks","introspection_endpoint":"$ISSUER/introspect"}`
	good       = `{"issuer":"$ISSUER","jwks_uri":"$ISSUER/jwks","introspection_endpoint":"$ISSUER/introspect","response_types_supported":["code"]}`
)

func TestWhichDocumentCounts(t *testing.T) {
	type answer struct {
		status     int
		kind, body string
	}
	then := answer{200, jsonKind, good}
	for name, tc := range map[string]struct {
		oauth, openid answer
		want          string // empty: adopted
	}{
		"RFC 8414 first":                {oauth: then},
		"parameters of the type":        {oauth: answer{200, "application/json; charset=utf-8", good}},
		"a file server's type (D-08)":   {oauth: answer{200, "application/octet-stream", good}},
		"no type (D-08)":                {oauth: answer{200, "", good}},
		"404 leads on (D-07)":           {oauth: answer{404, "text/html", "gone"}, openid: then},
		"401 leads on (D-07)":           {oauth: answer{401, jsonKind, "{}"}, openid: then},
		"429 leads on (D-07)":           {oauth: answer{429, jsonKind, "{}"}, openid: then},
		"500 leads on (D-07)":           {oauth: answer{500, jsonKind, "{}"}, openid: then},
		"a redirect leads on (D-07)":    {oauth: answer{302, jsonKind, "{}"}, openid: then},
		"HTML leads on (D-08)":          {oauth: answer{200, "text/html; charset=utf-8", "<!doctype html>"}, openid: then},
		"broken JSON leads on":          {oauth: answer{200, jsonKind, good[:40]}, openid: then},
		"another issuer leads on":       {oauth: answer{200, jsonKind, evil}, openid: then},
		"too large leads on (D-09)":     {oauth: answer{200, jsonKind, good + strings.Repeat(" ", maxMetadataBytes)}, openid: then},
		"HTML is no document (D-08)":    {oauth: answer{200, "text/html", good}, want: "content type"},
		"XHTML is no document (D-08)":   {oauth: answer{200, "application/xhtml+xml", good}, want: "content type"},
		"another issuer (D-05)":         {oauth: answer{200, jsonKind, evil}, want: `got issuer "https://evil.example", want "http://127.0.0.1:`},
		"of the other type (D-05)":      {oauth: answer{200, "text/plain", evil}, want: "got issuer"},
		"a placeholder (D-05)":          {oauth: answer{200, jsonKind, strings.Replace(good, "$ISSUER", "$ISSUER/{tenantid}/v2.0", 1)}, want: `/{tenantid}/v2.0", want "http://127.0.0.1:`},
		"a slash more (D-05)":           {oauth: answer{200, jsonKind, strings.Replace(good, "$ISSUER", "$ISSUER/", 1)}, want: "got issuer"},
		"no issuer":                     {oauth: answer{200, jsonKind, `{"jwks_uri":"$ISSUER/jwks"}`}, want: `got issuer ""`},
		"wrong case (D-10)":             {oauth: answer{200, jsonKind, `{"ISSUER":"$ISSUER","jwks_uri":"$ISSUER/jwks"}`}, want: "got issuer"},
		"repeated member (D-10)":        {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER","jwks_uri":"https://evil.example","jwks_uri":"$ISSUER/jwks"}`}, want: "strict JSON"},
		"two documents":                 {oauth: answer{200, jsonKind, good + good}, want: "strict JSON"},
		"list":                          {oauth: answer{200, jsonKind, `[]`}, want: "strict JSON"},
		"no jwks_uri (D-11)":            {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER"}`}, want: "no jwks_uri"},
		"http for the keys (D-12)":      {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER","jwks_uri":"http://as.example.com/jwks"}`}, want: "use https"},
		"completed from the next":       {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER"}`}, openid: then},
		"http is mended by the next":    {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER","jwks_uri":"http://as.example.com/jwks"}`}, openid: then},
		"completed by no other issuer":  {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER"}`}, openid: answer{200, jsonKind, evil}, want: "no jwks_uri"},
		"the first endpoint stays":      {oauth: then, openid: answer{200, jsonKind, strings.Replace(good, "/jwks", "/other", 1)}},
		"a part from each":              {oauth: answer{200, jsonKind, `{"issuer":"$ISSUER","jwks_uri":"$ISSUER/jwks"}`}, openid: answer{200, jsonKind, strings.Replace(good, "/jwks", "/other", 1)}},
		"a redirect, in words":          {oauth: answer{302, jsonKind, "{}"}, want: "got status 302, want 200 (redirects are not followed)"},
		"nowhere":                       {want: "no usable document"},
		"nowhere, and each is named":    {want: openidPath + ": got status 404, want 200 (metadata_url, or jwks_uri and introspection_endpoint, would do without)"},
		"nowhere, and the first is too": {want: oauthPath + ": got status 404, want 200; "},
	} {
		t.Run(name, func(t *testing.T) {
			as := newAS(t)
			if tc.oauth.status != 0 {
				as.set(oauthPath, tc.oauth.status, tc.oauth.kind, tc.oauth.body)
			}
			if tc.openid.status != 0 {
				as.set(openidPath, tc.openid.status, tc.openid.kind, tc.openid.body)
			}
			cfg := as.config()
			cfg.NeedIntrospection = true
			if strings.Contains(tc.want, "jwks_uri") && !strings.Contains(tc.want, "do without") {
				cfg.IntrospectionEndpoint = as.URL + "/introspect"
			}
			s := server(t, cfg, Options{})
			_, err := s.refreshMetadata(t.Context())
			if tc.want == "" {
				m, merr := s.Metadata()
				if err != nil || merr != nil || m.JWKSURI != as.URL+"/jwks" || m.IntrospectionEndpoint != as.URL+"/introspect" {
					t.Fatalf("got %+v, %v, %v; want it adopted", m, err, merr)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if strings.ContainsAny(err.Error(), "\n<") || len(err.Error()) > 1000 {
				t.Errorf("got %q, want one short line without the body", err)
			}
			if _, err := s.Metadata(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
}

func TestConfiguredEndpointsStandAboveDiscovered(t *testing.T) {
	as := newAS(t)
	cfg := as.config()
	cfg.NeedIntrospection, cfg.JWKSURI = true, as.URL+"/mine"
	as.set(oauthPath, 200, jsonKind, good)
	s := server(t, cfg, Options{})
	if _, err := s.refreshMetadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Metadata(); err != nil || m.JWKSURI != cfg.JWKSURI || m.IntrospectionEndpoint != as.URL+"/introspect" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestMetadataIsFetchedAgainAsItsServerSays(t *testing.T) {
	as := newAS(t)
	for path, age := range map[string]string{oauthPath: "max-age=240", openidPath: "max-age=120"} {
		body := strings.ReplaceAll(good, "$ISSUER", as.URL)
		if path == oauthPath {
			body = `{"issuer":"` + as.URL + `"}`
		}
		as.answers[path] = func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", age)
			fmt.Fprint(w, body)
		}
	}
	if pause, err := server(t, as.config(), Options{}).refreshMetadata(t.Context()); err != nil || pause != 2*time.Minute {
		t.Errorf("got %s, %v; want the shorter one of two documents, 2m0s", pause, err)
	}
}

func TestMutualTLSHasItsOwnEndpoint(t *testing.T) { // RFC 8705 §5
	as := newAS(t)
	as.set(oauthPath, 200, jsonKind,
		good[:len(good)-1]+`,"mtls_endpoint_aliases":{"introspection_endpoint":"$ISSUER/mtls"}}`)
	for mutual, want := range map[bool]string{false: "/introspect", true: "/mtls"} {
		cfg := as.config()
		cfg.NeedIntrospection, cfg.MutualTLS = true, mutual
		s := server(t, cfg, Options{})
		if _, err := s.refreshMetadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m, err := s.Metadata(); err != nil || m.IntrospectionEndpoint != as.URL+want {
			t.Errorf("mutual TLS %v: got %+v, %v; want %s", mutual, m, err, want)
		}
	}
}

// keyEvents tells how each fetch of the keys ended.
func keyEvents(told func(err error)) Observer {
	return Observer{Ended: func(_ context.Context, e Event) {
		if e.Operation == OperationKeys {
			told(e.Err)
		}
	}}
}

func TestStoppingIsNoFailure(t *testing.T) {
	as := newAS(t)
	cfg := as.config()
	s := server(t, cfg, Options{Events: Observer{
		Ended: func(_ context.Context, e Event) { t.Errorf("was told %+v", e) },
	}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.metadata.Store(&Metadata{JWKSURI: as.URL + "/jwks"})
	_, metadata := s.refreshMetadata(ctx)
	_, keys := s.refreshKeys(ctx)
	if metadata == nil || keys == nil || s.Failing() {
		t.Errorf("got %v, %v, failing %v; want errors that nobody is told of", metadata, keys, s.Failing())
	}
}

// What was inherited is kept fresh like what was fetched.
func TestInheritedKeysAreRefreshed(t *testing.T) {
	as := newAS(t)
	as.set(oauthPath, 200, jsonKind, good)
	as.publish(key(t, "a"))
	before := server(t, as.config(), Options{})
	run(t, before)
	eventually(t, "ready", func() bool { return before.Ready() == nil })
	as.publish(key(t, "b"))
	s := server(t, as.config(), Options{})
	s.Inherit(before)
	if err := s.Ready(); err != nil {
		t.Errorf("got %v, want it ready at once", err)
	}
	run(t, s)
	eventually(t, "the new key", func() bool { _, ok := s.keys.Load().find("b", "ES256"); return ok })
}

func TestAReachedEndpointIsInherited(t *testing.T) {
	as := newAS(t)
	cfg := as.config()
	cfg.NeedKeys, cfg.NeedIntrospection, cfg.IntrospectionEndpoint = false, true, as.URL+"/introspect"
	before := server(t, cfg, Options{})
	before.Run(t.Context())
	s := server(t, cfg, Options{})
	if s.Ready() == nil {
		t.Error("ready although nothing was reached")
	}
	s.Inherit(before)
	if err := s.Ready(); err != nil {
		t.Errorf("got %v, want it ready at once", err)
	}
}

func TestSilenceLeadsOn(t *testing.T) { // D-07: bounded by the timeout of each call
	as := newAS(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	as.answers[oauthPath] = func(http.ResponseWriter) { <-release }
	cfg := as.config()
	cfg.RequestTimeout = 100 * time.Millisecond
	s := server(t, cfg, Options{})
	began := time.Now()
	_, err := s.refreshMetadata(t.Context())
	if err == nil || !strings.Contains(err.Error(), oauthPath+": no answer within 100ms") ||
		!strings.Contains(err.Error(), openidPath+": got status 404") {
		t.Errorf("got %v, want both candidates named", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
	as.set(openidPath, 200, jsonKind, good)
	if _, err := s.refreshMetadata(t.Context()); err != nil {
		t.Errorf("got %v, want the second candidate", err)
	}
}

func TestErrorsCarryNoAnswers(t *testing.T) {
	raw := "SSH-2.0-secret" + strings.Repeat("x", 5000) + "\r\n"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(raw))
			_ = conn.Close()
		}
	}()
	cfg := newAS(t).config()
	cfg.Issuer = "http://" + listener.Addr().String()
	_, err = server(t, cfg, Options{}).refreshMetadata(t.Context())
	if err == nil || strings.Contains(err.Error(), "secret") || len(err.Error()) > 1000 {
		t.Errorf("got %v, want it without the answer", err)
	}
}

func TestMetadataURL(t *testing.T) {
	as := newAS(t)
	as.set(oauthPath, 200, jsonKind, strings.Replace(good, "/jwks", "/wrong", 1))
	cfg := as.config()
	cfg.MetadataURL = as.URL + "/inside"
	s := server(t, cfg, Options{})
	if _, err := s.refreshMetadata(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "/inside: got status 404, want 200 (jwks_uri would do without)") {
		t.Errorf("got %v, want a failure there", err)
	}
	as.set("/inside", 200, jsonKind, evil)
	if _, err := s.refreshMetadata(t.Context()); err == nil ||
		!strings.Contains(err.Error(), `got issuer "https://evil.example"`) {
		t.Errorf("got %v, want the other issuer refused (D-05)", err)
	}
	as.set("/inside", 200, jsonKind, good)
	if _, err := s.refreshMetadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Metadata(); err != nil || m.JWKSURI != as.URL+"/jwks" {
		t.Errorf("got %+v, %v", m, err)
	}
	if slices.ContainsFunc(as.asked, func(path string) bool { return path != "/inside" }) {
		t.Errorf("got %q asked for, want /inside alone", as.asked)
	}
}

func TestIssuerIsAnIdentifierWhereNothingIsDiscovered(t *testing.T) {
	as := newAS(t)
	as.publish(key(t, "a"))
	for _, issuer := range []string{
		"accounts.google.com", "http://adfs.example.com/adfs/services/trust", "urn:example:as",
		"https://as?tenant=1#",
	} {
		cfg := as.config()
		cfg.Issuer, cfg.JWKSURI = issuer, as.URL+"/jwks"
		if err := cfg.Validate(); err != nil {
			t.Errorf("%q: %v", issuer, err)
			continue
		}
		s := server(t, cfg, Options{})
		run(t, s)
		eventually(t, "ready", func() bool { return s.Ready() == nil })
		if m, err := s.Metadata(); err != nil || m.Issuer != issuer || !m.Fetched.IsZero() {
			t.Errorf("%q: got %+v, %v", issuer, m, err)
		}
		cfg.NeedIntrospection = true // and no endpoint: it would have to be found out
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "jwks_uri and introspection_endpoint") {
			t.Errorf("%q: got %v, want the keys named with which it is allowed", issuer, err)
		}
	}
	if slices.ContainsFunc(as.asked, func(path string) bool { return path != "/jwks" }) {
		t.Errorf("got %q asked for, want /jwks alone", as.asked)
	}
	for _, issuer := range []string{"", "a\x00b", "a\nb", "a\x7f", "a\u0085", "a\xff"} {
		cfg := as.config()
		cfg.Issuer, cfg.JWKSURI = issuer, as.URL+"/jwks"
		if err := cfg.Validate(); err == nil {
			t.Errorf("%q was accepted", issuer)
		}
	}
}

func TestInherit(t *testing.T) {
	as := newAS(t)
	as.set(oauthPath, 200, jsonKind, good)
	as.publish(key(t, "a"))
	cfg := as.config()
	cfg.NeedIntrospection = true
	before := server(t, cfg, Options{})
	run(t, before)
	eventually(t, "ready", func() bool { return before.Ready() == nil })
	for name, tc := range map[string]struct {
		change func(*Config)
		keep   bool
	}{
		"nothing":               {func(*Config) {}, true},
		"request timeout":       {func(c *Config) { c.RequestTimeout = time.Minute }, true},
		"refresh interval":      {func(c *Config) { c.RefreshInterval = time.Minute }, true},
		"min refresh interval":  {func(c *Config) { c.MinRefreshInterval = time.Second }, true},
		"max stale":             {func(c *Config) { c.MaxStale = time.Hour }, true},
		"issuer":                {func(c *Config) { c.Issuer = "https://other" }, false},
		"metadata_url":          {func(c *Config) { c.MetadataURL = as.URL + "/other" }, false},
		"jwks_uri":              {func(c *Config) { c.JWKSURI = as.URL + "/other" }, false},
		"another server's file": {func(c *Config) { c.JWKSFile = writeKeys(t, key(t, "b")) }, false},
		"introspection":         {func(c *Config) { c.IntrospectionEndpoint = as.URL + "/other" }, false},
		"token endpoint":        {func(c *Config) { c.TokenEndpoint = as.URL + "/other" }, false},
		"keys no longer needed": {func(c *Config) { c.NeedKeys = false }, false},
		"introspection neither": {func(c *Config) { c.NeedIntrospection = false }, false},
		"a token too":           {func(c *Config) { c.NeedToken = true }, false},
		"mutual TLS":            {func(c *Config) { c.MutualTLS = true }, false},
		"trust anchors":         {func(c *Config) { c.CAFile = "/other.pem" }, false},
		"client certificate":    {func(c *Config) { c.ClientCertFile = "/other.pem" }, false},
		"client key":            {func(c *Config) { c.ClientKeyFile = "/other.pem" }, false},
		"insecure_http":         {func(c *Config) { c.InsecureHTTP, c.Issuer = false, "https://other" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := cfg
			tc.change(&changed)
			if got := changed.SameTrust(cfg); got != tc.keep {
				t.Errorf("SameTrust: got %v, want %v", got, tc.keep)
			}
			if got := cfg.SameTrust(changed); got != tc.keep {
				t.Errorf("SameTrust the other way: got %v, want %v", got, tc.keep)
			}
			s := server(t, changed, Options{})
			s.Inherit(before)
			_, known := s.current()
			m := s.metadata.Load()
			if changed.JWKSFile != "" { // has others, from the beginning
				if _, known = s.Key(t.Context(), "b", "ES256"); known != nil {
					t.Error(known)
				}
				_, known = s.Key(t.Context(), "a", "ES256")
			}
			if got := known == nil; got != tc.keep {
				t.Errorf("keys: got kept %v, want %v", got, tc.keep)
			}
			if got := m != nil && !m.Fetched.IsZero(); got != tc.keep {
				t.Errorf("metadata: got kept %v, want %v", got, tc.keep)
			}
		})
	}
	plain, secure := cfg, cfg
	secure.InsecureHTTP = false
	if plain.SameTrust(secure) {
		t.Error("insecure_http makes no difference")
	}
}

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Reset()
}

func TestReach(t *testing.T) {
	var logged lines
	log := slog.New(slog.NewTextHandler(&logged, nil))
	for i := range 50 { // what went wrong did so every other time
		as := newAS(t)
		cfg := as.config()
		cfg.NeedKeys, cfg.NeedIntrospection, cfg.IntrospectionEndpoint = false, true, as.URL+"/introspect"
		s, err := New(cfg, Options{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if i%2 == 1 {
			cancel() // before it began: neither reached nor failed
		}
		s.Run(ctx) // ends by itself once the endpoint is reached
		cancel()
		if s.Failing() || (s.Ready() == nil) != (i%2 == 0) {
			t.Fatalf("run %d: got failing %v, ready %v", i, s.Failing(), s.Ready())
		}
	}
	if logged.String() != "" {
		t.Errorf("got logged %s", &logged)
	}
}

func TestReachFailsAndRecovers(t *testing.T) {
	as := newAS(t)
	address := as.Listener.Addr().String()
	as.Close()
	cfg := as.config()
	cfg.NeedKeys, cfg.NeedIntrospection, cfg.IntrospectionEndpoint = false, true, as.URL+"/introspect"
	s := server(t, cfg, Options{})
	run(t, s)
	eventually(t, "a failure", s.Failing)
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), cfg.IntrospectionEndpoint) {
		t.Errorf("got %v, want the URL in it", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip("the port is taken by now")
	}
	t.Cleanup(func() { listener.Close() })
	eventually(t, "ready", func() bool { return s.Ready() == nil && !s.Failing() })
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

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rotating returns a running server and its clock, ready with the key a.
func rotating(t *testing.T) (*as, *Issuer, *clock) {
	t.Helper()
	as := newAS(t)
	as.set(oauthPath, 200, jsonKind, good)
	as.publish(key(t, "a"))
	clock := &clock{now: time.Now()}
	s := server(t, as.config(), Options{Now: clock.Now})
	run(t, s)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	return as, s, clock
}

func TestRotationsInARow(t *testing.T) { // J-27: three at once, then one in min_refresh_interval
	as, s, clock := rotating(t)
	for _, id := range []string{"b", "c", "d"} {
		as.publish(key(t, id))
		if _, err := s.Key(t.Context(), id, "ES256"); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	as.publish(key(t, "e"))
	for range 10 {
		if _, err := s.Key(t.Context(), "e", "ES256"); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("the fourth at once: got %v, want ErrUnknownKey", err)
		}
	}
	if got := as.fetches.Load(); got != 4 {
		t.Errorf("got %d fetches, want the first and three", got)
	}
	clock.add(time.Minute - time.Second)
	if _, err := s.Key(t.Context(), "e", "ES256"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("within min_refresh_interval: got %v, want ErrUnknownKey", err)
	}
	clock.add(time.Second)
	if _, err := s.Key(t.Context(), "e", "ES256"); err != nil {
		t.Errorf("after min_refresh_interval: %v", err)
	}
	if _, err := s.Key(t.Context(), "a", "ES256"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a key that is no longer published: got %v, want ErrUnknownKey (A-07)", err)
	}
	clock.add(time.Hour)
	for range 10 { // a long quiet time saves up three, not sixty
		_, _ = s.Key(t.Context(), "random", "ES256")
	}
	if got := as.fetches.Load(); got != 8 {
		t.Errorf("got %d fetches, want 8", got)
	}
}

func TestFloodOfUnknownKeys(t *testing.T) { // J-27, L-05
	as, s, clock := rotating(t)
	flood := func() {
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
	}
	for interval := range int32(5) {
		flood()
		flood()
		if got, most := as.fetches.Load(), 1+3+interval; got > most {
			t.Errorf("after %d intervals: got %d fetches, want at most %d", interval, got, most)
		}
		clock.add(time.Minute)
	}
}

func TestUnknownKeysAreFetchedOnceForAll(t *testing.T) {
	as, s, _ := rotating(t)
	next := key(t, "b")
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{next}})
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	as.mu.Lock()
	as.answers["/jwks"] = func(w http.ResponseWriter) {
		<-release
		_, _ = w.Write(body)
	}
	as.mu.Unlock()
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if _, err := s.Key(t.Context(), "b", "ES256"); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the fetch", func() bool { return as.fetches.Load() == 2 })
	time.Sleep(50 * time.Millisecond) // for those that are not waiting yet
	close(release)
	callers.Wait()
	if got := as.fetches.Load(); got != 2 {
		t.Errorf("got %d fetches, want the first and one for all", got)
	}
}

func TestUnknownKeyInAnOutage(t *testing.T) { // an outage is never a 401
	as, s, clock := rotating(t)
	as.set("/jwks", 500, jsonKind, "{}")
	for range 6 {
		if _, err := s.Key(t.Context(), "b", "ES256"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
	if got := as.fetches.Load(); got != 4 {
		t.Errorf("got %d fetches, want the first and three", got)
	}
	as.publish(key(t, "a"))
	clock.add(time.Minute)
	for range 2 {
		if _, err := s.Key(t.Context(), "b", "ES256"); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("got %v, want ErrUnknownKey", err)
		}
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
				Now:    func() time.Time { return now },
				Events: keyEvents(func(err error) { failures.Add(int32(min(1, len(field.List(err))))) }),
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
	s := server(t, Config{Issuer: "https://as", RequestTimeout: time.Second, Intervals: Intervals{
		RefreshInterval: 5 * time.Minute, MinRefreshInterval: 15 * time.Second, MaxStale: time.Hour,
	}}, Options{})
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
	s := server(t, as.config(), Options{Events: keyEvents(func(err error) {
		if errors.Is(err, jwk.ErrSecret) {
			alarms++
		} else if err == nil {
			successes++
		}
	})})
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
