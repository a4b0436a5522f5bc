package service_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

type claims = devissuer.Claims

func newIssuer(t testing.TB) *devissuer.Issuer {
	t.Helper()
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return as
}

func configuration(t testing.TB, issuer, more string) *config.Config {
	t.Helper()
	return configurationOf(t, issuer, "client_id: gate, client_secret: s3cret", more)
}

// configurationOf has more keys of the issuer, and more keys beside it.
func configurationOf(t testing.TB, issuer, keys, more string) *config.Config {
	t.Helper()
	content := "auth: {issuer: '" + issuer + "', audience: api, token_validation: both, insecure_http: true, " + keys + "}\n" + more
	cfg, err := config.Parse("a.yaml", []byte(content), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newService(t testing.TB, cfg *config.Config) *service.Service {
	t.Helper()
	svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", "test"))
	t.Cleanup(svc.Close)
	if err := svc.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	if err := svc.Ready(); err != nil {
		t.Fatal(err)
	}
	return svc
}

func check(token string) *authv3.CheckRequest {
	headers := map[string]string{
		":authority": "api.example.com", ":method": "GET", ":path": "/orders/1?x=y", ":scheme": "https", "accept": "*/*",
		"user-agent": "curl/8.9.1", "x-forwarded-proto": "https", "x-request-id": "0b6c9fcb-d8d1-4a51-a2bd-d8ba8d2a0b3d",
	}
	if token != "" {
		headers["authorization"] = "Bearer " + token
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "api.example.com", Path: "/orders/1?x=y", Headers: headers},
	}}}
}

func reason(t testing.TB, svc *service.Service, token string) string {
	t.Helper()
	response, err := svc.Checks().Check(context.Background(), check(token))
	if err != nil {
		t.Fatal(err)
	}
	return response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
}

const rules = `rules:
- {name: health, match: {paths: [/healthz]}, access: public}
- {name: orders, match: {paths: ["/orders/**"], methods: [GET]}, scopes: [orders:read]}
`

