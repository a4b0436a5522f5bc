package shared_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/observe"
	"github.com/bearergate/bearergate/internal/shared"
)

// server is a real Redis of a test.
type server struct {
	t       testing.TB
	args    []string
	address string // host:port
	dir     string
	command *exec.Cmd
}

func redisPath(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("../../test/tools/redis.sh").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skip(string(exit.Stderr))
	}
	if err != nil {
		t.Fatalf("test/tools/redis.sh: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// startRedis starts one on a port of its own, which does not change when it is restarted.
func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, address: freeAddress(t), dir: t.TempDir(), args: args}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.address)
	args := append([]string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir,
		"--loglevel", "warning",
	}, s.args...)
	if i := slices.Index(args, "PORT"); i >= 0 { // of TLS, in place of the plain one
		args[i] = port
	}
	s.command = exec.Command(redisPath(s.t), args...)
	output := new(lockedBuffer)
	s.command.Stdout, s.command.Stderr = output, output
	if err := s.command.Start(); err != nil {
		s.t.Fatal(err)
	}
	within(s.t, 20*time.Second, "redis is up", func() bool {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

func (s *server) stop() {
	if s.command != nil {
		_ = s.command.Process.Kill()
		_ = s.command.Wait()
		s.command = nil
	}
}

// cli runs a command as an operator would.
func (s *server) cli(args ...string) string {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.address)
	out, err := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	if text := string(out); err != nil || strings.HasPrefix(text, "ERR") || strings.HasPrefix(text, "(error)") {
		s.t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}

// events counts what a Store tells.
type events struct {
	mu    sync.Mutex
	count map[string]int
	lags  []time.Duration
}

func (e *events) of(operation, result string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.count[operation+" "+result]
}

func (e *events) lag(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lags = append(e.lags, d)
}

func (e *events) observer() observe.Observer[shared.Event] {
	return observe.Observer[shared.Event]{
		Ended: func(_ context.Context, event shared.Event) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.count == nil {
				e.count = make(map[string]int)
			}
			e.count[event.Operation+" "+event.Result]++
		},
	}
}

// fleet is what replicas of one test have in common.
type fleet struct {
	t   testing.TB
	cfg shared.Config
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newFleet(t testing.TB, address ...string) *fleet {
	key := filepath.Join(t.TempDir(), "key")
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	write(t, key, string(secret))
	for i, a := range address {
		if !strings.Contains(a, "://") {
			address[i] = "redis://" + a
		}
	}
	log := new(lockedBuffer)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log)
		}
	})
	return &fleet{t, shared.Config{
		Address: address, KeyFile: key, Prefix: "bearergate:", Timeout: 500 * time.Millisecond,
	}, log}
}

func (f *fleet) open(change ...func(*shared.Config, *shared.Options)) *shared.Store {
	f.t.Helper()
	c := f.cfg
	o := shared.Options{Log: slog.New(slog.NewTextHandler(f.log, nil))}
	for _, each := range change {
		each(&c, &o)
	}
	s, err := shared.Open(c, o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

// up opens a Store and waits until it is connected.
func (f *fleet) up(change ...func(*shared.Config, *shared.Options)) *shared.Store {
	f.t.Helper()
	s := f.open(change...)
	within(f.t, 10*time.Second, "up", s.Up)
	return s
}

func watched(e *events) func(*shared.Config, *shared.Options) {
	return func(_ *shared.Config, o *shared.Options) { o.Events, o.Lag = e.observer(), e.lag }
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func keyOf(n int) (k [32]byte) {
	copy(k[:], fmt.Sprint("key ", n))
	return k
}

// making returns a make for Once that counts.
func making(count *int64, mu *sync.Mutex, value string) func(context.Context) ([]byte, time.Duration, error) {
	return func(context.Context) ([]byte, time.Duration, error) {
		mu.Lock()
		defer mu.Unlock()
		*count++
		return []byte(value), time.Minute, nil
	}
}

// TestMain is also the replica that dies: see [TestKilledHolderIsReplaced].
func TestMain(m *testing.M) {
	if address := os.Getenv("SHARED_TEST_HOLDER"); address != "" {
		hold(address, os.Getenv("SHARED_TEST_KEY"))
	}
	os.Exit(m.Run())
}

// hold asks for a value, and is never done with it.
func hold(address, key string) {
	s, err := shared.Open(shared.Config{
		Address: []string{"redis://" + address}, KeyFile: key, Prefix: "bearergate:", Timeout: time.Second,
	}, shared.Options{})
	for err == nil && !s.Up() {
		time.Sleep(time.Millisecond)
	}
	_, _, err = s.Once(context.Background(), "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
		fmt.Println("holding")
		select {}
	})
	fmt.Println(err)
	os.Exit(1)
}
