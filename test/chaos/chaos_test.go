// Package chaos puts real faults on the connections between Bearergate and its
// authorization server, and rotates, reloads and stops under load. Whatever
// happens, there is no wrong allow, no wrong deny but 503, and no gRPC error.
package chaos

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/rs/zerolog"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

type claims = devissuer.Claims

const (
	// recoverWithin is the time that recovery from any fault may take: a server
	// that is down is probed within 4 s, a failed fetch of keys comes within 10 s.
	recoverWithin = 10 * time.Second
	workers       = 4
)

// duration is short in make test, and long in make chaos.
func duration(short, long time.Duration) time.Duration {
	if isLong() {
		return long
	}
	return short
}

func isLong() bool { return os.Getenv("CHAOS") == "long" }

// site is Bearergate in front of a development issuer, with a proxy for faults
// between them.
type site struct {
	issuer  *devissuer.Issuer
	proxy   *toxiproxy.Proxy
	service *harness.Service
	client  authv3.AuthorizationClient
}

func config(issuer string) string {
	return harness.Config(issuer) + `  request_timeout: 500ms
log: {level: error}
cache: {max_entries: 2000, ttl: 300ms, negative_ttl: 100ms}
jwks: {refresh_interval: 1s, min_refresh_interval: 100ms}
`
}

func newSite(t *testing.T) *site {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // the proxy tells of every byte
	s := &site{}
	address := harness.Free(t)
	s.issuer = devissuer.New("http://"+address, map[string]string{"gate": "s3cret"})
	server := httptest.NewServer(s.issuer)
	t.Cleanup(server.Close)
	proxies := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	s.proxy = toxiproxy.NewProxy(proxies, "issuer", address, server.Listener.Addr().String())
	if err := s.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.Stop)
	s.service = harness.Serve(t, strings.Replace(config(s.issuer.URL()), "log: {level: debug}\n", "", 1)).Ready(t)
	s.client = s.service.Client(t)
	return s
}

// tally counts answers; wrong ones are kept in words.
type tally struct {
	requests, right, unavailable atomic.Int64

	mu    sync.Mutex
	wrong []string
}

func (c *tally) note(what, got, want string, err error) {
	c.requests.Add(1)
	switch {
	case err == nil && got == want:
		c.right.Add(1)
	case err == nil && got == "unavailable":
		c.unavailable.Add(1)
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wrong = append(c.wrong, fmt.Sprintf("%s: got %s, %v; want %s", what, got, err, want))
	}
}

// load sends good and bad tokens until ctx ends.
func (s *site) load(ctx context.Context, c *tally) *sync.WaitGroup {
	var all sync.WaitGroup
	opaque := s.issuer.Opaque("", claims{"aud": "api"})
	jwt := s.issuer.JWT(claims{"aud": "api"})
	for worker := range workers {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				fresh := fmt.Sprintf("-%d-%d", worker, i)
				for _, ask := range []struct{ what, token, want string }{
					{"good JWT", jwt, "allowed"},
					{"new JWT", s.issuer.JWT(claims{"aud": "api"}), "allowed"},
					{"good opaque token", opaque, "allowed"},
					{"new opaque token", s.issuer.Opaque("", claims{"aud": "api"}), "allowed"},
					{"unknown opaque token", "junk" + fresh, "inactive"},
					{"forged JWT", jwt[:len(jwt)-8] + "AAAAAAAA", "bad_signature"},
					{"another audience", s.issuer.Opaque("", claims{"aud": "other"}), "wrong_audience"},
				} {
					c.note(ask.what, s.ask(ask.token), ask.want, nil)
				}
			}
		})
	}
	return &all
}

// ask returns the reason, or the error: it is wrong too.
func (s *site) ask(token string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // as envoy.yaml has it
	defer cancel()
	reason, response, err := harness.Ask(ctx, s.client, "/", "Bearer "+token)
	if err != nil {
		return err.Error()
	}
	if harness.Allowed(response) != (reason == "allowed") {
		return "an answer that Envoy would misunderstand: " + response.String()
	}
	return reason
}

