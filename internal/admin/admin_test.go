package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/admin"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

const (
	one   = "https://one.example.com"
	two   = "https://two.example.com"
	token = "0123456789abcdef0123456789abcdef"
)

// world is what the pages are about.
type world struct {
	issuers   []service.IssuerState
	cfg       *config.Config
	pending   error
	draining  bool
	decisions *admin.Decisions
	asked     []*authv3.CheckRequest
	fleet     service.FleetState
	revoked   []revocation.Revocation
}

func (w *world) States() []service.IssuerState      { return w.issuers }
func (w *world) Entries() map[string]int            { return map[string]int{"jwt": 7} }
func (w *world) InUse() (*config.Config, time.Time) { return w.cfg, time.Unix(1e9, 0) }
func (w *world) Pending() error                     { return w.pending }
func (w *world) Proofs() int                        { return 17 }
func (w *world) Fleet() service.FleetState          { return w.fleet }

func (w *world) Revoke(_ context.Context, r revocation.Revocation) (shared bool, err error) {
	switch {
	case !w.fleet.On:
		return false, service.ErrRevocationOff
	case r.Issuer != one:
		return false, service.ErrUnknownIssuer
	}
	w.revoked = append(w.revoked, r)
	return w.fleet.Store != nil && w.fleet.Store.Up, r.Check()
}

// Check answers as a service might that tells too much.
func (w *world) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	w.asked = append(w.asked, r)
	http := r.GetAttributes().GetRequest().GetHttp()
	walk.From(ctx).Add(walk.Step{
		Package: "authz", Name: "a step", Result: walk.Failed, Got: http.GetHeaders()["authorization"],
		Detail: "<script>alert(1)</script>" + http.GetHeaders()["dpop"],
	})
	return &authv3.CheckResponse{}, nil
}

type settings struct {
	file   string // of the token
	remote bool
}

func pagesOf(t *testing.T, w *world, s settings) *admin.Pages {
	t.Helper()
	if w.decisions == nil {
		w.decisions = admin.NewDecisions()
	}
	log := slog.New(slog.DiscardHandler)
	known := admin.NewToken(log)
	if err := known.Use(s.file); err != nil {
		t.Fatal(err)
	}
	return admin.New(admin.Options{
		Service: w, Draining: func() bool { return w.draining }, Decisions: w.decisions, Checks: w,
		Lookups: func() map[string]map[string]uint64 {
			return map[string]map[string]uint64{"jwt": {"hit": 3, "miss": 1}}
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a_metric 1\n")
		}),
		Version: "1.2.3", Commit: "abc", Token: known, Loopback: !s.remote, Log: log,
	})
}

// serve returns the URL of the pages about w.
func serve(t *testing.T, w *world, s settings) string {
	t.Helper()
	server := httptest.NewServer(pagesOf(t, w, s).Admin())
	t.Cleanup(server.Close)
	return server.URL
}

func tokenFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, method, url, body string, change func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(content)}
}

func get(t *testing.T, url string) answer { t.Helper(); return ask(t, "GET", url, "", nil) }

func ready(issuer string) service.IssuerState {
	return service.IssuerState{Issuer: issuer, Strategy: validation.StrategyBoth}
}

func down(issuer string) service.IssuerState {
	return service.IssuerState{Issuer: issuer, Problem: errors.New("keys not fetched yet")}
}

