package service_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

// logged is what a service logs.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// reloading is a service that watches its file.
type reloading struct {
	*service.Service

	t       *testing.T
	path    string
	log     logged
	metrics *metrics.Metrics
	again   chan os.Signal
	pages   http.Handler
}

// reload starts a service with the content of a file.
func reload(t *testing.T, content string) *reloading {
	t.Helper()
	r := &reloading{t: t, path: filepath.Join(t.TempDir(), "a.yaml"), again: make(chan os.Signal), metrics: metrics.New("v", "c")}
	r.Service = service.New(slog.New(slog.NewTextHandler(&r.log, nil)), r.metrics)
	t.Cleanup(r.Close)
	r.write(content)
	file := service.NewFile(r.path, func(content []byte) (*config.Config, error) {
		return config.Parse(r.path, content, os.LookupEnv)
	})
	cfg, err := file.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Watch(ctx, file, r.again, func(*config.Config) {}) }()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

func (r *reloading) write(content string) {
	r.t.Helper()
	if err := os.WriteFile(r.path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// want holds what was logged to lines that must be there, and how often.
func (r *reloading) want(count int, line string) {
	r.t.Helper()
	if got := strings.Count(r.log.String(), line); got != count {
		r.t.Fatalf("got %d times %q, want %d:\n%s", got, line, count, &r.log)
	}
}

// configured is one issuer as a file has it; its realm tells which file is used.
func configured(issuer, realm, grace string) string {
	return fmt.Sprintf("server: {reload_grace: %s}\nrealm: %s\nauth: {issuer: '%s', audience: api, insecure_http: true}\n", grace, realm, issuer)
}

// inUse is the realm of the challenge.
func (r *reloading) inUse() string {
	r.t.Helper()
	response, err := r.Checks().Check(context.Background(), check(""))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range response.GetDeniedResponse().GetHeaders() {
		if _, rest, ok := strings.Cut(h.GetHeader().GetValue(), `realm="`); ok {
			realm, _, _ := strings.Cut(rest, `"`)
			return realm
		}
	}
	r.t.Fatal("got no challenge")
	return ""
}

func (r *reloading) wantInUse(realm string, pending bool) {
	r.t.Helper()
	if got := r.inUse(); got != realm || (r.Pending() != nil) != pending {
		r.t.Fatalf("got %s in use, pending: %v; want %s and pending %t\n%s", got, r.Pending(), realm, pending, &r.log)
	}
}

const (
	waits   = "changed configuration waits for its issuers, keeping the one in use"
	dropped = "the configuration that waited for its issuers is dropped"
	late    = "changed configuration is used although its issuers cannot be decided"
	used    = "configuration reloaded"
	invalid = "changed configuration is not usable, keeping the one in use"
)

// nowhere refuses connections: nothing of it is under way while the clock of a
// synctest bubble stands.
const (
	nowhere   = "http://127.0.0.1:1"
	elsewhere = "http://127.0.0.1:1/other"
)

func TestReloadWaitsForItsIssuerAndNoLongerThanTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reload(t, configured(nowhere, "one", "5m"))
		r.write(configured(elsewhere, "two", "5m"))
		time.Sleep(10 * time.Second)
		r.wantInUse("one", true)
		if err := r.Pending().Error(); !strings.Contains(err, "issuer "+elsewhere+": ") || !strings.Contains(err, "connection refused") {
			t.Errorf("got %s, want the issuer and why", err)
		}
		if _, there := r.Issuers()[nowhere]; !there || len(r.Issuers()) != 1 {
			t.Errorf("got issuers %v, want those of the configuration in use", r.Issuers())
		}
		r.want(1, waits)
		time.Sleep(4*time.Minute + 45*time.Second)
		r.wantInUse("one", true)
		r.want(0, used)
		time.Sleep(15 * time.Second)
		r.wantInUse("two", false)
		r.want(1, waits)
		r.want(1, late)
		r.want(1, used)
	})
}

func TestReloadWithoutGraceDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reload(t, configured(nowhere, "one", "5m"))
		r.write(configured(elsewhere, "two", "0s"))
		time.Sleep(5 * time.Second)
		r.wantInUse("two", false)
		r.want(0, waits)
		r.want(0, late)
	})
}

// What has to change at once must not wait for an issuer that was down before.
func TestReloadThatLeavesTheIssuersDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reload(t, configured(nowhere, "one", "5m"))
		r.write(configured(nowhere, "two", "5m"))
		time.Sleep(5 * time.Second)
		r.wantInUse("two", false)
		r.want(0, waits)
	})
}

func TestNewerFileReplacesWhatWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		next    string
		demand  bool
		inUse   string
		pending bool
	}{
		"back to what it was":     {configured(nowhere, "one", "5m"), false, "one", false},
		"another one that waits":  {configured(nowhere+"/third", "three", "5m"), false, "one", true},
		"one that need not wait":  {configured(nowhere, "three", "5m"), false, "three", false},
		"one that may not wait":   {configured(elsewhere, "three", "0s"), false, "three", false},
		"an invalid one":          {"nonsense", false, "one", false},
		"the same, by a SIGHUP":   {configured(elsewhere, "two", "5m"), true, "one", true},
		"another one, by SIGHUPs": {configured(nowhere, "three", "5m"), true, "three", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := reload(t, configured(nowhere, "one", "5m"))
				r.write(configured(elsewhere, "two", "5m"))
				time.Sleep(4 * time.Minute)
				r.wantInUse("one", true)
				r.write(tc.next)
				if tc.demand {
					r.again <- os.Interrupt
				}
				time.Sleep(5 * time.Second)
				r.wantInUse(tc.inUse, tc.pending)
				r.want(1, dropped)
				// The grace of what was replaced is over by now.
				time.Sleep(2 * time.Minute)
				r.wantInUse(tc.inUse, tc.pending)
				r.want(0, late)
				if tc.pending {
					time.Sleep(3 * time.Minute)
					r.want(1, late)
				}
			})
		})
	}
}

func TestInvalidFileDropsNothingOfWhatServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reload(t, configured(nowhere, "one", "5m"))
		r.write("nonsense")
		time.Sleep(5 * time.Second)
		r.wantInUse("one", false)
		r.want(1, invalid)
	})
}

func TestCloseEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails when a goroutine is left
		r := reload(t, configured(nowhere, "one", "5m"))
		r.write(configured(elsewhere, "two", "5m"))
		time.Sleep(10 * time.Second)
		r.wantInUse("one", true)
	})
}

// From here on with an authorization server that answers, and a real clock.

func TestReloadIsTakenWhenItsIssuerAnswers(t *testing.T) {
	as, other := newIssuer(t), newIssuer(t)
	for _, path := range []string{devissuer.PathOAuth, devissuer.PathOpenID} {
		other.Behave(path, devissuer.Behaviour{Status: http.StatusServiceUnavailable})
	}
	r := reload(t, configured(as.URL(), "one", "5m"))
	r.Settle(t.Context(), 10*time.Second)
	old, fresh := as.JWT(claims{"aud": "api"}), other.JWT(claims{"aud": "api"})
	r.write(configured(other.URL(), "two", "5m"))
	eventually(t, func() bool { return strings.Contains(r.log.String(), waits) })
	r.wantInUse("one", true)
	for token, want := range map[string]string{old: "allowed", fresh: "wrong_issuer"} {
		if got := reason(t, r.Service, token); got != want {
			t.Errorf("while it waits: got %s, want %s", got, want)
		}
	}
	if err := r.Ready(); err != nil {
		t.Errorf("got %v, want the readiness of the configuration in use", err)
	}
	for _, path := range []string{devissuer.PathOAuth, devissuer.PathOpenID} {
		other.Behave(path, devissuer.Behaviour{})
	}
	eventually(t, func() bool { return r.Pending() == nil })
	r.wantInUse("two", false)
	for token, want := range map[string]string{old: "wrong_issuer", fresh: "allowed"} {
		if got := reason(t, r.Service, token); got != want {
			t.Errorf("after it: got %s, want %s", got, want)
		}
	}
	r.want(1, used)
	r.want(0, late)
}

// A unit that waited takes over what the one in use found out, and the end of
// what was replaced while it waited takes nothing away from it.
func TestWhatWaitsKeepsTheWarmCache(t *testing.T) {
	as := newIssuer(t)
	auth := func(more, others string) string {
		return "issuers:\n- {issuer: '" + as.URL() + "', audience: api, token_validation: both, client_id: gate, client_secret: s3cret, insecure_http: true" + more + "}\n" + others
	}
	third := "- {issuer: '" + nowhere + "', audience: api, insecure_http: true}\n"
	r := reload(t, auth("", ""))
	r.Settle(t.Context(), 10*time.Second)
	token := as.Opaque("", claims{"aud": "api"})
	if got := reason(t, r.Service, token); got != "allowed" {
		t.Fatalf("got %s", got)
	}
	r.write(auth(", request_timeout: 3s", third))
	eventually(t, func() bool { return r.Pending() != nil })
	r.write("server: {reload_grace: 0s}\n" + auth(", request_timeout: 4s", third))
	eventually(t, func() bool { return strings.Contains(r.log.String(), used) })
	for _, token := range []string{token, as.JWT(claims{"aud": "api"}), as.Opaque("", claims{"aud": "api"})} {
		if got := reason(t, r.Service, token); got != "allowed" {
			t.Errorf("got %s, want allowed", got)
		}
	}
	if calls := as.Calls(devissuer.PathIntrospection); calls != 2 {
		t.Errorf("got %d introspection calls, want 2: the warm cache was lost", calls)
	}
}

// Metrics tell nothing of an issuer that was only ever waited for.
func TestDroppedIssuerLeavesNoSeries(t *testing.T) {
	as := newIssuer(t)
	r := reload(t, configured(as.URL(), "one", "5m"))
	r.Settle(t.Context(), 10*time.Second)
	r.write(configured(elsewhere, "two", "5m"))
	eventually(t, func() bool { return strings.Contains(r.log.String(), waits) })
	if page := scrape(t, r); !strings.Contains(page, "bearergate_config_pending 1\n") || !strings.Contains(page, elsewhere) {
		t.Errorf("got %s, want that it waits, and its failures", page)
	}
	r.write(configured(as.URL(), "three", "5m"))
	eventually(t, func() bool { return r.inUse() == "three" })
	eventually(t, func() bool { return !strings.Contains(scrape(t, r), elsewhere) })
	if page := scrape(t, r); !strings.Contains(page, "bearergate_config_pending 0\n") || !strings.Contains(page, as.URL()) {
		t.Errorf("got %s", page)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s")
		}
	}
}

func scrape(t *testing.T, r *reloading) string {
	t.Helper()
	if r.pages == nil {
		r.pages = r.metrics.Handler(r.Service)
	}
	w := httptest.NewRecorder()
	r.pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}
