package service_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
)

// redis is a real one, which keeps its port when it is started again.
type redis struct {
	t       testing.TB
	address string
	command *exec.Cmd
}

func startRedis(t testing.TB) *redis {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &redis{t: t, address: l.Addr().String()}
	l.Close()
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *redis) start() {
	r.t.Helper()
	path, err := exec.Command("../../test/tools/redis.sh").Output()
	if err != nil {
		r.t.Fatalf("test/tools/redis.sh: %v", err)
	}
	_, port, _ := net.SplitHostPort(r.address)
	r.command = exec.Command(strings.TrimSpace(string(path)), "--port", port, "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", r.t.TempDir(), "--loglevel", "warning")
	if err := r.command.Start(); err != nil {
		r.t.Fatal(err)
	}
	soon(r.t, 20*time.Second, "redis is up", func() bool {
		c, err := net.Dial("tcp", r.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (r *redis) stop() {
	_ = r.command.Process.Kill()
	_ = r.command.Wait()
}

func soon(t testing.TB, longest time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > longest {
			t.Fatalf("not within %s: %s", longest, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

// sharing is the end of a configuration whose replicas share r.
func sharing(t testing.TB, r *redis) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "shared.key")
	if err := os.WriteFile(key, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("shared: {address: \"redis://%s\", key_file: %s, timeout: 2s}\nrevocation: {keep: 1h}\n", r.address, key)
}

// replicas are services of one configuration, whose store answers.
func replicas(t *testing.T, n int, issuer, more string) []*service.Service {
	t.Helper()
	all := make([]*service.Service, n)
	for i := range all {
		all[i] = newService(t, configuration(t, issuer, more))
		ready(t, all[i])
	}
	return all
}

func ready(t *testing.T, svc *service.Service) {
	t.Helper()
	soon(t, 10*time.Second, "the replica is ready", func() bool {
		state := svc.Fleet()
		return svc.Ready() == nil && state.Store != nil && state.Store.Up
	})
}

func revokeSub(t *testing.T, svc *service.Service, issuer, sub string) (shared bool) {
	t.Helper()
	shared, err := svc.Revoke(t.Context(), revocation.Revocation{
		Issuer: issuer, Kind: revocation.KindSub, Value: sub, Source: revocation.SourceAdmin,
	})
	if err != nil {
		t.Fatal(err)
	}
	return shared
}

// TestOneCallForTheFleet: one new token that arrives everywhere at once is asked about
// once, whatever is said of it, and nobody gets another answer.
func TestOneCallForTheFleet(t *testing.T) {
	as := newIssuer(t)
	all := replicas(t, 3, as.URL(), sharing(t, startRedis(t)))
	for token, want := range map[string]string{
		as.Opaque("", claims{"sub": "alice", "aud": "api"}): "allowed",
		"nobody-issued-it": "inactive",
		as.Opaque("", claims{"sub": "alice", "aud": "api", "scope": 1}): "malformed_token",
	} {
		before := as.Calls(devissuer.PathIntrospection)
		var work sync.WaitGroup
		for n := range 500 {
			work.Go(func() {
				if got := reason(t, all[n%3], token); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
		work.Wait()
		if calls := as.Calls(devissuer.PathIntrospection) - before; calls != 1 {
			t.Errorf("%s: got %d calls, want 1", want, calls)
		}
	}
}

// TestRevocationReachesTheFleet: what one replica is told holds on all of them within a
// second, for what they know already, too.
func TestRevocationReachesTheFleet(t *testing.T) {
	as := newIssuer(t)
	more := sharing(t, startRedis(t))
	all := replicas(t, 3, as.URL(), more)
	var slowest time.Duration
	for n := range 10 {
		sub := fmt.Sprintf("user-%d", n)
		tokens := []string{as.JWT(claims{"sub": sub, "aud": "api"}), as.Opaque("", claims{"sub": sub, "aud": "api"})}
		for _, svc := range all {
			for _, token := range tokens {
				if got := reason(t, svc, token); got != "allowed" {
					t.Fatalf("got %s", got)
				}
			}
		}
		if !revokeSub(t, all[n%3], as.URL(), sub) {
			t.Error("got not shared")
		}
		for _, token := range tokens {
			if got := reason(t, all[n%3], token); got != "revoked" {
				t.Errorf("got %s on the replica that was told", got)
			}
		}
		took := soon(t, 5*time.Second, "all replicas know", func() bool {
			for _, svc := range all {
				for _, token := range tokens {
					if reason(t, svc, token) != "revoked" {
						return false
					}
				}
			}
			return true
		})
		slowest = max(slowest, took)
	}
	if slowest > time.Second {
		t.Errorf("took up to %s, want at most a second", slowest)
	}
	t.Logf("the slowest of 10 took %s", slowest)

	late := newService(t, configuration(t, as.URL(), more))
	ready(t, late)
	if got := reason(t, late, as.JWT(claims{"sub": "user-3", "aud": "api", "iat": time.Now().Add(-time.Minute).Unix()})); got != "revoked" {
		t.Errorf("got %s of a replica that was started later", got)
	}
	if got := reason(t, late, as.JWT(claims{"sub": "user-3", "aud": "api", "iat": time.Now().Add(5 * time.Second).Unix()})); got != "allowed" {
		t.Errorf("got %s of a token that was issued later", got)
	}
}

// TestWithoutTheStore: decisions stay right, and what is revoked meanwhile is told when
// the store is back.
func TestWithoutTheStore(t *testing.T) {
	as, store := newIssuer(t), startRedis(t)
	all := replicas(t, 2, as.URL(), sharing(t, store))
	store.stop()
	soon(t, 10*time.Second, "it is seen to be away", func() bool { return !all[0].Fleet().Store.Up && !all[1].Fleet().Store.Up })
	token := as.Opaque("", claims{"sub": "alice", "aud": "api"})
	for _, svc := range all {
		if got := reason(t, svc, token); got != "allowed" {
			t.Errorf("got %s", got)
		}
		if got := reason(t, svc, "nobody-issued-it"); got != "inactive" {
			t.Errorf("got %s", got)
		}
		if svc.Ready() != nil {
			t.Errorf("got %v, want ready", svc.Ready())
		}
	}
	if revokeSub(t, all[0], as.URL(), "alice") {
		t.Error("got shared, without a store")
	}
	if got := reason(t, all[0], token); got != "revoked" {
		t.Errorf("got %s on the replica that was told", got)
	}
	if got := reason(t, all[1], token); got != "allowed" {
		t.Errorf("got %s on the one that cannot know", got)
	}
	store.start()
	took := soon(t, 15*time.Second, "the other replica knows", func() bool { return reason(t, all[1], token) == "revoked" })
	t.Logf("caught up after %s", took)
}

// TestStartsWithoutTheStore: nothing is decided before five seconds are over.
func TestStartsWithoutTheStore(t *testing.T) {
	as, store := newIssuer(t), startRedis(t)
	more := sharing(t, store)
	store.stop()
	svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", ""))
	t.Cleanup(svc.Close)
	if err := svc.Apply(configuration(t, as.URL(), more)); err != nil {
		t.Fatal(err)
	}
	token := as.JWT(claims{"sub": "alice", "aud": "api"})
	if got := reason(t, svc, token); got != "unavailable" || svc.Ready() == nil {
		t.Errorf("got %s and %v, want unavailable and not ready", got, svc.Ready())
	}
	took := soon(t, 10*time.Second, "it is ready", func() bool { return svc.Ready() == nil })
	if got := reason(t, svc, token); got != "allowed" || took < 3*time.Second {
		t.Errorf("got %s after %s", got, took)
	}
}

// TestRevocationSurvivesAReload: also one that changes the store.
func TestRevocationSurvivesAReload(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), "revocation: {}\n"))
	token := as.JWT(claims{"sub": "alice", "aud": "api"})
	if got := reason(t, svc, token); got != "allowed" {
		t.Fatalf("got %s", got)
	}
	revokeSub(t, svc, as.URL(), "alice")
	for _, more := range []string{
		"revocation: {keep: 2h}\n", "realm: other\n", sharing(t, startRedis(t)), sharing(t, startRedis(t)), "cache: {ttl: 0s}\n",
	} {
		if err := svc.Apply(configuration(t, as.URL(), more)); err != nil {
			t.Fatal(err)
		}
		svc.Settle(t.Context(), 5*time.Second)
		if got := reason(t, svc, token); got != "revoked" {
			t.Errorf("%s: got %s", more, got)
		}
	}
}

// TestRecheck: a verified JWT is asked about in the background, once for the fleet, and
// is revoked when the issuer says that it is not active; an outage changes nothing.
func TestRecheck(t *testing.T) {
	as := newIssuer(t)
	more := sharing(t, startRedis(t)) + "cache: {ttl: 100ms}\n"
	all := make([]*service.Service, 3)
	for i := range all {
		c := configuration(t, as.URL(), more)
		c.Issuers[0].Validation.RecheckInterval = time.Second
		all[i] = newService(t, c)
		ready(t, all[i])
	}
	token := as.JWT(claims{"sub": "alice", "aud": "api"})
	everywhere := func(want string) bool {
		for _, svc := range all {
			if reason(t, svc, token) != want {
				return false
			}
		}
		return true
	}
	for began := time.Now(); time.Since(began) < 700*time.Millisecond; time.Sleep(20 * time.Millisecond) {
		if !everywhere("allowed") {
			t.Fatal("not allowed")
		}
	}
	if calls := as.Calls(devissuer.PathIntrospection); calls != 1 {
		t.Errorf("got %d calls, want 1", calls)
	}
	as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	as.Revoke(token)
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(20 * time.Millisecond) {
		if !everywhere("allowed") {
			t.Fatal("not allowed during an outage")
		}
	}
	as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	took := soon(t, 15*time.Second, "it is revoked everywhere", func() bool { return everywhere("revoked") })
	t.Logf("revoked %s after the endpoint was back", took)
	if state := all[0].Fleet(); state.Entries == 0 {
		t.Error("no revocation is remembered")
	}
}

// TestFactsAreAskedForAgain: an event about facts drops them, and the token stays good.
func TestFactsAreAskedForAgain(t *testing.T) {
	as := newIssuer(t)
	all := replicas(t, 2, as.URL(), sharing(t, startRedis(t)))
	token := as.Opaque("", claims{"sub": "alice", "aud": "api"})
	for _, svc := range all {
		if got := reason(t, svc, token); got != "allowed" {
			t.Fatalf("got %s", got)
		}
	}
	if calls := as.Calls(devissuer.PathIntrospection); calls != 1 {
		t.Fatalf("got %d calls", calls)
	}
	_, err := all[0].Revoke(context.Background(), revocation.Revocation{
		Issuer: as.URL(), Kind: revocation.KindSub, Value: "alice", Facts: true, Source: revocation.SourceSSF,
	})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, 2*time.Second, "both know", func() bool {
		for _, svc := range all {
			if got := reason(t, svc, token); got != "allowed" {
				t.Fatalf("got %s", got)
			}
		}
		return as.Calls(devissuer.PathIntrospection) >= 2
	})
	time.Sleep(200 * time.Millisecond)
	for range 20 {
		for _, svc := range all {
			reason(t, svc, token)
		}
	}
	if calls := as.Calls(devissuer.PathIntrospection); calls > 3 {
		t.Errorf("got %d calls, want one more, or two", calls)
	}
}

// TestOneExchangeForTheFleet: a token for an upstream is got once, and what was got for
// a revoked token is dropped.
func TestOneExchangeForTheFleet(t *testing.T) {
	as := newIssuer(t)
	all := replicas(t, 3, as.URL(), exchanging+sharing(t, startRedis(t)))
	token := as.JWT(claims{"sub": "alice", "aud": "api", "scope": "orders:read"})
	seen := map[string]bool{}
	for _, svc := range all {
		got, sees := upstreamOf(t, svc, token)
		if got != "allowed" {
			t.Errorf("got %s", got)
		}
		seen[sees] = true
	}
	if calls := as.Calls(devissuer.PathToken); calls != 1 || len(seen) != 1 {
		t.Errorf("got %d calls and %d tokens, want one", calls, len(seen))
	}
	revokeSub(t, all[0], as.URL(), "alice")
	soon(t, 2*time.Second, "nobody gets it any longer", func() bool {
		for _, svc := range all {
			if got, sees := upstreamOf(t, svc, token); got != "revoked" || sees != "" {
				return false
			}
		}
		return true
	})
	for _, svc := range all {
		if entries := svc.Entries()["exchange"]; entries != 0 {
			t.Errorf("got %d entries, want none", entries)
		}
	}
}

// TestProofsPassOnceInTheFleet: and while the store is away nobody can tell.
func TestProofsPassOnceInTheFleet(t *testing.T) {
	as, store := newIssuer(t), startRedis(t)
	all := replicas(t, 2, as.URL(), "dpop: {}\n"+sharing(t, store))
	prover := devissuer.NewProver()
	token := as.JWT(claims{"aud": "api", "cnf": claims{"jkt": prover.Thumbprint()}})
	proof := prover.Proof("GET", "https://api.example.com/orders/1", token, nil)
	for n, want := range []string{"allowed", "invalid_proof"} {
		if got, _ := answered(t, all[n], prove(token, proof)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	store.stop()
	soon(t, 10*time.Second, "it is seen to be away", func() bool { return !all[0].Fleet().Store.Up })
	proof = prover.Proof("GET", "https://api.example.com/orders/1", token, nil)
	if got, _ := answered(t, all[0], prove(token, proof)); got != "unavailable" {
		t.Errorf("got %s, want unavailable", got)
	}
}