// Kubernetes and Envoy go by the status; people by the words.
func TestReadiness(t *testing.T) {
	for name, tc := range map[string]struct {
		world  world
		status int
		body   string
	}{
		"ready":              {world{issuers: []service.IssuerState{ready(one), ready(two)}}, 200, "ok\n"},
		"no configuration":   {world{}, 503, "no configuration in use yet\n"},
		"one of two is down": {world{issuers: []service.IssuerState{ready(one), down(two)}}, 503, "issuer " + two + ": keys not fetched yet\n"},
		"draining":           {world{issuers: []service.IssuerState{ready(one)}, draining: true}, 503, "draining\n"},
		"draining and down": {
			world{issuers: []service.IssuerState{down(one)}, draining: true}, 503,
			"draining\nissuer " + one + ": keys not fetched yet\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, &tc.world, settings{})
			if got := get(t, url+"/readyz"); got.status != tc.status || got.body != tc.body {
				t.Errorf("readyz: got %d %q, want %d %q", got.status, got.body, tc.status, tc.body)
			}
			// A process that is not ready is not to be killed for it.
			if got := get(t, url+"/livez"); got.status != 200 || got.body != "ok\n" {
				t.Errorf("livez: got %d %q, want 200 and ok", got.status, got.body)
			}
			var state admin.State
			if err := json.Unmarshal([]byte(get(t, url+"/status.json").body), &state); err == nil && state.Ready != (tc.status == 200) {
				t.Errorf("status.json: got ready %v", state.Ready)
			}
		})
	}
}

// TestWhoSeesWhat: docs/contract.md §2 and §6.
func TestWhoSeesWhat(t *testing.T) {
	file := tokenFile(t)
	bearer := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	people := []string{"/", "/status.json", "/explain", "/style.css", "/live.js", "/nowhere", "/events/"}
	for name, tc := range map[string]struct {
		settings settings
		change   func(*http.Request)
		status   int // of pages for people
	}{
		"loopback":                         {settings{}, nil, 200},
		"loopback, by name":                {settings{}, host("localhost:9192"), 200},
		"loopback, IPv6":                   {settings{}, host("[::1]:9192"), 200},
		"loopback, another site's name":    {settings{}, host("evil.example:9192"), 403},
		"loopback, a name like it":         {settings{}, host("localhost.evil.example"), 403},
		"loopback, an address like it":     {settings{}, host("127.0.0.1.evil.example"), 403},
		"remote":                           {settings{remote: true}, nil, 403},
		"remote, a token nobody set":       {settings{remote: true}, bearer("Bearer " + token), 403},
		"token, none shown":                {settings{file: file}, nil, 401},
		"token, right":                     {settings{file: file}, bearer("Bearer " + token), 200},
		"token, right, scheme in capitals": {settings{file: file}, bearer("BEARER " + token), 200},
		"token, right, by another name": {settings{file: file}, func(r *http.Request) {
			r.Host = "gate.example.com"
			r.Header.Set("Authorization", "Bearer "+token)
		}, 200},
		"token, remote, right":  {settings{file, true}, bearer("Bearer " + token), 200},
		"token, remote, none":   {settings{file, true}, nil, 401},
		"token, wrong":          {settings{file: file}, bearer("Bearer " + strings.Repeat("x", 32)), 401},
		"token, its beginning":  {settings{file: file}, bearer("Bearer " + token[:31]), 401},
		"token, with a newline": {settings{file: file}, bearer("Bearer " + token + " "), 200}, // HTTP cuts it
		"token, empty":          {settings{file: file}, bearer("Bearer "), 401},
		"token, no scheme":      {settings{file: file}, bearer(token), 401},
		"token, as password":    {settings{file: file}, func(r *http.Request) { r.SetBasicAuth("anybody", token) }, 200},
		"token, as user":        {settings{file: file}, func(r *http.Request) { r.SetBasicAuth(token, "") }, 401},
		"token, twice": {settings{file: file}, func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token}
		}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, &world{issuers: []service.IssuerState{ready(one)}}, tc.settings)
			for _, path := range people {
				want := tc.status
				if want == 200 && (path == "/nowhere" || path == "/events/") {
					want = 404
				}
				got := ask(t, "GET", url+path, "", tc.change)
				if got.status != want {
					t.Errorf("%s: got %d, want %d", path, got.status, want)
				}
				if got.status == 401 && len(got.header.Values("WWW-Authenticate")) != 2 {
					t.Errorf("%s: got challenges %q", path, got.header.Values("WWW-Authenticate"))
				}
				if got.status == 403 && !strings.Contains(got.body, "server.admin_token_file") {
					t.Errorf("%s: got %q, want what is missing", path, got.body)
				}
			}
			for _, path := range []string{"/livez", "/readyz", "/metrics"} {
				if got := ask(t, "GET", url+path, "", tc.change); got.status != 200 {
					t.Errorf("%s: got %d, want 200 for everybody", path, got.status)
				}
			}
		})
	}
}

