package filter

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/revocation"
)

// stream is Envoy's side of one stream. What is to be done on its thread is done by
// whoever calls work.
type stream struct {
	shared.HttpFilterHandle

	t       testing.TB
	route   any
	headers headers
	panics  string // the call that panics

	mu        sync.Mutex
	tasks     []func()
	destroyed bool

	continued int
	answers   []string
	status    uint32
	body      string
	metadata  map[string]any
}

func (s *stream) call(name string) {
	if s.destroyed {
		s.t.Errorf("%s after the end of the stream", name)
	}
	if s.panics == name {
		panic("a mistake in " + name)
	}
}

func (s *stream) GetAttributeString(shared.AttributeID) (string, bool) {
	s.call("attribute")
	return "", false
}

func (s *stream) GetMostSpecificConfig() any { s.call("route"); return s.route }

func (s *stream) RequestHeaders() shared.HeaderMap { s.call("headers"); return &s.headers }

func (s *stream) ContinueRequest() { s.call("continue"); s.continued++ }

func (s *stream) SetMetadata(_, key string, value any) {
	s.call("metadata")
	if s.metadata == nil {
		s.metadata = map[string]any{}
	}
	s.metadata[key] = value
}

func (s *stream) SendLocalResponse(status uint32, all [][2]string, body []byte, _ string) {
	s.call("answer")
	s.status, s.body = status, string(body)
	for _, h := range all {
		s.answers = append(s.answers, h[0]+": "+h[1])
	}
}

func (s *stream) GetScheduler() shared.Scheduler { s.call("scheduler"); return s }

func (s *stream) Schedule(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.destroyed {
		s.t.Error("something is scheduled after the end of the stream")
	}
	s.tasks = append(s.tasks, do)
}

// work does what was scheduled, once there is something or the time is over.
func (s *stream) work(longest time.Duration) bool {
	for deadline := time.Now().Add(longest); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		tasks := s.tasks
		s.tasks = nil
		s.mu.Unlock()
		for _, do := range tasks {
			do()
		}
		if len(tasks) > 0 {
			return true
		}
	}
	return false
}

func (s *stream) end(f shared.HttpFilter) {
	f.OnStreamComplete()
	s.mu.Lock()
	s.destroyed = true
	s.mu.Unlock()
}

// headers are Envoy's, whose memory is written over when they change.
type headers struct{ all [][2]string }

func (h *headers) Get(key string) (values []string) {
	for _, f := range h.all {
		if f[0] == key {
			values = append(values, f[1])
		}
	}
	return values
}

func (h *headers) GetOne(key string) string {
	return strings.Join(h.Get(key)[:min(1, len(h.Get(key)))], "")
}

func (h *headers) GetAll() [][2]string { return slices.Clone(h.all) }

func (h *headers) Set(key, value string) {
	h.Remove(key)
	h.Add(key, value)
}

func (h *headers) Add(key, value string) { h.all = append(h.all, [2]string{key, value}) }

func (h *headers) Remove(key string) {
	h.all = slices.DeleteFunc(h.all, func(f [2]string) bool { return f[0] == key })
}

func get(path string, more ...[2]string) headers {
	return headers{append([][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", "api.example.com"}, {":path", path}, {"x-request-id", "1"},
	}, more...)}
}

const rules = `rules:
- {name: public, match: {paths: [/public]}, access: public}
- {name: short, match: {paths: [/short]}, stream_until_expiry: true}
- {name: shadow, match: {paths: [/shadow]}, scopes: [never], enforce: false}
- {name: tenant, match: {paths: [/tenant]}, when: 'request.headers["x-tenant"] == "acme"'}
`

