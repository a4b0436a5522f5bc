package chaos

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// storeSite is two replicas that share a store, both through one proxy.
type storeSite struct {
	issuer  *devissuer.Issuer
	store   *harness.Redis
	spare   *harness.Redis // follows the store, until it takes its place
	root    *harness.Session
	link    *harness.Link
	fleet   *harness.Fleet
	clients []authv3.AuthorizationClient
	prover  *devissuer.Prover
	revoked []string // tokens
}

func newStoreSite(t *testing.T) *storeSite {
	t.Helper()
	s := &storeSite{issuer: harness.Issuer(t), store: harness.StartRedis(t), prover: devissuer.NewProver()}
	host, port, _ := strings.Cut(s.store.Address, ":")
	s.spare = harness.StartRedis(t, "--replicaof", host+" "+port)
	s.root = s.store.Open(t)
	s.link = harness.NewLink(t, s.store.Address)
	settings := strings.Replace(config(s.issuer.URL()), "log: {level: debug}\n", "", 1)
	settings = strings.Replace(settings, `"$ADMIN"}`, `"$ADMIN", admin_token_file: "$FILES/admin"}`, 1)
	s.fleet = harness.StartFleet(t, harness.FleetOptions{
		Replicas: 2, Store: s.store, Through: s.link.Address, Release: isLong(),
		Config: settings + "dpop: {}\nrevocation: {}\nshared: {address: \"$STORE\", key_file: \"$FILES/key\"}\n",
	})
	for _, r := range s.fleet.Replicas {
		s.clients = append(s.clients, r.Client(t))
	}
	s.revokeSome(t)
	return s
}

// revokeSome revokes tokens at the first replica, until the second one knows.
func (s *storeSite) revokeSome(t *testing.T) {
	t.Helper()
	sub := rand.Text()
	s.revoked = []string{
		s.issuer.JWT(claims{"aud": "api", "sub": sub}), s.issuer.Opaque("", claims{"aud": "api", "sub": sub}),
	}
	status, answer := s.fleet.Replicas[0].Revoke(t, map[string]any{"issuer": s.issuer.URL(), "sub": sub})
	if status != 202 {
		t.Fatalf("POST /revocations: got %d %v, want 202", status, answer)
	}
	for _, token := range s.revoked {
		harness.Eventually(t, "all replicas know what is revoked", func() bool {
			return s.ask(1, token, "Bearer", "") == "revoked"
		})
	}
}

// ask is the reason that one replica gives, or what is wrong.
func (s *storeSite) ask(replica int, token, scheme, proof string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // as envoy.yaml has it
	defer cancel()
	headers := map[string]string{"authorization": scheme + " " + token}
	if proof != "" {
		headers["dpop"] = proof
	}
	response, err := s.clients[replica].Check(ctx, harness.Check("GET", "api.example.com", "/", headers, nil))
	if err != nil {
		return err.Error()
	}
	reason := harness.Reason(response)
	if harness.Allowed(response) != (reason == "allowed") {
		return "an answer that Envoy would misunderstand: " + response.String()
	}
	return reason
}

// storeTally counts answers with and without DPoP, and how long they took.
type storeTally struct {
	bearer, proven tally

	mu   sync.Mutex
	took []time.Duration
}

func (c *storeTally) quantile(q float64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.took) == 0 {
		return 0
	}
	slices.Sort(c.took)
	return c.took[min(len(c.took)-1, int(q*float64(len(c.took))))]
}

