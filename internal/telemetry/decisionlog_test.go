package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/validation"
)

// told is a decision log and what it does.
type told struct {
	*DecisionLog

	stderr, log lines
	unwritten   atomic.Int64
}

func newTold(t *testing.T, cfg config.DecisionLog) *told {
	t.Helper()
	l := &told{}
	l.DecisionLog = NewDecisionLog(DecisionLogOptions{
		Stderr: &l.stderr, Log: l.log.logger(), Unwritten: func(n int) { l.unwritten.Add(int64(n)) },
	})
	if err := l.Use(cfg, "0123456789ab"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// every is a log of everything.
func every(output string) config.DecisionLog {
	return config.DecisionLog{Output: output, Allows: 1, DeniesPerSecond: 1_000_000}
}

// server answers with one decision after it told of a look-up.
func (l *told) server(d authz.Decision, lookups ...string) *envoy.Server {
	s := envoy.NewServer(l.Checks(), slog.New(slog.DiscardHandler))
	s.Identify(l.On())
	s.Use(policy(func(ctx context.Context) authz.Decision {
		for _, result := range lookups {
			l.Validation().End(ctx, validation.Event{Operation: validation.OperationCache, Result: result})
		}
		return d
	}))
	return s
}

type policy func(context.Context) authz.Decision

func (p policy) Decide(ctx context.Context, _ *authz.Request) authz.Decision { return p(ctx) }

// read returns the lines of text, each an object.
func read(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for one := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(one), &object); err != nil {
			t.Fatalf("%q: %v", one, err)
		}
		all = append(all, object)
	}
	return all
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

var someToken = &validation.Token{
	Issuer: "https://auth.example.com", Subject: "alice@example.com", ClientID: "app", Scopes: []string{"read", "write"},
}

func TestDecisionLine(t *testing.T) {
	l := newTold(t, every("stderr"))
	s := l.server(authz.Decision{Reason: authz.Allowed, Rule: "orders", Issuer: "https://auth.example.com", Token: someToken},
		"miss", "hit")
	response, err := s.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "api.example.com", Path: "/orders/<1>?code=verysecret", Headers: map[string]string{
				"authorization": "Bearer verysecret", "x-request-id": "17", "traceparent": "00-" + mine + "-" + clients + "-00",
			},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	got := read(t, l.stderr.String())[0]
	at, err := time.Parse("2006-01-02T15:04:05.000Z", got["time"].(string))
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("got time %v: %v", got["time"], err)
	}
	id := response.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	if got["decision_id"] != id || len(id) != 32 {
		t.Errorf("got decision_id %v, want %q", got["decision_id"], id)
	}
	if hash := got["subject_hash"]; hash != hashOf("alice@example.com", l.ownKey) || len(hash.(string)) != 32 {
		t.Errorf("got subject_hash %v", hash)
	}
	if took, ok := got["duration_ms"].(float64); !ok || took < 0 || took > 10_000 {
		t.Errorf("got duration_ms %v", got["duration_ms"])
	}
	for _, name := range []string{"time", "decision_id", "subject_hash", "duration_ms"} {
		delete(got, name)
	}
	want := map[string]any{
		"event": "bearergate.decision", "request_id": "17", "trace_id": mine, "decision": "allow", "reason": "allowed",
		"rule": "orders", "issuer": "https://auth.example.com", "client_id": "app", "scopes": []any{"read", "write"},
		"method": "GET", "host": "api.example.com", "path": "/orders/<1>", "cache": "hit", "config": "0123456789ab",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// Whatever was decided, nobody reads who it was or with which token.
func TestNoSecretInADecisionLine(t *testing.T) {
	l := newTold(t, every("stderr"))
	for _, reason := range authz.Reasons() {
		checkOnce(t.Context(), t, l.server(authz.Decision{
			Reason: reason, Token: someToken, Err: os.ErrPermission, Challenges: []string{`Bearer realm="verysecret"`},
			Set: []authz.HeaderValue{{Name: "x-auth-sub", Value: "alice@example.com"}},
		}), map[string]string{"authorization": "Bearer verysecret", "cookie": "session=verysecret"})
	}
	l.Close()
	var reasons []string
	for _, one := range read(t, l.stderr.String()) {
		reasons = append(reasons, one["reason"].(string))
	}
	var want []string
	for _, reason := range authz.Reasons() {
		want = append(want, reason.String())
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	for _, secret := range []string{"alice", "secret", "permission", "realm"} {
		if strings.Contains(l.stderr.String(), secret) {
			t.Errorf("got %q in %s", secret, &l.stderr)
		}
	}
}

// A request that a rule is only tried on has passed.
func TestShadow(t *testing.T) {
	for reason, want := range map[authz.Reason]string{authz.NoToken: "allow", authz.Allowed: "allow", authz.Metadata: "serve"} {
		d := record{settings: &logSettings{}, reason: reason, shadow: true}
		if got := d.line(0); got.Decision != want || got.Reason != reason.String() || !got.Shadow {
			t.Errorf("got %+v, want %s for %s", got, want, reason)
		}
	}
}

// TestShadowIsToldOfAsItIs, from the decision to the line.
func TestShadowIsToldOfAsItIs(t *testing.T) {
	e := envoy.Event{Request: &authz.Request{}, Decision: &authz.Decision{Reason: authz.NoToken, Shadow: true}}
	d := recordOf(t.Context(), &logSettings{}, e)
	if got := d.line(0); !got.Shadow || got.Decision != "allow" || got.Reason != "no_token" {
		t.Errorf("got %+v", got)
	}
}

// What a client chooses neither breaks a line nor makes it endless.
func TestTextsOfARequestAreBounded(t *testing.T) {
	l := newTold(t, every("stderr"))
	event := envoy.Event{Decision: &authz.Decision{}, Request: &authz.Request{
		ID: "a\n{\"b", Method: strings.Repeat("M", 5000), Host: "h\xff", Path: "/" + strings.Repeat("€", 5000),
	}}
	l.Checks().End(t.Context(), event)
	l.Close()
	got := read(t, l.stderr.String())
	if len(got) != 1 || got[0]["request_id"] != "a\n{\"b" || got[0]["host"] != "h\uFFFD" || len(l.stderr.String()) > 4<<10 {
		t.Errorf("got %s", &l.stderr)
	}
}

func TestTheRequestIsNotKept(t *testing.T) {
	for _, texts := range [][4]string{{"id", "GET", "host", "/path"}, {"", "", "", "/only"}, {}} {
		buffer := []byte(strings.Join(texts[:], ""))
		var views [4]string
		at := 0
		for i, text := range texts {
			views[i] = unsafe.String(unsafe.SliceData(buffer[at:]), len(text))
			at += len(text)
		}
		a, b, c, d := clones(views[0], views[1], views[2], views[3])
		clear(buffer)
		if got := [4]string{a, b, c, d}; got != texts {
			t.Errorf("got %q, want %q", got, texts)
		}
	}
}

func TestShareOfAllows(t *testing.T) {
	for name, tc := range map[string]struct {
		share       float64
		least, most int
	}{"none": {0, 0, 0}, "all": {1, 400, 400}, "half": {.5, 100, 300}} {
		t.Run(name, func(t *testing.T) {
			l := newTold(t, config.DecisionLog{Output: "stderr", Allows: tc.share, DeniesPerSecond: 100})
			for range 200 {
				checkOnce(t.Context(), t, l.server(authz.Decision{Reason: authz.Allowed}), nil)
				checkOnce(t.Context(), t, l.server(authz.Decision{Reason: authz.Metadata}), nil)
			}
			checkOnce(t.Context(), t, l.server(authz.Decision{Reason: authz.NoToken}), nil)
			l.Close()
			got := len(read(t, l.stderr.String())) - 1
			if got < tc.least || got > tc.most || l.unwritten.Load() != 0 {
				t.Errorf("got %d lines, want %d to %d, and %d dropped, want 0", got, tc.least, tc.most, l.unwritten.Load())
			}
		})
	}
}

func TestDeniesPerSecond(t *testing.T) {
	l := newTold(t, config.DecisionLog{Output: "stderr", DeniesPerSecond: 5})
	s := l.server(authz.Decision{Reason: authz.NoToken})
	for range 50 {
		checkOnce(t.Context(), t, s, nil)
	}
	time.Sleep(300 * time.Millisecond)
	checkOnce(t.Context(), t, s, nil)
	l.Close()
	all := read(t, l.stderr.String())
	if len(all) < 6 || len(all) > 10 {
		t.Fatalf("got %d lines", len(all))
	}
	dropped := 0.
	for _, one := range all {
		if n, ok := one["dropped"].(float64); ok {
			dropped += n
		}
	}
	if int(dropped)+len(all) != 51 || l.unwritten.Load() != int64(dropped) {
		t.Errorf("got %d lines that tell of %v dropped, counted %d; want 51 together", len(all), dropped, l.unwritten.Load())
	}
}

// A pipe that nobody reads fills, then the buffer does, and then decisions are counted:
// none waits. Who reads at last is told how many are missing.
func TestPipeThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	l := newTold(t, every(path))
	s := l.server(authz.Decision{Reason: authz.NoToken})
	const checks = maxWaiting + 3000
	var longest time.Duration
	for range checks {
		began := time.Now()
		checkOnce(t.Context(), t, s, nil)
		longest = max(longest, time.Since(began))
	}
	if l.unwritten.Load() == 0 || longest > time.Second {
		t.Fatalf("got %d dropped, the longest Check took %s", l.unwritten.Load(), longest)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var got bytes.Buffer
	ended := make(chan struct{})
	go func() { defer close(ended); _, _ = io.Copy(&got, reader) }()
	eventually(t, "the buffer is written", func() bool { return len(l.waiting) == 0 })
	checkOnce(t.Context(), t, s, nil)
	l.Close()
	<-ended
	all, dropped := read(t, got.String()), 0
	for _, one := range all {
		if n, ok := one["dropped"].(float64); ok {
			dropped += int(n)
		}
	}
	if len(all)+dropped != checks+1 || int64(dropped) != l.unwritten.Load() {
		t.Errorf("got %d lines that tell of %d dropped, want %d together, counted %d", len(all), dropped, checks+1, l.unwritten.Load())
	}
}

// The end of the process does not wait for a pipe.
func TestCloseIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	l := newTold(t, every(path))
	s := l.server(authz.Decision{Reason: authz.NoToken})
	for range 2000 {
		checkOnce(t.Context(), t, s, nil)
	}
	ended := l.ended
	began := time.Now()
	l.Close()
	if took := time.Since(began); took < closeTimeout/2 || took > 2*closeTimeout {
		t.Errorf("took %s, want %s", took, closeTimeout)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the writer goes on")
	}
	if l.unwritten.Load() == 0 {
		t.Error("what was lost is not counted")
	}
}

func TestFullDisk(t *testing.T) {
	l := newTold(t, every("/dev/full"))
	s := l.server(authz.Decision{Reason: authz.NoToken})
	for n := range int64(20) {
		checkOnce(t.Context(), t, s, nil)
		eventually(t, "it is counted", func() bool { return l.unwritten.Load() == n+1 })
	}
	if got := strings.Count(l.log.String(), "cannot be written"); got != 1 {
		t.Errorf("got %d lines, want 1: %s", got, &l.log)
	}
	if err := l.Use(every("stderr"), "b"); err != nil { // there is room again
		t.Fatal(err)
	}
	checkOnce(t.Context(), t, s, nil)
	l.Close()
	if got := read(t, l.stderr.String()); len(got) != 1 || got[0]["dropped"] != 20. || got[0]["config"] != "b" {
		t.Errorf("got %v, want one line that tells of 20", got)
	}
}

// short takes so many bytes, and then no more until it is given room.
type short struct {
	bytes.Buffer

	room int
}

func (s *short) Write(p []byte) (int, error) {
	n := min(len(p), s.room)
	s.room -= n
	s.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// A line that the disk had no room for in whole spoils no other.
func TestTornLine(t *testing.T) {
	disk := &short{room: 300}
	var unwritten int
	l := NewDecisionLog(DecisionLogOptions{
		Stderr: disk, Log: slog.New(slog.DiscardHandler), Unwritten: func(n int) { unwritten += n },
	})
	if err := l.open("stderr"); err != nil {
		t.Fatal(err)
	}
	d := record{settings: &logSettings{}, id: "a"}
	for range 10 {
		l.write(d)
	}
	before := disk.String()
	disk.room = 1 << 20
	l.write(d)
	whole := strings.Count(before, "\n")
	after := strings.Split(strings.TrimSpace(disk.String()), "\n")
	if whole == 0 || before[len(before)-1] == '\n' || len(after) != whole+2 || unwritten != 10-whole {
		t.Fatalf("got %d whole lines and %d dropped: %q", whole, unwritten, after)
	}
	if last := read(t, after[len(after)-1])[0]; last["dropped"] != float64(10-whole) {
		t.Errorf("got %v, want %d dropped", last, 10-whole)
	}
}

// A file that was moved away or deleted is made again, and no line is lost on the way.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions")
	l := newTold(t, every(path))
	s := l.server(authz.Decision{Reason: authz.NoToken})
	for i, gone := range []func() error{
		func() error { return os.Rename(path, path+".0") },
		func() error { return os.Rename(path, path+".1") },
		func() error { return os.Rename(path, path+".2") },
	} {
		for range 100 {
			checkOnce(t.Context(), t, s, nil)
		}
		if err := gone(); err != nil {
			t.Fatal(err)
		}
		if i == 1 { // by a reload
			if err := l.Use(every(path), "b"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		l.Reopen()
	}
	l.Close()
	total := 0
	for _, name := range []string{path, path + ".0", path + ".1", path + ".2"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		total += len(read(t, string(content)))
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o137 != 0 {
			t.Errorf("%s: got %v, want what others cannot read", name, info.Mode())
		}
	}
	if total != 300 || l.unwritten.Load() != 0 {
		t.Errorf("got %d lines and %d dropped, want 300 and none", total, l.unwritten.Load())
	}
}

// A file that cannot be opened ends nothing that went well.
func TestReloadThatCannotBeUsed(t *testing.T) {
	l := newTold(t, every("stderr"))
	for _, cfg := range []config.DecisionLog{
		every(filepath.Join(t.TempDir(), "no", "file")),
		{Output: "stderr", SubjectKeyFile: filepath.Join(t.TempDir(), "none"), DeniesPerSecond: 1},
	} {
		if err := l.Use(cfg, "b"); err == nil {
			t.Error("got no error")
		}
	}
	checkOnce(t.Context(), t, l.server(authz.Decision{Reason: authz.Allowed}), nil)
	l.Close()
	if got := read(t, l.stderr.String()); len(got) != 1 || got[0]["config"] != "b" {
		t.Errorf("got %v, want a line of the new configuration", got)
	}
}

func TestSubjectKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(strings.Repeat("k", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hash := func(keyFile string) any {
		cfg := every("stderr")
		cfg.SubjectKeyFile = keyFile
		l := newTold(t, cfg)
		checkOnce(t.Context(), t, l.server(authz.Decision{Reason: authz.Allowed, Token: someToken}), nil)
		l.Close()
		return read(t, l.stderr.String())[0]["subject_hash"]
	}
	// printf alice@example.com | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
	if got, want := hash(file), "0d8b3da1ccc85d32dd2c1a1863a4bd48"; got != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if a, b := hash(""), hash(""); a == b || a == nil {
		t.Errorf("got %v and %v from two processes, want two hashes", a, b)
	}
}

func TestDecisionLogThatIsOffCostsNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	l := newTold(t, config.DecisionLog{})
	event := envoy.Event{Request: &authz.Request{}, Decision: &authz.Decision{Reason: authz.Allowed}}
	looked := validation.Event{Operation: validation.OperationCache, Result: "hit"}
	checks, lookups := l.Checks(), l.Validation()
	allocations := testing.AllocsPerRun(100, func() {
		lookups.End(t.Context(), looked)
		checks.End(t.Context(), event)
	})
	if allocations != 0 || runtime.NumGoroutine() > before {
		t.Errorf("got %v allocations and %d goroutines, want 0 and %d", allocations, runtime.NumGoroutine(), before)
	}
	response, err := l.server(authz.Decision{Reason: authz.Allowed}).Check(t.Context(), &authv3.CheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := response.GetDynamicMetadata().GetFields()["decision_id"]; ok {
		t.Error("got a decision_id that no line has")
	}
}

func TestSwitchedOffAndOnAgain(t *testing.T) {
	l := newTold(t, every("stderr"))
	for _, cfg := range []config.DecisionLog{{}, every("stderr"), {}, every("stderr")} {
		if err := l.Use(cfg, "b"); err != nil {
			t.Fatal(err)
		}
		checkOnce(t.Context(), t, l.server(authz.Decision{Reason: authz.Allowed}), nil)
		eventually(t, "it is written", func() bool { return len(l.waiting) == 0 })
		time.Sleep(10 * time.Millisecond)
	}
	l.Close()
	if got := read(t, l.stderr.String()); len(got) != 2 {
		t.Errorf("got %v, want two lines", got)
	}
}