// factoryFor returns the filters of a configuration.
func factoryFor(t testing.TB, as *devissuer.Issuer, more string) shared.HttpFilterFactory {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bearergate.yaml")
	content := "auth: {issuer: '" + as.URL() + "', audience: api, token_validation: both, client_id: gate, client_secret: s3cret, insecure_http: true}\n" + more
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := NewFactory(Build{Version: "test"}, io.Discard).Create(nil, []byte(`{"config":"`+file+`","timeout":"1s"}`))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func newIssuer(t testing.TB) *devissuer.Issuer {
	t.Helper()
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return as
}

type claims = devissuer.Claims

func bearer(token string) [2]string { return [2]string{authorization, "Bearer " + token} }

// TestColdAndWarm: a token that nobody knows is decided elsewhere while the request
// stands still, and at once from then on; what the upstream gets is the same.
func TestColdAndWarm(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules)
	for name, token := range map[string]string{
		"JWT":    as.JWT(claims{"sub": "alice", "aud": "api"}),
		"opaque": as.Opaque("", claims{"sub": "alice", "aud": "api"}),
	} {
		var before [][2]string
		for n, want := range []shared.HeadersStatus{shared.HeadersStatusStopAllAndWatermark, shared.HeadersStatusContinue} {
			s := &stream{t: t, headers: get("/x", bearer(token), [2]string{"x-auth-sub", "root"}, [2]string{"x_auth_sub", "root"}, [2]string{"x-auth-sub", "admin"})}
			f := made.Create(s)
			if got := f.OnRequestHeaders(&s.headers, true); got != want {
				t.Fatalf("%s, request %d: got status %d, want %d", name, n, got, want)
			}
			if want == shared.HeadersStatusStopAllAndWatermark {
				if f.OnRequestBody(nil, false) == shared.BodyStatusContinue || f.OnRequestTrailers(nil) == shared.TrailersStatusContinue {
					t.Error("the body goes on without a decision")
				}
				if !s.work(5*time.Second) || s.continued != 1 {
					t.Fatalf("%s: continued %d times", name, s.continued)
				}
			}
			if f.OnRequestBody(nil, true) != shared.BodyStatusContinue {
				t.Error("the body does not go on")
			}
			if got := s.headers.Get("x-auth-sub"); !slices.Equal(got, []string{"alice"}) || len(s.headers.Get("x_auth_sub"))+len(s.headers.Get(authorization)) > 0 {
				t.Errorf("%s: got %v", name, s.headers.all)
			}
			if before != nil && !slices.Equal(before, s.headers.all) {
				t.Errorf("%s: got %v at once, and %v before", name, s.headers.all, before)
			}
			before = s.headers.all
			if s.metadata["reason"] != "allowed" || s.metadata["sub"] != "alice" {
				t.Errorf("got metadata %v", s.metadata)
			}
			s.end(f)
		}
	}
}