func BenchmarkCheck(b *testing.B) {
	as := newIssuer(b)
	svc := newService(b, configuration(b, as.URL(), rules))
	all := claims{"sub": "alice", "aud": "api", "client_id": "app", "scope": "orders:read orders:write"}
	expired := claims{"aud": "api", "exp": 1}
	jwt := as.JWT(all)
	for _, bm := range []struct {
		name, token, want string
	}{
		{"cached/jwt", jwt, "allowed"},
		{"cached/opaque", as.Opaque("", all), "allowed"},
		{"no_token", "", "no_token"},
		{"expired", as.JWT(expired), "expired"},
		{"bad_signature", jwt[:len(jwt)-8] + "AAAAAAAA", "bad_signature"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			request, err := proto.Marshal(check(bm.token))
			if err != nil {
				b.Fatal(err)
			}
			if got := reason(b, svc, bm.token); got != bm.want {
				b.Fatalf("got %s, want %s", got, bm.want)
			}
			room := make([]byte, 0, 4<<10)
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				if _, err := svc.Checks().Answer(context.Background(), request, room[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// reportCPU returns what reports the processor's time an operation: it says more than
// the clock's on a machine that others use.
func reportCPU(b *testing.B) func() {
	before := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestReloadKeepsWhatIsUnchanged(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), ""))
	token := as.Opaque("", claims{"aud": "api", "scope": "read"})
	for range 2 {
		if got := reason(t, svc, token); got != "allowed" {
			t.Fatalf("got %s", got)
		}
	}
	if err := svc.Apply(configuration(t, as.URL(), "cache: {max_entries: 500}\n"+strings.Replace(rules, "orders:read", "admin", 1))); err != nil {
		t.Fatal(err)
	}
	if got := reason(t, svc, token); got != "insufficient_scope" {
		t.Errorf("got %s: the new rules do not hold", got)
	}
	if calls := as.Calls(devissuer.PathIntrospection); calls != 1 {
		t.Errorf("got %d calls, want 1: the warm cache was lost", calls)
	}
	// Other bounds: nobody waits for keys, metadata or what has been found out.
	as.Behave(devissuer.PathOAuth, devissuer.Behaviour{Status: 500})
	as.Behave(devissuer.PathJWKS, devissuer.Behaviour{Status: 500})
	if err := svc.Apply(configuration(t, as.URL(), "cache: {ttl: 5s}\njwks: {max_stale: 1h}\n")); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{token, as.JWT(claims{"aud": "api"}), as.Opaque("", claims{"aud": "api"})} {
		if got := reason(t, svc, token); got != "allowed" {
			t.Errorf("got %s right after a reload that changed only bounds", got)
		}
	}
	if calls := as.Calls(devissuer.PathIntrospection); calls != 2 {
		t.Errorf("got %d calls, want 2: the warm cache was lost", calls)
	}
	// Tokens are judged in another way: what was found out does not count.
	changed := configuration(t, as.URL(), "")
	changed.Issuers[0].Validation.AccessTokenType = "rfc9068"
	if err := svc.Apply(changed); err != nil {
		t.Fatal(err)
	}
	if got := reason(t, svc, token); got != "allowed" || as.Calls(devissuer.PathIntrospection) != 3 {
		t.Errorf("got %s after %d calls: the cache of another configuration was used", got,
			as.Calls(devissuer.PathIntrospection))
	}
}

// A reload that changes whom we trust: neither keys nor answers of before count.
func TestReloadForgetsWhatOthersSaid(t *testing.T) {
	as, other := newIssuer(t), newIssuer(t)
	other.Behave("/inside", devissuer.Behaviour{
		Status: 200, Body: fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"introspection_endpoint":%q}`, as.URL(), other.URL()+devissuer.PathJWKS, other.URL()+devissuer.PathIntrospection),
	})
	anchors := httptest.NewTLSServer(nil)
	defer anchors.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: anchors.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	jwt, opaque := as.JWT(claims{"aud": "api"}), as.Opaque("", claims{"aud": "api"})
	for name, tc := range map[string]struct {
		change         string // keys of the issuer
		jwt, opaque    string
		fetched, asked int // once more, of as
	}{
		"nothing":                {"request_timeout: 3s", "allowed", "allowed", 0, 0},
		"introspection_endpoint": {"introspection_endpoint: '" + other.URL() + devissuer.PathIntrospection + "'", "allowed", "inactive", 1, 0},
		"jwks_uri":               {"jwks_uri: '" + other.URL() + devissuer.PathJWKS + "'", "unknown_key", "allowed", 0, 1},
		"metadata_url":           {"metadata_url: '" + other.URL() + "/inside'", "unknown_key", "inactive", 0, 0},
		"ca_file":                {"ca_file: '" + file + "'", "allowed", "allowed", 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			svc := newService(t, configuration(t, as.URL(), ""))
			for _, token := range []string{jwt, opaque} {
				if got := reason(t, svc, token); got != "allowed" {
					t.Fatalf("got %s", got)
				}
			}
			fetched, asked := as.Calls(devissuer.PathJWKS), as.Calls(devissuer.PathIntrospection)
			changed := configurationOf(t, as.URL(), "client_id: gate, client_secret: s3cret, "+tc.change, "")
			if err := svc.Apply(changed); err != nil {
				t.Fatal(err)
			}
			svc.Settle(t.Context(), 10*time.Second)
			if got := reason(t, svc, jwt); got != tc.jwt {
				t.Errorf("JWT: got %s, want %s", got, tc.jwt)
			}
			if got := reason(t, svc, opaque); got != tc.opaque {
				t.Errorf("opaque: got %s, want %s", got, tc.opaque)
			}
			// With keys inherited they are still fetched once, in the background.
			if got := as.Calls(devissuer.PathJWKS) - fetched; got < tc.fetched {
				t.Errorf("got %d fetches of the keys, want %d", got, tc.fetched)
			}
			if got := as.Calls(devissuer.PathIntrospection) - asked; got != tc.asked {
				t.Errorf("got %d introspection calls, want %d", got, tc.asked)
			}
		})
	}
}

// An issuer of which every endpoint is configured is compared and never asked.
func TestIssuerThatIsNoURL(t *testing.T) {
	as := newIssuer(t)
	var audience atomic.Value
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if parts := strings.Split(r.PostFormValue("client_assertion"), "."); len(parts) == 3 {
			payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
			audience.Store(string(payload))
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"active":true,"aud":"api","iss":"` + r.URL.Query().Get("iss") + `"}`))
	}))
	defer asked.Close()
	key, err := x509.MarshalPKCS8PrivateKey(as.Key().Key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "k.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, issuer := range []string{
		"accounts.google.com", "https://accounts.google.com", "http://adfs.example.com/adfs/services/trust",
		"urn:example:as",
	} {
		cfg := configurationOf(t, issuer, "client_id: gate, client_auth_method: private_key_jwt, client_key_file: '"+file+
			"', jwks_uri: '"+as.URL()+devissuer.PathJWKS+"', introspection_endpoint: '"+asked.URL+"/?iss="+url.QueryEscape(issuer)+"'", "")
		svc := newService(t, cfg)
		almost := "https://" + issuer
		if rest, ok := strings.CutPrefix(issuer, "https://"); ok { // go-oidc takes Google's without the scheme
			almost = rest
		}
		for token, want := range map[string]string{
			as.JWT(claims{"aud": "api", "iss": issuer}):   "allowed",
			as.JWT(claims{"aud": "api", "iss": almost}):   "wrong_issuer",
			as.JWT(claims{"aud": "api", "iss": as.URL()}): "wrong_issuer",
			"opaque": "allowed",
		} {
			if got := reason(t, svc, token); got != want {
				t.Errorf("%s: got %s, want %s", issuer, got, want)
			}
		}
		if got, _ := audience.Load().(string); !strings.Contains(got, fmt.Sprintf(`"aud":%q`, issuer)) {
			t.Errorf("got assertion %s, want the issuer as its audience", got)
		}
	}
	if calls := as.Calls(devissuer.PathOAuth) + as.Calls(devissuer.PathOpenID); calls != 0 {
		t.Errorf("got %d fetches of metadata, want none", calls)
	}
}