func TestTokenFiles(t *testing.T) {
	known := admin.NewToken(slog.New(slog.DiscardHandler))
	for content, ok := range map[string]bool{
		token: true, token + "\n": true, token + "\r\n": true, token[:31]: false, token[:31] + "\n": false, "": false,
		strings.Repeat(" ", 40): false, token + " x": false, token + "ä": false,
	} {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := known.Use(file)
		if (err == nil) != ok {
			t.Errorf("%q: got %v", content, err)
		}
		if err != nil && len(content) > 9 && strings.Contains(err.Error(), content) {
			t.Errorf("%q: got %v, want nothing of it", content, err)
		}
	}
}

func TestProbesAreAllThereIs(t *testing.T) {
	server := httptest.NewServer(pagesOf(t, &world{issuers: []service.IssuerState{ready(one)}}, settings{remote: true}).Probes())
	defer server.Close()
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/metrics": 200, "/": 404, "/status.json": 404, "/events": 404, "/explain": 404,
	} {
		if got := get(t, server.URL+path); got.status != want {
			t.Errorf("%s: got %d, want %d", path, got.status, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	url := serve(t, &world{issuers: []service.IssuerState{ready(one)}}, settings{})
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/explain": "text/html; charset=utf-8", "/status.json": "application/json",
		"/style.css": "text/css; charset=utf-8", "/live.js": "text/javascript; charset=utf-8",
	} {
		got := get(t, url+path)
		for name, want := range map[string]string{
			"Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Access-Control-Allow-Origin": "",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
				"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		} {
			if is := got.header.Get(name); is != want {
				t.Errorf("%s: got %s %q, want %q", path, name, is, want)
			}
		}
		if strings.Contains(got.body, " style=") || strings.Contains(got.body, "<script>") || strings.Contains(got.body, "onclick") {
			t.Errorf("%s: has what its own policy forbids", path)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		if got := ask(t, method, url+"/", "", nil); got.status != 405 {
			t.Errorf("%s /: got %d, want 405", method, got.status)
		}
	}
}

const hostile = `https://x/"><script>a</script><img src=x onerror="b">` + "\u202e"

// refuse has a decision told.
func refuse(d *admin.Decisions, reason authz.Reason, r authz.Request) {
	d.Observer().End(context.Background(), envoy.Event{
		Request: &r, Decision: &authz.Decision{Reason: reason, Rule: "r", Issuer: one},
	})
}

// everywhere returns what the page, the JSON and the first event say.
func everywhere(t *testing.T, url string) map[string]string {
	t.Helper()
	all := map[string]string{"page": get(t, url+"/").body, "JSON": get(t, url+"/status.json").body}
	resp, err := http.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var parts map[string]string
			if err := json.Unmarshal([]byte(data), &parts); err != nil || len(parts) < 6 {
				t.Fatalf("got %d parts, %v", len(parts), err)
			}
			all["events"] = ""
			for _, part := range parts {
				all["events"] += part
			}
			return all
		}
	}
}