// TestRouteOfTheFilter: what a filter_config demands holds where the route says nothing.
func TestRouteOfTheFilter(t *testing.T) {
	as := newIssuer(t)
	f := factoryFor(t, as, rules).(*filters)
	f.route = parseRoute([]byte(`{"bearergate.scopes":"a"}`))
	for route, want := range map[string]any{"": "no_token", `{"bearergate.rule":"public"}`: "public"} {
		s := &stream{t: t, headers: get("/public")}
		if route != "" {
			s.route, _ = (&Factory{}).CreatePerRoute([]byte(route))
		}
		f.Create(s).OnRequestHeaders(&s.headers, true)
		if s.metadata["reason"] != want {
			t.Errorf("%s: got %v, want %v", route, s.metadata, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules)
	for name, tc := range map[string]struct {
		headers headers
		route   string
		status  uint32
		reason  string
	}{
		"no token":      {get("/x"), "", 401, "no_token"},
		"two fields":    {get("/x", bearer("a"), bearer("b")), "", 400, "bad_request"},
		"expired":       {get("/x", bearer(as.JWT(claims{"aud": "api", "exp": 1}))), "", 401, "expired"},
		"signature":     {get("/x", bearer(as.JWT(claims{"aud": "api"})[:100]+"AAAA.AAAA")), "", 401, "malformed_token"},
		"no path":       {headers{[][2]string{{":method", "CONNECT"}, {":authority", "h:1"}}}, "", 400, "bad_request"},
		"public":        {get("/public"), "", 0, "public"},
		"shadow":        {get("/shadow"), "", 0, "no_token"},
		"route":         {get("/public"), `{"bearergate.scopes":"a"}`, 401, "no_token"},
		"typo":          {get("/public"), `{"bearergate.scope":"a"}`, 500, "misconfigured"},
		"somebody's":    {get("/public"), `{"scopes":"a"}`, 500, "misconfigured"},
		"no text":       {get("/public"), `{"bearergate.scopes":["a"]}`, 500, "misconfigured"},
		"twice":         {get("/public"), `{"bearergate.rule":"public","bearergate.rule":"short"}`, 500, "misconfigured"},
		"no JSON":       {get("/public"), `bearergate.rule: public`, 500, "misconfigured"},
		"two documents": {get("/public"), `{}{}`, 500, "misconfigured"},
		"nothing":       {get("/public"), ``, 500, "misconfigured"},
		"empty object":  {get("/public"), `{}`, 0, "public"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stream{t: t, headers: tc.headers}
			if tc.route != "" || name == "nothing" {
				s.route, _ = (&Factory{}).CreatePerRoute([]byte(tc.route))
			}
			f := made.Create(s)
			status := f.OnRequestHeaders(&s.headers, true)
			if status == shared.HeadersStatusStopAllAndWatermark {
				s.work(5 * time.Second)
			}
			if s.status != tc.status || s.metadata["reason"] != tc.reason {
				t.Errorf("got %d, %v %s, want %d, %s", s.status, s.metadata, s.body, tc.status, tc.reason)
			}
			if passes := status == shared.HeadersStatusContinue; passes != (tc.status == 0) {
				t.Errorf("got %d, passes: %t", status, passes)
			}
			if tc.status != 0 && (f.OnRequestBody(nil, true) == shared.BodyStatusContinue || !slices.Contains(s.answers, "cache-control: no-store")) {
				t.Errorf("got %v, and the body goes on", s.answers)
			}
			if name == "shadow" && s.metadata["shadow"] != "true" {
				t.Errorf("got %v", s.metadata)
			}
			s.end(f)
		})
	}
}

// TestAnswersToGRPC have the status that Envoy makes of the HTTP status, which it does
// not for a module (and would say OK).
func TestAnswersToGRPC(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules)
	for contentType, want := range map[string]string{
		"application/grpc": "16", "application/grpc+proto": "16", "application/grpc-web": "", "application/json": "", "": "",
	} {
		s := &stream{t: t, headers: get("/x", [2]string{"content-type", contentType})}
		f := made.Create(s)
		f.OnRequestHeaders(&s.headers, true)
		if got := slices.Contains(s.answers, "grpc-status: 16"); got != (want != "") {
			t.Errorf("%s: got %v, want grpc-status %q", contentType, s.answers, want)
		}
		s.end(f)
	}
	for status, want := range map[int]string{400: "13", 401: "16", 403: "7", 404: "12", 500: "2", 503: "14", 200: "2"} {
		if got := grpcStatus(status); got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

// TestNonces go with what passes, and with nothing else.
func TestNonces(t *testing.T) {
	for _, nonce := range []string{"", "n"} {
		response := headers{}
		f := &filter{nonce: nonce}
		f.OnResponseHeaders(&response, true)
		if got := response.GetOne("dpop-nonce"); got != nonce {
			t.Errorf("got %q, want %q", got, nonce)
		}
		f.OnResponseHeaders(nil, true) // a panic in it leaves the response alone
	}
}

// TestPanicsDeny, whatever Envoy's side or ours does: nothing passes, and nothing leaves
// the function that Envoy called.
func TestPanicsDeny(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules)
	for _, path := range []string{"/x", "/public"} {
		for _, call := range []string{"attribute", "route", "metadata", "answer", "scheduler", "headers"} {
			s := &stream{t: t, panics: call, headers: get(path, bearer(as.JWT(claims{"aud": "api"})))}
			f := made.Create(s)
			status := f.OnRequestHeaders(&s.headers, true)
			if status == shared.HeadersStatusStopAllAndWatermark {
				s.work(5 * time.Second)
			}
			reached := status == shared.HeadersStatusContinue || s.continued > 0
			if happened := call != "answer" && (path == "/x" || call != "scheduler" && call != "headers"); happened && (reached || s.status != 500 && call != "metadata") {
				t.Errorf("%s, a panic in %s: got status %d, answer %d, continued %d", path, call, status, s.status, s.continued)
			}
			if reached != (f.OnRequestBody(nil, true) == shared.BodyStatusContinue) {
				t.Errorf("%s, a panic in %s: the body has another way than its headers", path, call)
			}
			s.panics = ""
			s.end(f)
		}
	}
	s := &stream{t: t, headers: get("/public")}
	f := made.Create(s)
	if f.OnRequestHeaders(nil, true) == shared.HeadersStatusContinue || s.status != 500 {
		t.Errorf("without headers: got %d", s.status)
	}
	s.end(f)
	waiting := &made.(*filters).engine.room.taken
	for end := time.Now().Add(5 * time.Second); waiting.Load() != 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := waiting.Load(); n != 0 {
		t.Errorf("%d bytes are held for nobody", n)
	}
}

// TestStreamsEndWithTheirToken, once, and not when they have ended before.
func TestStreamsEndWithTheirToken(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules)
	start := func() (*stream, shared.HttpFilter) {
		token := as.JWT(claims{"aud": "api", "exp": time.Now().Add(2 * time.Second).Unix()})
		s := &stream{t: t, headers: get("/short", bearer(token))}
		f := made.Create(s)
		if f.OnRequestHeaders(&s.headers, true) != shared.HeadersStatusStopAllAndWatermark || !s.work(5*time.Second) || s.continued != 1 {
			t.Fatalf("got %d %s", s.status, s.body)
		}
		return s, f
	}
	s, f := start()
	if !s.work(5*time.Second) || s.status != 401 {
		t.Errorf("got %d, want an end", s.status)
	}
	s.end(f)
	s, f = start()
	s.end(f)
	time.Sleep(2200 * time.Millisecond)
	if len(s.tasks) > 0 || s.status != 0 {
		t.Errorf("got %d after the end", s.status)
	}
}

