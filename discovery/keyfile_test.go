package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/observe"
)

// jwks is the set of keys.
func jwks(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func writeKeys(t *testing.T, keys ...jose.JSONWebKey) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys.json")
	replace(t, path, jwks(t, keys...))
	return path
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fromFile needs nothing but the keys of a file, and its issuer is no URL.
func fromFile(path string) Config {
	return Config{
		Issuer: "kubernetes/serviceaccount", NeedKeys: true, JWKSFile: path, RequestTimeout: time.Second,
		Intervals: Intervals{RefreshInterval: time.Hour, MinRefreshInterval: time.Minute, MaxStale: time.Minute},
	}
}

// noNetwork is the client of an issuer that nothing is fetched for.
func noNetwork(t *testing.T) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("%s was fetched", r.URL)
		return nil, errors.New("no network")
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// watched is an issuer whose keys are in a file, with what it told.
type watched struct {
	*Issuer
	logged            lines
	succeeded, failed atomic.Int32
}

func watch(t *testing.T, cfg Config) *watched {
	t.Helper()
	w := &watched{}
	var err error
	w.Issuer, err = New(cfg, Options{
		Client: noNetwork(t), Log: slog.New(slog.NewTextHandler(&w.logged, nil)),
		Events: observe.Observer[Event]{Ended: func(_ context.Context, e Event) {
			if e.Operation != OperationKeys || e.Issuer != cfg.Issuer {
				t.Errorf("got event %+v", e)
			}
			if e.Err != nil {
				w.failed.Add(1)
				return
			}
			w.succeeded.Add(1)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watched) knows(t *testing.T, id string, want error) {
	t.Helper()
	if _, err := w.Key(t.Context(), id, "ES256"); !errors.Is(err, want) {
		t.Errorf("key %s: got %v, want %v", id, err, want)
	}
}

// An issuer of which nothing is fetched is ready before anything runs.
func TestKeysOfAFile(t *testing.T) {
	path := writeKeys(t, key(t, "a"))
	s := watch(t, fromFile(path))
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	got, err := s.Key(t.Context(), "a", "ES256")
	if err != nil || got.File != path || s.Trusted(got.Thumbprint) != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	s.knows(t, "b", ErrUnknownKey)
	if m, err := s.Metadata(); err != nil || m.JWKSFile != path || m.JWKSURI != "" || !m.Fetched.IsZero() {
		t.Errorf("got %+v, %v", m, err)
	}
	if keys := s.State().Keys; len(keys) != 1 || keys[0].File != path {
		t.Errorf("got %+v", keys)
	}
}

// The file is looked at again and again, and decides; what is broken, empty or gone
// leaves the last good keys in use for as long as it takes, with an alarm.
func TestKeyFileThatChanges(t *testing.T) {
	a, b, c := key(t, "a"), key(t, "b"), key(t, "c")
	path := writeKeys(t, a)
	secret := strings.Replace(jwks(t, a), `"kty"`, `"d":"AQAB","kty"`, 1)
	good := jwks(t, b)
	synctest.Test(t, func(t *testing.T) {
		s := watch(t, fromFile(path))
		run(t, s.Issuer)
		old, err := s.Key(t.Context(), "a", "ES256")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Minute) // max_stale is a minute, refresh_interval an hour
		s.knows(t, "a", nil)
		if got := s.succeeded.Load(); got != 2 {
			t.Errorf("got %d successes, want that the file is good told once more", got)
		}

		replace(t, path, good)
		time.Sleep(5 * time.Second)
		s.knows(t, "b", nil)
		s.knows(t, "a", ErrUnknownKey)
		if err := s.Trusted(old.Thumbprint); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("got %v of a key that is gone, want %v", err, ErrUnknownKey)
		}
		for name, change := range map[string]func(){
			"broken":        func() { replace(t, path, good[:len(good)/2]) },
			"empty":         func() { replace(t, path, "") },
			"no keys":       func() { replace(t, path, `{"keys":[]}`) },
			"no usable key": func() { replace(t, path, strings.Replace(jwks(t, c), `"sig"`, `"enc"`, 1)) },
			"secret":        func() { replace(t, path, secret) },
			"gone":          func() { _ = os.Remove(path) },
			"a directory":   func() { _ = errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		} {
			before := s.failed.Load()
			change()
			time.Sleep(5 * time.Second)
			if got := s.failed.Load() - before; got != 1 {
				t.Errorf("%s: got %d failures, want the first one", name, got)
			}
			if !s.Failing() || s.State().Failure.Over {
				t.Errorf("%s: no failure is known", name)
			}
			if !strings.Contains(s.logged.String(), "level=ERROR") {
				t.Errorf("%s: no error in the log", name)
			}
			time.Sleep(time.Hour)
			if got := s.failed.Load() - before; got < 300 {
				t.Errorf("%s: got %d failures in an hour, want the alarm to last", name, got)
			}
			s.knows(t, "b", nil)
			s.knows(t, "c", ErrUnavailable) // nobody can tell
			if err := s.Ready(); err != nil {
				t.Errorf("%s: %v", name, err)
			}

			_ = os.Remove(path)
			replace(t, path, good)
			succeeded := s.succeeded.Load()
			time.Sleep(5 * time.Second)
			if s.Failing() || !s.State().Failure.Over || s.succeeded.Load() != succeeded+1 {
				t.Errorf("%s: not over", name)
			}
			s.logged.reset()
		}
		before := s.failed.Load()
		replace(t, path, jwks(t, b, c)[:len(jwks(t, b, c))-2]+","+strings.TrimPrefix(secret, `{"keys":[`))
		time.Sleep(5 * time.Second)
		s.knows(t, "c", nil)
		s.knows(t, "a", ErrUnknownKey) // everybody could have signed with it
		if s.failed.Load() != before+1 || !strings.Contains(s.logged.String(), "must not be there") {
			t.Errorf("got %d failures and log %s, want an alarm about the secret", s.failed.Load()-before, s.logged.String())
		}
	})
}

func TestKeyFileThatCannotBeUsed(t *testing.T) { // J-10, J-11
	good := jwks(t, key(t, "a"))
	for name, tc := range map[string]struct{ content, want string }{
		"empty":     {"", "not a JSON object"},
		"no set":    {`{"kty":"EC"}`, "no array of keys"},
		"no keys":   {`{"keys":[]}`, "no usable key"},
		"twice":     {`{"keys":[],` + good[1:], "distinct members"},
		"for enc":   {strings.Replace(good, `"sig"`, `"enc"`, 1), "keys[0]: use is neither sig nor jwt-svid"},
		"private":   {strings.Replace(good, `"kty"`, `"d":"AQAB","kty"`, 1), "keys[0]: private key: secret key material"},
		"symmetric": {`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "keys[0]: symmetric key"},
		"endless":   {`{"pad":"` + strings.Repeat("x", 1<<20) + `",` + good[1:], "larger than"},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		replace(t, path, tc.content)
		cfg := fromFile(path)
		_, opened := New(cfg, Options{Log: slog.New(slog.DiscardHandler)})
		for _, err := range []error{cfg.CheckFiles(), opened} {
			var at *field.Error
			if !errors.As(err, &at) || at.Path != "jwks_file" || !strings.Contains(err.Error(), path) ||
				!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "AQAB") {
				t.Errorf("%s: got %v, want %q of jwks_file", name, err, tc.want)
			}
		}
	}
	cfg := fromFile("/nowhere")
	if err := cfg.CheckFiles(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
	cfg.JWKSURI = "https://as.example.com/jwks"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "jwks_file: given together with jwks_uri") {
		t.Errorf("got %v, want both refused", err)
	}
}

// Keys of a file are read once more at a reload: those of before may be older.
func TestKeysOfAFileAreNotInherited(t *testing.T) {
	path := writeKeys(t, key(t, "a"))
	before := watch(t, fromFile(path))
	replace(t, path, jwks(t, key(t, "b")))
	after := watch(t, fromFile(path))
	after.Inherit(before.Issuer)
	after.knows(t, "b", nil)
	after.knows(t, "a", ErrUnknownKey)
}

// With a file only what is needed besides the keys is found out, and the document's
// own keys are never fetched.
func TestKeyFileWithDiscovery(t *testing.T) {
	as := newAS(t)
	as.publish(key(t, "theirs"))
	as.set(oauthPath, 200, jsonKind, good)
	cfg := as.config()
	cfg.JWKSFile, cfg.NeedIntrospection = writeKeys(t, key(t, "ours")), true
	if err := (Config{Issuer: "no URL", JWKSFile: cfg.JWKSFile, NeedKeys: true, NeedIntrospection: true}).Validate(); err == nil ||
		!strings.Contains(err.Error(), "with introspection_endpoint it may be any text") {
		t.Errorf("got %v", err)
	}
	s := server(t, cfg, Options{})
	run(t, s)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	for id, want := range map[string]error{"ours": nil, "theirs": ErrUnknownKey} {
		if _, err := s.Key(t.Context(), id, "ES256"); !errors.Is(err, want) {
			t.Errorf("key %s: got %v, want %v", id, err, want)
		}
	}
	m, err := s.Metadata()
	if err != nil || m.IntrospectionEndpoint != as.URL+"/introspect" || m.JWKSURI != "" {
		t.Errorf("got %+v, %v", m, err)
	}
	if got := as.fetches.Load(); got != 0 {
		t.Errorf("got %d fetches of keys, want none", got)
	}
	// A document without jwks_uri is complete then.
	as.set(oauthPath, 200, jsonKind, `{"issuer":"$ISSUER","introspection_endpoint":"$ISSUER/introspect"}`)
	if _, err := s.refreshMetadata(t.Context()); err != nil {
		t.Error(err)
	}
}

// The metadata of a cluster's inside names the issuer of its outside; what it names
// as endpoints is used as it is, inside or outside.
func TestMetadataURLOfTheInside(t *testing.T) {
	inside := newAS(t)
	inside.publish(key(t, "a"))
	const outside = "https://auth.example.com" // which nobody here can reach
	cfg := inside.config()
	cfg.Issuer, cfg.MetadataURL, cfg.NeedIntrospection = "https://auth.example.com", inside.URL+"/realms/metadata", true
	document := fmt.Sprintf(`{"issuer":"https://auth.example.com","jwks_uri":%q,"introspection_endpoint":%q}`,
		inside.URL+"/jwks", outside+"/introspect")
	inside.set("/realms/metadata", 200, jsonKind, document)
	s := server(t, cfg, Options{})
	run(t, s)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
	m, err := s.Metadata()
	if err != nil || m.Issuer != cfg.Issuer || m.JWKSURI != inside.URL+"/jwks" ||
		m.IntrospectionEndpoint != outside+"/introspect" || m.Source != cfg.MetadataURL {
		t.Errorf("got %+v, %v; want the document as it is", m, err)
	}
	if _, err := s.Key(t.Context(), "a", "ES256"); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct{ document, want string }{
		"the inside's own issuer": {
			strings.Replace(document, "https://auth.example.com", inside.URL, 1),
			fmt.Sprintf("got issuer %q, want %q (jwks_uri and introspection_endpoint would do without)", inside.URL, cfg.Issuer),
		},
		"a slash more":      {strings.Replace(document, "example.com", "example.com/", 1), `got issuer "https://auth.example.com/"`},
		"endpoints in http": {strings.Replace(document, outside+"/i", "http://as.internal/i", 1), `introspection_endpoint "http" is not allowed`},
	} {
		inside.set("/realms/metadata", 200, jsonKind, tc.document)
		_, err := s.refreshMetadata(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), cfg.MetadataURL) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

// TestMetadataURLIsHTTPS: what names our keys does not travel in the clear, but on
// loopback, where somebody said so.
func TestMetadataURLIsHTTPS(t *testing.T) {
	for _, tc := range []struct {
		url      string
		insecure bool
		want     string // of the error; empty: none
	}{
		{"https://keycloak.auth.svc/realms/a", false, ""},
		{"https://10.0.0.1:8443/metadata?version=2", false, ""},
		{"http://127.0.0.1:8080/metadata", true, ""},
		{"http://[::1]:8080/metadata", true, ""},
		{"http://localhost:8080/metadata", true, ""},
		{"http://127.0.0.1:8080/metadata", false, "insecure_http"},
		{"http://keycloak.auth.svc/metadata", false, `"http" is not allowed`},
		{"http://keycloak.auth.svc/metadata", true, `"http" is not allowed`},
		{"http://localhost.example.com/metadata", true, `"http" is not allowed`},
		{"/metadata", false, "no host"},
		{"file:///metadata", false, "metadata_url"},
		{"https://as/#", false, "fragment"},
		{"https://u:p@as/metadata", false, "user information"},
	} {
		cfg := Config{Issuer: "https://auth.example.com", MetadataURL: tc.url, InsecureHTTP: tc.insecure, NeedKeys: true}
		cfg.Intervals = Intervals{RefreshInterval: 1, MinRefreshInterval: 1, MaxStale: 1}
		err := cfg.Validate()
		if tc.want == "" && err != nil ||
			tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "metadata_url: ") || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s, insecure %v: got %v, want %q", tc.url, tc.insecure, err, tc.want)
		}
	}
}

// A server may insist on the type of what it has: that of Kubernetes answers 406 to
// who asks for its keys as plain JSON.
func TestWhatIsAskedFor(t *testing.T) {
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "application/json"
		if r.URL.Path == "/jwks" {
			want = "application/jwk-set+json"
		}
		if accept := r.Header.Get("Accept"); !slices.Contains(strings.Split(accept, ", "), want) {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		w.Header().Set("Content-Type", want)
		if r.URL.Path == "/jwks" {
			fmt.Fprint(w, jwks(t, key(t, "a")))
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, "http://"+r.Host, "http://"+r.Host+"/jwks")
	}))
	defer as.Close()
	cfg := newAS(t).config()
	cfg.Issuer = as.URL
	s := server(t, cfg, Options{})
	run(t, s)
	eventually(t, "ready", func() bool { return s.Ready() == nil })
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := usableKeys(body)
		if err == nil && len(keys.usable) == 0 {
			t.Error("no key, and no error")
		}
		if err != nil && bytes.ContainsAny([]byte(err.Error()), "\x00\x1b") {
			t.Errorf("got %q", err)
		}
	})
}