// TestHostileWordsAreText: clients, authorization servers and the configuration choose
// what stands in the page.
func TestHostileWordsAreText(t *testing.T) {
	w := &world{decisions: admin.NewDecisions(), pending: errors.New(hostile), issuers: []service.IssuerState{{
		Issuer: hostile, Problem: errors.New(hostile),
		Discovery: discovery.State{
			Metadata: &discovery.Metadata{JWKSURI: hostile, Source: hostile},
			Keys:     []discovery.Key{{ID: hostile}}, Failure: &discovery.Failure{What: "keys", Err: errors.New(hostile)},
		},
	}}}
	refuse(w.decisions, authz.Expired, authz.Request{
		Method: hostile, Host: hostile, Path: "/" + hostile, ID: hostile,
	})
	for where, body := range everywhere(t, serve(t, w, settings{})) {
		if where != "JSON" && (strings.Contains(body, "<script>a") || strings.Contains(body, "<img")) {
			t.Errorf("%s: got markup of a stranger: %s", where, body)
		}
		if !strings.Contains(body, "script") || strings.Contains(body, "\u202e") {
			t.Errorf("%s: want it as text, and no change of direction", where)
		}
	}
}

// TestNothingIsTold: neither secrets, nor tokens, nor whose they were.
func TestNothingIsTold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bearergate.yaml")
	content := `auth: {issuer: https://as.example.com, audience: a, token_validation: both, client_id: c, client_secret: "s3cret-literal",
  jwks_uri: "https://as.example.com/jwks?key=s3cret-query", introspection_endpoint: "https://as.example.com/i"}
rules:
- {name: r, match: {paths: [/x]}, when: 'request.headers["x-key"] == "${KEY}"'}
`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, func(string) (string, bool) { return "s3cret-variable", true })
	if err != nil {
		t.Fatal(err)
	}
	w := &world{decisions: admin.NewDecisions(), cfg: cfg, issuers: []service.IssuerState{ready(one)}}
	refuse(w.decisions, authz.Expired, authz.Request{
		Method: "GET", Host: "user:s3cret-password@h", Path: "/a?access_token=s3cret-token",
		Authorization: []string{"Bearer s3cret-bearer"},
	})
	w.decisions.Observer().End(t.Context(), envoy.Event{Request: &authz.Request{}, Decision: &authz.Decision{
		Reason: authz.Forbidden, Token: &validation.Token{Subject: "s3cret-subject"}, Err: errors.New("s3cret-error"),
	}})
	for where, body := range everywhere(t, serve(t, w, settings{})) {
		if at := strings.Index(body, "s3cret"); at >= 0 {
			t.Errorf("%s: got %s", where, body[at:at+20])
		}
		for _, want := range []string{"[redacted]", "${KEY}", "client_id", "expired"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: got no %s", where, want)
			}
		}
	}
}