// TestStreamsEndWhenTheirTokenIsRevoked, and no others.
func TestStreamsEndWhenTheirTokenIsRevoked(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules+"revocation: {}\n")
	e := made.(*filters).engine
	open := func(path, sub string) (*stream, shared.HttpFilter) {
		s := &stream{t: t, headers: get(path, bearer(as.JWT(claims{"aud": "api", "sub": sub})))}
		f := made.Create(s)
		if f.OnRequestHeaders(&s.headers, true) == shared.HeadersStatusStopAllAndWatermark {
			s.work(5 * time.Second)
		}
		return s, f
	}
	alice, first := open("/short", "alice")
	bob, second := open("/short", "bob")
	plain, third := open("/x", "alice")
	gone, fourth := open("/short", "alice")
	gone.end(fourth)
	if n := len(e.streams.open); n != 2 {
		t.Errorf("%d streams are watched, want 2", n)
	}
	if err := e.inside.Revoke(t.Context(), revocation.Revocation{
		Issuer: as.URL(), Kind: revocation.KindSub, Value: "alice", Source: revocation.SourceAdmin,
	}); err != nil {
		t.Fatal(err)
	}
	if !alice.work(5*time.Second) || alice.status != 401 {
		t.Errorf("got %d for the token that is revoked", alice.status)
	}
	if bob.work(2*lookEvery) || plain.work(time.Millisecond) || gone.work(time.Millisecond) {
		t.Error("another stream ended")
	}
	for s, f := range map[*stream]shared.HttpFilter{alice: first, bob: second, plain: third} {
		s.end(f)
	}
	if n := len(e.streams.open); n != 0 {
		t.Errorf("%d streams are watched, want none", n)
	}
}