// load sends good and bad tokens to both replicas until ctx ends.
func (s *storeSite) load(ctx context.Context, c *storeTally) *sync.WaitGroup {
	var all sync.WaitGroup
	opaque, jwt := s.issuer.Opaque("", claims{"aud": "api"}), s.issuer.JWT(claims{"aud": "api"})
	bound := s.issuer.JWT(claims{"aud": "api", "cnf": devissuer.BoundToKey(s.prover.Thumbprint())})
	revoked := s.revoked
	for worker := range workers {
		all.Go(func() {
			for i := worker; ctx.Err() == nil; i++ {
				here := i % len(s.clients)
				for _, ask := range []struct{ what, token, want string }{
					{"good JWT", jwt, "allowed"},
					{"new JWT", s.issuer.JWT(claims{"aud": "api"}), "allowed"},
					{"good opaque token", opaque, "allowed"},
					{"new opaque token", s.issuer.Opaque("", claims{"aud": "api"}), "allowed"},
					{"unknown opaque token", "junk-" + rand.Text(), "inactive"},
					{"forged JWT", jwt[:len(jwt)-8] + "AAAAAAAA", "bad_signature"},
					{"another audience", s.issuer.Opaque("", claims{"aud": "other"}), "wrong_audience"},
					{"revoked JWT", revoked[0], "revoked"},
					{"revoked opaque token", revoked[1], "revoked"},
				} {
					began := time.Now()
					got := s.ask(here, ask.token, "Bearer", "")
					c.mu.Lock()
					c.took = append(c.took, time.Since(began))
					c.mu.Unlock()
					c.bearer.note(ask.what, got, ask.want, nil)
				}
				s.prove(&c.proven, bound, here)
			}
		})
	}
	return &all
}

// replayed is what is asked with a proof that another replica has seen.
const replayed = "proof that was used"

// prove uses one proof at one replica and then at the other, which must not take it.
func (s *storeSite) prove(c *tally, token string, here int) {
	proof := s.prover.Proof("GET", "https://api.example.com/", token, nil)
	first := s.ask(here, token, "DPoP", proof)
	c.note("new proof", first, "allowed", nil)
	if first == "allowed" { // else the other one may be the first
		c.note(replayed, s.ask((here+1)%len(s.clients), token, "DPoP", proof), "invalid_proof", nil)
	}
}

// storeFault is what happens to the store, until mend takes it back.
type storeFault struct {
	name        string
	apply, mend func(t *testing.T)
	// forgets: what was written is lost, proofs that were accepted among it. Another
	// replica than the one that accepted a proof can take it once more then.
	forgets bool
}

func (s *storeSite) faults() []storeFault {
	mend := func(t *testing.T) { s.link.Mend(t) }
	toxic := func(name, toxic string) storeFault {
		return storeFault{name, func(t *testing.T) { s.link.Fault(t, toxic) }, mend, false}
	}
	order := func(commands ...string) func(*testing.T) {
		return func(t *testing.T) {
			for _, c := range commands {
				if _, err := s.root.Try(strings.Fields(c)...); err != nil {
					t.Errorf("%s: %v", c, err)
				}
			}
		}
	}
	stop := make(chan struct{})
	return []storeFault{
		{"none", func(*testing.T) {}, func(*testing.T) {}, false},
		{"gone", func(*testing.T) { s.link.Cut() }, mend, false},
		toxic("slow, 100 ms", `{"type":"latency","attributes":{"latency":100}}`),
		toxic("slow, 5 s", `{"type":"latency","attributes":{"latency":5000}}`),
		toxic("resetting", `{"type":"reset_peer","attributes":{"timeout":5}}`),
		toxic("silent", `{"type":"timeout","attributes":{"timeout":0}}`),
		toxic("cut off after 100 bytes", `{"type":"limit_data","attributes":{"bytes":100}}`),
		{"out of memory", order("CONFIG SET maxmemory 1"), order("CONFIG SET maxmemory 0"), false},
		{"read-only", order("REPLICAOF 127.0.0.1 1"), order("REPLICAOF NO ONE"), false},
		{"wrong password", order("CONFIG SET requirepass changed", "CLIENT KILL TYPE normal SKIPME yes"), func(t *testing.T) {
			if _, err := s.root.Try("CONFIG", "SET", "requirepass", ""); err != nil {
				t.Error(err)
			}
		}, false},
		{"flushed, again and again", func(*testing.T) {
			go func() {
				for tick := time.NewTicker(50 * time.Millisecond); ; {
					select {
					case <-tick.C:
						_, _ = s.store.Try("FLUSHALL")
					case <-stop:
						return
					}
				}
			}()
		}, func(*testing.T) { close(stop) }, true},
		{"failing over", func(t *testing.T) {
			harness.Eventually(t, "the spare has all", func() bool {
				status, _ := s.spare.Do(t, "INFO", "replication").(string)
				return strings.Contains(status, "master_link_status:up")
			})
			s.store.Kill()
			go func() {
				time.Sleep(500 * time.Millisecond)
				_, _ = s.spare.Try("REPLICAOF", "NO", "ONE")
				s.link.Lead(t, s.spare.Address)
			}()
		}, func(*testing.T) { s.store = s.spare }, true},
		{"restarted, and empty", func(t *testing.T) {
			s.store.Kill()
			time.Sleep(300 * time.Millisecond)
			s.store.Start(t)
			s.store.Do(t, "REPLICAOF", "NO", "ONE") // what it is told at its start is what it was at first
		}, func(*testing.T) {}, true},
	}
}