// Where keys come from is told: a file has no address.
func TestWhereKeysAre(t *testing.T) {
	cfg, err := config.Parse("a.yaml", []byte("auth: {issuer: https://as.example.com, audience: a}"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	of := func(m discovery.Metadata, file string) *world {
		state := ready(one)
		state.Discovery = discovery.State{Metadata: &m, Keys: []discovery.Key{{ID: "k", Thumbprint: "t", File: file}}}
		return &world{decisions: admin.NewDecisions(), cfg: cfg, issuers: []service.IssuerState{state}}
	}
	const file = "/etc/bearergate/keys/jwks.json"
	for name, tc := range map[string]struct {
		world     *world
		want, not []string
	}{
		"file": {
			of(discovery.Metadata{JWKSFile: file}, file),
			[]string{"<dt>Keys in</dt><dd><bdi>" + file, ">Read</th>", `"jwks_file": "` + file + `"`},
			[]string{"Keys at", "Last fetched"},
		},
		"network": {
			of(discovery.Metadata{JWKSURI: "https://as.example.com/jwks"}, ""),
			[]string{"<dt>Keys at</dt><dd><bdi>https://as.example.com/jwks", "Last fetched", `"jwks_uri"`},
			[]string{"Keys in<", `"jwks_file": "/`},
		},
	} {
		var all strings.Builder
		for _, body := range everywhere(t, serve(t, tc.world, settings{})) {
			all.WriteString(body)
		}
		for _, want := range tc.want {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%s: got no %s", name, want)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(all.String(), not) {
				t.Errorf("%s: got %s", name, not)
			}
		}
	}
}

func TestDecisionsOfTheLastMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := admin.NewDecisions()
		tell := func(reason authz.Reason, times int) {
			for range times {
				refuse(d, reason, authz.Request{Path: "/" + strings.Repeat("p", 600)})
			}
		}
		tell(authz.Allowed, 2)
		time.Sleep(time.Minute)
		tell(authz.Expired, 3)
		got := d.Minutes()
		if got[13][authz.Allowed] != 2 || got[14][authz.Expired] != 3 || len(got[14]) != 1 || len(got[12]) != 0 {
			t.Errorf("got %v", got)
		}
		time.Sleep(13 * time.Minute)
		if got = d.Minutes(); got[0][authz.Allowed] != 2 || got[1][authz.Expired] != 3 {
			t.Errorf("14 minutes on: got %v", got)
		}
		time.Sleep(time.Minute)
		if got = d.Minutes(); got[0][authz.Expired] != 3 || len(got[1]) != 0 {
			t.Errorf("15 minutes on: got %v", got)
		}
		time.Sleep(time.Hour)
		tell(authz.Allowed, 1)
		for i, m := range d.Minutes() {
			if i < 14 && len(m) != 0 || i == 14 && (len(m) != 1 || m[authz.Allowed] != 1) {
				t.Errorf("an hour on: got %v in minute %d", m, i)
			}
		}
		tell(authz.Expired, 120)
		all := d.Refusals()
		if len(all) != 100 || len(all[0].Path) > 520 || !strings.HasSuffix(all[0].Path, "…") {
			t.Errorf("got %d refusals, path %s", len(all), all[0].Path)
		}
	})
}

// TestDecisionsCostNothing: they are told of on the path of each request.
func TestDecisionsCostNothing(t *testing.T) {
	told := admin.NewDecisions().Observer()
	event := envoy.Event{Request: &authz.Request{}, Decision: &authz.Decision{Reason: authz.Allowed}}
	if n := testing.AllocsPerRun(1000, func() { told.End(t.Context(), event) }); n > 0 {
		t.Errorf("got %v allocations for an allow, want none", n)
	}
}