// TestStreamsThatBeginAsTheirTokenIsRevoked: between the decision and the stream there may
// be a revocation, which was looked at before the stream was there.
func TestStreamsThatBeginAsTheirTokenIsRevoked(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules+"revocation: {}\n")
	e := made.(*filters).engine
	s := &stream{t: t, headers: get("/short", bearer(as.JWT(claims{"aud": "api", "sub": "alice"})))}
	f := made.Create(s)
	if f.OnRequestHeaders(&s.headers, true) != shared.HeadersStatusStopAllAndWatermark {
		t.Fatal("decided at once")
	}
	for decided := false; !decided; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		decided = len(s.tasks) > 0
		s.mu.Unlock()
	}
	if err := e.inside.Revoke(t.Context(), revocation.Revocation{
		Issuer: as.URL(), Kind: revocation.KindSub, Value: "alice", Source: revocation.SourceAdmin,
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * lookEvery)
	if !s.work(time.Second) || s.continued != 1 {
		t.Fatalf("continued %d times", s.continued)
	}
	if !s.work(5*time.Second) || s.status != 401 {
		t.Errorf("got %d, want the stream to end", s.status)
	}
	s.end(f)
}

// TestColdDecisionsAreInTime: what takes longer than the filter waits is unavailable.
func TestColdDecisionsAreInTime(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, "")
	as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 1800 * time.Millisecond})
	s := &stream{t: t, headers: get("/x", bearer("junk"))}
	f := made.Create(s)
	began := time.Now()
	if f.OnRequestHeaders(&s.headers, true) != shared.HeadersStatusStopAllAndWatermark || !s.work(5*time.Second) {
		t.Fatal("no decision")
	}
	if took := time.Since(began); s.status != 503 || took > 1500*time.Millisecond {
		t.Errorf("got %d after %s, want 503 within the timeout of a second", s.status, took)
	}
	s.end(f)
}

// TestManyStreamsEndAtAnyTime has streams that are gone before, while and after their
// decision is made elsewhere, on many threads.
func TestManyStreamsEndAtAnyTime(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules)
	var tokens []string
	for range 64 {
		tokens = append(tokens, as.JWT(claims{"aud": "api", "exp": time.Now().Add(time.Second).Unix()}))
	}
	var threads sync.WaitGroup
	for range 8 {
		threads.Go(func() {
			for range 500 {
				s := &stream{t: t, headers: get([]string{"/x", "/short"}[rand.IntN(2)], bearer(tokens[rand.IntN(64)]+[]string{"", "", "AAAA"}[rand.IntN(3)]))}
				f := made.Create(s)
				if f.OnRequestHeaders(&s.headers, true) == shared.HeadersStatusStopAllAndWatermark && rand.IntN(3) > 0 {
					s.work(time.Duration(rand.IntN(4)) * time.Millisecond)
				}
				if s.continued+int(min(s.status, 1)) > 1 {
					t.Errorf("continued %d times, and answered %d", s.continued, s.status)
				}
				s.end(f)
			}
		})
	}
	threads.Wait()
	waitingBytes := &made.(*filters).engine.room.taken
	for range 500 {
		if waitingBytes.Load() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d bytes are held for nobody", waitingBytes.Load())
}