// recovered returns how long it takes until both replicas use the store again.
func (s *storeSite) recovered(t *testing.T, what string) time.Duration {
	t.Helper()
	began := time.Now()
	harness.Eventually(t, what+": the store is used again", func() bool {
		for _, r := range s.fleet.Replicas {
			if r.Metric(t, "bearergate_shared_up") != 1 {
				return false
			}
		}
		return true
	})
	return time.Since(began)
}

// TestStoreFaults: whatever happens to the shared store, there is no wrong answer and no
// 503, except about DPoP proofs, which nobody can tell to be new.
func TestStoreFaults(t *testing.T) {
	s := newStoreSite(t)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "store\trequests\t503\twrong\twith DPoP\t503\twrong\tp50\tp99\trecovery")
	for _, f := range s.faults() {
		var c storeTally
		ctx, cancel := context.WithTimeout(t.Context(), duration(1500*time.Millisecond, 20*time.Second))
		all := s.load(ctx, &c)
		f.apply(t)
		all.Wait()
		cancel()
		f.mend(t)
		recovery := s.recovered(t, f.name)
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f ms\t%.1f ms\t%.1f s\n", f.name,
			c.bearer.requests.Load(), c.bearer.unavailable.Load(), len(c.bearer.wrong),
			c.proven.requests.Load(), c.proven.unavailable.Load(), len(c.proven.wrong),
			c.quantile(.5).Seconds()*1000, c.quantile(.99).Seconds()*1000, recovery.Seconds())
		for _, wrong := range append(c.bearer.wrong, c.proven.wrong...) {
			if again := strings.HasPrefix(wrong, replayed+": got allowed"); !f.forgets || !again {
				t.Errorf("%s: %s", f.name, wrong)
			}
		}
		if c.bearer.requests.Load() == 0 || c.bearer.unavailable.Load() > 0 {
			t.Errorf("%s: got %d requests and %d times 503, want some and none",
				f.name, c.bearer.requests.Load(), c.bearer.unavailable.Load())
		}
		s.provenAgain(t, f.name)
	}
	_ = w.Flush()
	t.Log("\n" + table.String())
}

// provenAgain wants new proofs to pass, and used ones not, as they did before.
func (s *storeSite) provenAgain(t *testing.T, what string) {
	t.Helper()
	token := s.issuer.JWT(claims{"aud": "api", "cnf": devissuer.BoundToKey(s.prover.Thumbprint())})
	harness.Eventually(t, what+": a new proof passes", func() bool {
		return s.ask(0, token, "DPoP", s.prover.Proof("GET", "https://api.example.com/", token, nil)) == "allowed"
	})
}