func TestProbeSaysWhatHappened(t *testing.T) {
	as := newIssuer(t)
	configured := "jwks_uri: '" + as.URL() + devissuer.PathJWKS + "', introspection_endpoint: '" + as.URL() + devissuer.PathIntrospection + "', "
	endpoint := "introspection: " + as.URL() + devissuer.PathIntrospection + ": "
	for name, tc := range map[string]struct {
		auth   string
		answer devissuer.Behaviour // of the introspection endpoint
		want   []string
		err    string
	}{
		"discovered": {"client_id: gate, client_secret: s3cret, ", devissuer.Behaviour{},
			[]string{"metadata: fetched", "keys: fetched from " + as.URL() + "/jwks", endpoint + "our credentials are accepted"}, ""},
		"configured": {configured + "client_id: gate, client_secret: s3cret, ", devissuer.Behaviour{},
			[]string{"metadata: configured, not fetched", "keys: fetched from " + as.URL() + "/jwks", endpoint + "our credentials are accepted"}, ""},
		"nobody authenticates": {"client_auth_method: none, ", devissuer.Behaviour{Status: 200, Body: `{"active":false}`},
			[]string{"metadata: fetched", "keys: fetched from " + as.URL() + "/jwks", endpoint + "the endpoint answers"}, ""},
		"the token is refused unseen": {"client_id: gate, client_secret: s3cret, ", devissuer.Behaviour{Status: 400, Body: `{"error":"invalid_request"}`},
			[]string{"metadata: fetched", "keys: fetched from " + as.URL() + "/jwks", endpoint + "the endpoint answers"}, ""},
		"wrong secret": {"client_id: gate, client_secret: wrong, ", devissuer.Behaviour{},
			[]string{"metadata: fetched", "keys: fetched from " + as.URL() + "/jwks", endpoint + "no answer that could be used"}, "our credentials are refused"},
		"bearer": {"client_auth_method: bearer, client_id: gate, client_secret: s3cret, ", devissuer.Behaviour{},
			[]string{"metadata: fetched", "keys: fetched from " + as.URL() + "/jwks",
				"introspection: " + as.URL() + "/introspect, with a token from " + as.URL() + "/token: our credentials are accepted"}, ""},
		"nowhere": {"metadata_url: '" + as.URL() + "/nowhere', client_id: gate, client_secret: s3cret, ", devissuer.Behaviour{},
			[]string{"metadata and keys"}, as.URL() + "/nowhere: got status 404"},
	} {
		t.Run(name, func(t *testing.T) {
			as.Behave(devissuer.PathIntrospection, tc.answer)
			path := filepath.Join(t.TempDir(), "a.yaml")
			content := "auth: {issuer: '" + as.URL() + "', audience: api, token_validation: both, " + tc.auth + "insecure_http: true}\n"
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load(path, os.LookupEnv)
			if err != nil {
				t.Fatal(err)
			}
			svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", "test"))
			t.Cleanup(svc.Close)
			if err := svc.Apply(cfg); err != nil {
				t.Fatal(err)
			}
			svc.Settle(t.Context(), 10*time.Second)
			var got []string
			for _, p := range svc.Probe(t.Context()) {
				got = append(got, p.What)
				if p.Err != nil && (tc.err == "" || !strings.Contains(p.Err.Error(), tc.err)) {
					t.Errorf("%s: got %v, want %q", p.What, p.Err, tc.err)
				}
				err = p.Err
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (tc.err != "") {
				t.Errorf("got %v, want %q", err, tc.err)
			}
		})
	}
}

func TestReloadUnderLoad(t *testing.T) { // never half a configuration
	as := newIssuer(t)
	// In one configuration the rule wants scope and audience a, in the other b: a
	// token of scope a and audience b passes in none of them.
	of := func(name string) *config.Config {
		return configuration(t, as.URL(),
			"rules: [{name: "+name+", match: {paths: ['/**']}, audience: "+name+", scopes: ["+name+"]}]\n")
	}
	configs := []*config.Config{of("a"), of("b")}
	svc := newService(t, configs[0])
	mixed := as.JWT(claims{"aud": "b", "scope": "a"})
	both := as.JWT(claims{"aud": []string{"a", "b"}, "scope": "a b"})
	done := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := reason(t, svc, mixed); got != "wrong_audience" && got != "insufficient_scope" {
					t.Errorf("mixed: got %s", got)
				}
				if got := reason(t, svc, both); got != "allowed" {
					t.Errorf("both: got %s", got)
				}
			}
		})
	}
	for i := range 200 {
		if err := svc.Apply(configs[i%2]); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
	}
	close(done)
	load.Wait()
}