// TestRoomIsForWhatWaitingTakes: a small request that waits takes mostly its goroutine, and
// that is Envoy's memory.
func TestRoomIsForWhatWaitingTakes(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, "")
	e := made.(*filters).engine
	as.Behave(devissuer.PathJWKS, devissuer.Behaviour{Delay: 3 * time.Second})
	as.Rotate(1)
	token := bearer(as.JWT(claims{"aud": "api"})) // by a key that has to be fetched
	taken := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	const many = 2000
	all := make([]shared.HttpFilter, many)
	before := taken()
	for n := range all {
		s := &stream{t: t, headers: get("/x", token)}
		all[n] = made.Create(s)
		if all[n].OnRequestHeaders(&s.headers, true) != shared.HeadersStatusStopAllAndWatermark {
			t.Fatal("decided at once")
		}
	}
	time.Sleep(300 * time.Millisecond)
	got, counted := taken()-before, e.room.taken.Load()
	if got > 2*counted { // the race detector takes more
		t.Errorf("%d requests take %d bytes, and count for %d", many, got, counted)
	}
	for _, f := range all {
		f.OnStreamComplete()
	}
}

// TestNoRoomToWait: more than the bound are turned away, and told to come again.
func TestNoRoomToWait(t *testing.T) {
	as := newIssuer(t)
	made := factoryFor(t, as, rules)
	made.(*filters).engine.room.most = 100
	s := &stream{t: t, headers: get("/x", bearer(as.JWT(claims{"aud": "api"})))}
	f := made.Create(s)
	if f.OnRequestHeaders(&s.headers, true) != shared.HeadersStatusStop || s.status != 503 || !slices.Contains(s.answers, "retry-after: 1") {
		t.Errorf("got %d %v", s.status, s.answers)
	}
	s.end(f)
}

// TestOneEngine for one configuration file, however it is spelled.
func TestOneEngine(t *testing.T) {
	as := newIssuer(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "bearergate.yaml")
	content := "auth: {issuer: '" + as.URL() + "', audience: api, token_validation: jwt, insecure_http: true}\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	factory := NewFactory(Build{}, io.Discard)
	var first *engine
	for _, raw := range []string{file, " " + file + "\n", `{"config":"` + folder + `/./bearergate.yaml","timeout":"2s"}`} {
		made, err := factory.Create(nil, []byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if e := made.(*filters).engine; first == nil {
			first = e
		} else if e != first {
			t.Errorf("%s: another engine", raw)
		}
	}
	for _, raw := range []string{
		"", "/nowhere.yaml", `{}`, `{"config":"` + file + `","admin":"x"}`, `{"config":"` + file + `","timeout":"1h"}`,
		`{"config":"` + file + `","timeout":"0s"}`, `{"config":"` + file + `","admin_address":"127.0.0.1:1"}`, `{"config":1}`,
		`{"config":"` + file + `"} x`, `{"config":"` + file + `","route":{"bearergate.scope":"a"}}`,
	} {
		if _, err := factory.Create(nil, []byte(raw)); err == nil {
			t.Errorf("%s: no error", raw)
		}
	}
}

// BenchmarkWarm is the filter without Envoy and without cgo: what it costs beyond a
// decision.
func BenchmarkWarm(b *testing.B) {
	as := newIssuer(b)
	made := factoryFor(b, as, rules)
	token := as.JWT(claims{"sub": "alice", "aud": "api", "scope": "read", "client_id": "app"})
	all := get("/x", bearer(token), [2]string{"accept", "*/*"}, [2]string{"user-agent", "curl/8"}, [2]string{"x-auth-sub", "root"})
	var r request
	s := &stream{t: b}
	r.read(all.all, s)
	made.(*filters).engine.checks.Decide(context.Background(), &r.Request)
	b.ReportAllocs()
	for b.Loop() {
		s := &stream{t: b, headers: headers{slices.Clone(all.all)}}
		f := made.Create(s)
		if f.OnRequestHeaders(&s.headers, true) != shared.HeadersStatusContinue {
			b.Fatal("not warm")
		}
		f.OnStreamComplete()
	}
}

var _ shared.HeaderMap = (*headers)(nil)