// recovered returns how long it takes until new tokens of all kinds are right.
func (s *site) recovered(t *testing.T, what string) time.Duration {
	t.Helper()
	began := time.Now()
	for in := 0; in < 5; {
		if s.ask(s.issuer.JWT(claims{"aud": "api"})) == "allowed" &&
			s.ask(s.issuer.Opaque("", claims{"aud": "api"})) == "allowed" {
			in++
			continue
		}
		in = 0
		if time.Since(began) > recoverWithin {
			t.Errorf("%s: not recovered within %s", what, recoverWithin)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

func (s *site) fault(t *testing.T, toxic string) {
	t.Helper()
	if toxic == "down" {
		s.proxy.Stop()
		return
	}
	if _, err := s.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		t.Fatal(err)
	}
}

func (s *site) mend(t *testing.T, toxic string) {
	t.Helper()
	if toxic == "down" {
		if err := s.proxy.Start(); err != nil {
			t.Fatal(err)
		}
		return
	}
	s.proxy.Toxics.ResetToxics(context.Background())
}

func TestFaults(t *testing.T) {
	s := newSite(t)
	goroutines, memory := s.service.Metric(t, "go_goroutines"), 0.0
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "fault\trequests\tright\t503\twrong\trecovery")
	for _, f := range []struct{ name, toxic string }{
		{"none", ""},
		{"latency 100 ms", `{"type":"latency","attributes":{"latency":100}}`},
		{"latency 3 s", `{"type":"latency","attributes":{"latency":3000}}`},
		{"jitter 0-600 ms", `{"type":"latency","attributes":{"latency":300,"jitter":300}}`},
		{"connection reset", `{"type":"reset_peer","attributes":{"timeout":5}}`},
		{"reset of requests", `{"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`},
		{"answers never come", `{"type":"timeout","attributes":{"timeout":0}}`},
		{"half closed", `{"type":"timeout","stream":"upstream","attributes":{"timeout":100}}`},
		{"cut off after 100 bytes", `{"type":"limit_data","attributes":{"bytes":100}}`},
		{"slow drip", `{"type":"slicer","attributes":{"average_size":1,"size_variation":0,"delay":2000}}`},
		{"bandwidth 1 KB/s", `{"type":"bandwidth","attributes":{"rate":1}}`},
		{"slow close", `{"type":"slow_close","attributes":{"delay":1000}}`},
		{"down", "down"},
	} {
		var c tally
		ctx, cancel := context.WithTimeout(t.Context(), duration(1500*time.Millisecond, 20*time.Second))
		if f.toxic != "" {
			s.fault(t, f.toxic)
		}
		s.load(ctx, &c).Wait()
		cancel()
		recovery := time.Duration(0)
		if f.toxic != "" {
			s.mend(t, f.toxic)
			recovery = s.recovered(t, f.name)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.1f s\n", f.name, c.requests.Load(), c.right.Load(),
			c.unavailable.Load(), len(c.wrong), recovery.Seconds())
		for _, wrong := range c.wrong {
			t.Errorf("%s: %s", f.name, wrong)
		}
		if c.requests.Load() == 0 || c.right.Load() == 0 {
			t.Errorf("%s: got %d requests and %d right answers", f.name, c.requests.Load(), c.right.Load())
		}
		if memory == 0 {
			memory = s.service.Metric(t, "process_resident_memory_bytes")
		}
	}
	_ = w.Flush()
	t.Log("\n" + table.String())
	harness.Eventually(t, "goroutines are back to where they were", func() bool {
		return s.service.Metric(t, "go_goroutines") <= goroutines+20
	})
	if after := s.service.Metric(t, "process_resident_memory_bytes"); after > 2*memory+64<<20 {
		t.Errorf("memory grew from %.0f to %.0f bytes", memory, after)
	}
}

func TestRotation(t *testing.T) { // A-21, J-11
	s := newSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), duration(4*time.Second, time.Minute))
	defer cancel()
	var c tally
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				// Signed and published before it is sent, so a refusal would be false.
				c.note("token of the current key", s.ask(s.issuer.JWT(claims{"aud": "api"})), "allowed", nil)
			}
		})
	}
	rotations := 0
	for tick := time.NewTicker(time.Second); ctx.Err() == nil; rotations++ {
		select {
		case <-tick.C:
			s.issuer.Rotate(2)
		case <-ctx.Done():
		}
	}
	all.Wait()
	for _, wrong := range c.wrong {
		t.Error(wrong)
	}
	if c.unavailable.Load() > 0 {
		t.Errorf("got %d of %d unavailable", c.unavailable.Load(), c.requests.Load())
	}
	t.Logf("%d rotations, %d requests, %d right, %d wrong", rotations, c.requests.Load(), c.right.Load(), len(c.wrong))
}

func TestReload(t *testing.T) { // never half a configuration
	s := newSite(t)
	base := strings.Replace(config(s.issuer.URL()), "log: {level: debug}\n", "", 1)
	of := func(name string) string {
		return base + "rules: [{name: " + name + ", match: {paths: ['/**']}, audience: " + name + ", scopes: [" + name + "]}]\n"
	}
	reload := func(config string) {
		s.service.Write(t, config)
		s.service.Signal(syscall.SIGHUP)
		time.Sleep(1300 * time.Millisecond) // a changed file is taken after a second
	}
	reload(of("a"))
	ctx, cancel := context.WithTimeout(t.Context(), duration(10*time.Second, time.Minute))
	defer cancel()
	mixed := s.issuer.JWT(claims{"aud": "b", "scope": "a"})
	both := s.issuer.JWT(claims{"aud": []string{"a", "b"}, "scope": "a b"})
	var c tally
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				c.note("both", s.ask(both), "allowed", nil)
				if got := s.ask(mixed); got != "wrong_audience" && got != "insufficient_scope" {
					c.note("mixed", got, "a refusal", nil)
				}
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		reload([]string{of("b"), of("a"), "nonsense"}[i%3])
	}
	all.Wait()
	for _, wrong := range c.wrong {
		t.Error(wrong)
	}
	if n := s.service.Metric(t, `bearergate_config_reloads_total{result="success"}`); n < 5 {
		t.Errorf("got %v reloads", n)
	}
	if n := s.service.Metric(t, `bearergate_config_reloads_total{result="failure"}`); n < 2 {
		t.Errorf("got %v failed reloads: the bad files were not counted", n)
	}
}