func TestWatch(t *testing.T) {
	as := newIssuer(t)
	dir := t.TempDir()
	write := func(version, content string) { // as the kubelet does: a symlink is swapped
		if err := os.MkdirAll(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "a.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(dir, "next")
		if err := os.Symlink(version, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	auth := "auth: {issuer: '" + as.URL() + "', audience: AUD, insecure_http: true}\n"
	write("1", strings.Replace(auth, "AUD", "api", 1))
	path := filepath.Join(dir, "a.yaml")
	if err := os.Symlink(filepath.Join("..data", "a.yaml"), path); err != nil {
		t.Fatal(err)
	}
	file := service.NewFile(path, func(content []byte) (*config.Config, error) { return config.Parse(path, content, os.LookupEnv) })
	cfg, err := file.Load()
	if err != nil {
		t.Fatal(err)
	}
	svc := newService(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	again := make(chan os.Signal, 1)
	stopped := make(chan struct{})
	go func() { defer close(stopped); svc.Watch(ctx, file, again, func(*config.Config) {}) }()
	defer func() { cancel(); <-stopped }()
	token := as.JWT(claims{"aud": "api"})
	within := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); reason(t, svc, token) != want; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("got %s after 5 s, want %s", reason(t, svc, token), want)
			}
		}
	}
	within("allowed")
	write("2", strings.Replace(auth, "AUD", "other", 1))
	within("wrong_audience")
	write("3", "nonsense")
	again <- os.Interrupt
	time.Sleep(100 * time.Millisecond)
	within("wrong_audience") // a bad file changes nothing
	write("4", strings.Replace(auth, "AUD", "api", 1))
	again <- os.Interrupt
	within("allowed")
}