func TestExplainForm(t *testing.T) {
	w := &world{issuers: []service.IssuerState{ready(one)}}
	target := serve(t, w, settings{}) + "/explain"
	const secret = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"
	body := url.Values{"token": {" bearer " + secret + "\n"}, "method": {"PUT"}, "host": {`a"><b>`}, "path": {"/x?t=" + secret}}.Encode()
	got := ask(t, "POST", target, body, nil)
	if got.status != 200 || !strings.Contains(got.body, "a step") {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	if strings.Contains(got.body, secret) || strings.Contains(got.body, "<b>") || strings.Contains(got.body, "<script>alert") {
		t.Errorf("got the token, or markup: %s", got.body)
	}
	http := w.asked[0].GetAttributes().GetRequest().GetHttp()
	if http.GetHeaders()["authorization"] != "Bearer "+secret || http.GetMethod() != "PUT" || http.GetPath() != "/x?t="+secret {
		t.Errorf("asked %v", http)
	}
	asked := len(w.asked)
	for name, tc := range map[string]struct {
		method, target, body string
		change               func(*nethttp)
		status               int
	}{
		"of another site": {"POST", target, body, func(r *nethttp) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"of a subdomain":  {"POST", target, body, func(r *nethttp) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"another origin":  {"POST", target, body, func(r *nethttp) { r.Header.Set("Origin", "https://evil.example") }, 403},
		"origin null":     {"POST", target, body, func(r *nethttp) { r.Header.Set("Origin", "null") }, 403},
		"too large":       {"POST", target, "token=" + strings.Repeat("x", 70<<10), nil, 400},
	} {
		if got := ask(t, tc.method, tc.target, tc.body, tc.change); got.status != tc.status {
			t.Errorf("%s: got %d, want %d", name, got.status, tc.status)
		}
	}
	if len(w.asked) != asked {
		t.Error("what was refused was explained all the same")
	}
	if got := get(t, target+"?token="+secret); strings.Contains(got.body, secret) || len(w.asked) != asked {
		t.Error("a token of the URL was taken")
	}
}

// TestExplainFormOfBoundTokens: a proof and a certificate go along, and are not shown.
func TestExplainFormOfBoundTokens(t *testing.T) {
	w := &world{issuers: []service.IssuerState{ready(one)}}
	const token, proof = "bound-to-a-key-of-the-client", "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.c2lnbmF0dXJl"
	const certificate = "-----BEGIN CERTIFICATE-----\nMIIB+/==\n-----END CERTIFICATE-----"
	got := ask(t, "POST", serve(t, w, settings{})+"/explain", url.Values{
		"token": {"DPoP " + token}, "proof": {proof + "\n"}, "certificate": {certificate + "\n"}, "method": {"GET"}, "host": {"h"}, "path": {"/" + proof},
	}.Encode(), nil)
	if got.status != 200 || strings.Contains(got.body, proof) || strings.Contains(got.body, token) {
		t.Errorf("got %d and %s", got.status, got.body)
	}
	attributes := w.asked[0].GetAttributes()
	headers := attributes.GetRequest().GetHttp().GetHeaders()
	peer, err := url.PathUnescape(attributes.GetSource().GetCertificate())
	if headers["authorization"] != "DPoP "+token || headers["dpop"] != proof || err != nil || peer != certificate {
		t.Errorf("asked %v", attributes)
	}
	if attributes.GetRequest().GetHttp().GetScheme() != "https" {
		t.Error("got another scheme than https")
	}
}

// TestBindings: what is switched on is shown, and how the tokens for upstreams are had.
func TestBindings(t *testing.T) {
	state := ready(one)
	state.Exchange = &exchange.State{
		Entries: 3, Down: true, RetryAfter: 2 * time.Second,
		Failure: &validation.Failure{Err: errors.New("<b>down"), At: time.Unix(1e9, 0)},
	}
	const auth = "auth: {issuer: https://as.example.com, audience: a}\n"
	for name, tc := range map[string]struct {
		file      string
		want, not []string
	}{
		"off": {auth, []string{`"entries": 3`, `"breaker": "open"`, "3 remembered", "&lt;b&gt;down"}, []string{"Bound tokens", `"dpop"`, `"mtls"`}},
		"on": {
			auth + "dpop: {nonce: required}\nmtls: {}\n",
			[]string{"17 of at most 1000000 proofs", "nonces required", "as Envoy verified them", `"proofs": 17`, `"mtls": {}`},
			nil,
		},
		"header": {
			auth + "mtls: {client_certificate_header: Client-Cert}\n",
			[]string{"in the header <bdi>client-cert", `"client_certificate_header": "client-cert"`}, []string{`"dpop"`, "proofs remembered"},
		},
	} {
		cfg, err := config.Parse("a.yaml", []byte(tc.file), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		w := &world{decisions: admin.NewDecisions(), cfg: cfg, issuers: []service.IssuerState{state}}
		for _, body := range everywhere(t, serve(t, w, settings{})) {
			all.WriteString(body)
		}
		for _, want := range tc.want {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%s: got no %s", name, want)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(all.String(), not) {
				t.Errorf("%s: got %s", name, not)
			}
		}
	}
}

type nethttp = http.Request

// TestStreamsAreBounded: 32 look on, and the next one is told to come back.
func TestStreamsAreBounded(t *testing.T) {
	url := serve(t, &world{issuers: []service.IssuerState{ready(one)}}, settings{}) + "/events"
	var open []*http.Response
	for range 32 {
		resp, err := http.Get(url)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v", resp, err)
		}
		open = append(open, resp)
	}
	if got := get(t, url); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("the 33rd: got %d, want 503", got.status)
	}
	for _, resp := range open {
		resp.Body.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("those who left still take room")
		}
	}
}
