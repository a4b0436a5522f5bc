package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bearergate/bearergate/test/harness"
)

const pushToken = "a-token-by-which-the-transmitter-is-known"

// revocationConfig takes revocations from everywhere.
func revocationConfig(push, poll *harness.Transmitter, issuer string) string {
	return `revocation:
  receiver_address: "$RECEIVER"
  backchannel_logout: ["` + issuer + `"]
  events:
    - {transmitter: "` + push.URL + `", issuer: "` + issuer + `", audience: "https://gate.example.com", push_token_file: "$FILES/push"}
    - {transmitter: "` + poll.URL + `", issuer: "` + issuer + `", audience: "https://gate.example.com", delivery: poll, poll_endpoint: "` +
		poll.URL + `/poll"}
`
}

// revocationStage is a fleet that takes revocations.
type revocationStage struct {
	*fleetStage

	pushes, polled *harness.Transmitter
}

const recheckEvery = time.Second

func newRevocationStage(t *testing.T, o harness.FleetOptions, settings string) *revocationStage {
	t.Helper()
	s := &revocationStage{fleetStage: &fleetStage{issuer: harness.Issuer(t)}}
	s.pushes, s.polled = harness.NewTransmitter(t, s.issuer), harness.NewTransmitter(t, s.issuer)
	o.Files = map[string]string{"push": pushToken}
	recheck := "  recheck_interval: " + recheckEvery.String() + "\n"
	newFleetStage(t, s.fleetStage, o, recheck+settings+revocationConfig(s.pushes, s.polled, s.issuer.URL()))
	return s
}

// victim is a token that is revoked.
type victim struct{ token, sub, sid, jti string }

func (s *revocationStage) victim() victim {
	v := victim{sub: rand.Text(), sid: rand.Text(), jti: rand.Text()}
	v.token = s.issuer.JWT(claims{"sub": v.sub, "sid": v.sid, "jti": v.jti, "aud": "api", "exp": time.Now().Add(time.Hour).Unix()})
	return v
}

// source is one way by which revocations come. It returns when this one was
// acknowledged, and where none is, when it was made.
type source struct {
	name   string
	revoke func(t *testing.T, s *revocationStage, v victim) time.Time
}

func sources() []source {
	return []source{
		{"admin call", func(t *testing.T, s *revocationStage, v victim) time.Time {
			status, answer := s.fleet.Replicas[0].Revoke(t, map[string]any{"issuer": s.issuer.URL(), "jti": v.jti})
			if status != http.StatusAccepted || answer["shared"] != true && len(s.fleet.Replicas) > 1 {
				t.Errorf("POST /revocations: got %d %v, want 202 and shared", status, answer)
			}
			return time.Now()
		}},
		{"CAEP event, pushed", func(t *testing.T, s *revocationStage, v victim) time.Time {
			raw, _ := s.pushes.Event(harness.SessionRevoked, sessionOf(s.issuer.URL(), v), nil)
			status := s.pushes.Push(t, s.fleet.Replicas[0].Receiver, "Bearer "+pushToken, raw)
			if status != http.StatusAccepted {
				t.Errorf("POST /events: got %d, want 202", status)
			}
			return time.Now()
		}},
		{"CAEP event, polled", func(_ *testing.T, s *revocationStage, v victim) time.Time {
			raw, jti := s.polled.Event(harness.SessionRevoked, sessionOf(s.issuer.URL(), v), nil)
			s.polled.Offer(raw, jti)
			return time.Now()
		}},
		{"back-channel logout", func(t *testing.T, s *revocationStage, v victim) time.Time {
			raw := harness.LogoutToken(s.issuer, "gate", claims{"sub": v.sub, "sid": v.sid})
			resp, err := http.PostForm("http://"+s.fleet.Replicas[0].Receiver+"/backchannel-logout",
				url.Values{"logout_token": {raw}})
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("POST /backchannel-logout: got %d, want 200", resp.StatusCode)
			}
			return time.Now()
		}},
		{"recheck", func(_ *testing.T, s *revocationStage, v victim) time.Time {
			s.issuer.Revoke(v.token)
			return time.Now()
		}},
	}
}

// sessionOf is the subject of an event about a session of a user.
func sessionOf(issuer string, v victim) map[string]any {
	return map[string]any{
		"format":  "complex",
		"user":    map[string]any{"format": "iss_sub", "iss": issuer, "sub": v.sub},
		"session": map[string]any{"format": "opaque", "id": v.sid},
	}
}

// watch counts what one Envoy says of a victim.
type watch struct {
	last   atomic.Int64 // when the last allow came
	allows atomic.Int64
	streak atomic.Int64 // refusals since
}

// lastAllow revokes a victim while it is used at every Envoy, and good tokens, too. It
// returns how long after the acknowledgement the last allow came.
func (s *revocationStage) lastAllow(t *testing.T, from source, v victim) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	good := s.issuer.JWT(claims{"aud": "api"})
	watches := make([]watch, len(s.each))
	for n, e := range s.each {
		for range 2 {
			all.Go(func() {
				for ctx.Err() == nil {
					s.note(t, &watches[n], s.get(e, "/x", bearer(v.token)))
					if got := s.get(e, "/x", bearer(good)); got != 200 {
						t.Errorf("a token that nobody revoked: got %d", got)
					}
					time.Sleep(time.Millisecond) // others work on this machine, too
				}
			})
		}
	}
	for n := range watches {
		harness.Eventually(t, "the token passes", func() bool { return watches[n].allows.Load() > 0 })
	}
	acknowledged := from.revoke(t, s, v)
	var last time.Duration
	harness.Eventually(t, from.name+": the token is refused everywhere", func() bool {
		quiet := true
		for n := range watches {
			at := time.Unix(0, watches[n].last.Load())
			quiet = quiet && watches[n].streak.Load() >= 3 && time.Since(at) > 50*time.Millisecond
			last = max(last, at.Sub(acknowledged))
		}
		return quiet
	})
	return last
}

func (s *revocationStage) note(t *testing.T, w *watch, status int) {
	switch status {
	case http.StatusOK:
		w.last.Store(time.Now().UnixNano())
		w.allows.Add(1)
		w.streak.Store(0)
	case http.StatusUnauthorized:
		w.streak.Add(1)
	default:
		t.Errorf("a token that is revoked meanwhile: got %d", status)
	}
}

// long says whether the whole table is wanted.
func long() bool { return os.Getenv("REVOCATIONS") == "long" }

// TestTimeToRevoke prints how long tokens pass after the acknowledgement of their
// revocation, with each source: REVOCATIONS=long takes 200 of each, and the binary as
// it is released.
func TestTimeToRevoke(t *testing.T) {
	n := 5
	if long() {
		n = 200
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "source\treplicas\trevocations\tp50\tp99\tmax")
	for _, replicas := range []int{1, 3} {
		s := newRevocationStage(t, harness.FleetOptions{Replicas: replicas, Release: long()}, sharedConfig)
		var victims []victim
		before, began := s.sent.Load(), time.Now()
		for _, from := range sources() {
			n := n
			if from.name == "recheck" {
				n = min(n, 40) // each takes a second
			}
			times := make([]time.Duration, n)
			for i := range times {
				v := s.victim()
				victims = append(victims, v)
				times[i] = s.lastAllow(t, from, v)
			}
			slices.Sort(times)
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", from.name, replicas, n,
				ms(times[n/2]), ms(times[n*99/100]), ms(times[n-1]))
			want := time.Second
			if from.name == "recheck" { // counted from when nobody was told
				want = recheckEvery + 2*time.Second
			}
			if times[n-1] > want {
				t.Errorf("%s, %d replicas: got an allow %s after it was acknowledged, want none after %s",
					from.name, replicas, times[n-1], want)
			}
		}
		t.Logf("%d replicas: %.0f requests a second", replicas, float64(s.sent.Load()-before)/time.Since(began).Seconds())
		s.stayRevoked(t, victims)
		harness.Eventually(t, "all events are acknowledged", func() bool {
			waiting, refused := s.polled.Outstanding()
			return waiting == 0 && refused == 0
		})
	}
	_ = w.Flush()
	t.Log("\n" + table.String())
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", max(0, float64(d)/float64(time.Millisecond)))
}

// stayRevoked shows every victim to every replica once more.
func (s *revocationStage) stayRevoked(t *testing.T, victims []victim) {
	t.Helper()
	for _, v := range victims {
		for n, e := range s.each {
			if got := s.get(e, "/x", bearer(v.token)); got != 401 {
				t.Errorf("replica %d: got %d for a token that was revoked, want 401", n, got)
			}
		}
	}
}

func (s *revocationStage) revokeSome(t *testing.T, n int) []victim {
	t.Helper()
	victims := make([]victim, n)
	for i := range victims {
		victims[i] = s.victim()
		for n := range s.each {
			s.get(s.each[n], "/x", bearer(victims[i].token))
		}
		all := sources()[:4]
		all[i%len(all)].revoke(t, s, victims[i])
	}
	for _, v := range victims {
		for n := range s.each {
			harness.Eventually(t, "a revoked token is refused", func() bool {
				return s.get(s.each[n], "/x", bearer(v.token)) == 401
			})
		}
	}
	return victims
}

// never shows victims to one replica until ready, and says when one passes: until it
// has read what was revoked, it must not answer.
func (s *revocationStage) never(t *testing.T, replica int, victims []victim, ready func() bool) {
	t.Helper()
	counts := map[int]int{}
	for deadline := time.Now().Add(20 * time.Second); ; {
		done := ready()
		for _, v := range victims {
			counts[s.get(s.each[replica], "/x", bearer(v.token))]++
		}
		if counts[200] > 0 {
			t.Errorf("replica %d: a revoked token passed, got %v", replica, counts)
			return
		}
		if done {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("replica %d: not ready within 20 s, got %v", replica, counts)
			return
		}
	}
	t.Logf("replica %d: got %v", replica, counts)
}

func (s *revocationStage) isReady(replica int) func() bool {
	return func() bool {
		resp, err := http.Get("http://" + s.fleet.Replicas[replica].Admin + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
}

func TestRevocationsOutliveRestarts(t *testing.T) {
	persistent := harness.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := newRevocationStage(t, harness.FleetOptions{Replicas: 3, Store: persistent}, sharedConfig)
	victims := s.revokeSome(t, 12)

	t.Log("one replica")
	s.fleet.Replicas[1].Restart(t)
	s.never(t, 1, victims, s.isReady(1))

	t.Log("the store")
	persistent.Kill()
	s.stayRevoked(t, victims)
	persistent.Start(t)
	s.stayRevoked(t, victims)
	s.fleet.Replicas[2].Restart(t)
	s.never(t, 2, victims, s.isReady(2))

	t.Log("the store and all replicas")
	for _, r := range s.fleet.Replicas {
		r.Kill()
	}
	persistent.Kill()
	persistent.Start(t)
	for n := range s.fleet.Replicas {
		s.fleet.Replicas[n].Restart(t)
		s.never(t, n, victims, s.isReady(n))
	}
}

// TestStoreIsEmptied: the replicas that are left write back what they know.
func TestStoreIsEmptied(t *testing.T) {
	for name, empty := range map[string]func(*testing.T, *harness.Redis){
		"restarted without a disk": func(t *testing.T, r *harness.Redis) { r.Kill(); r.Start(t) },
		"flushed":                  func(t *testing.T, r *harness.Redis) { r.Do(t, "FLUSHALL") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newRevocationStage(t, harness.FleetOptions{Replicas: 3}, sharedConfig)
			victims := s.revokeSome(t, 12)
			before, _ := s.fleet.Store.Do(t, "XLEN", "bearergate:revocations").(int64)
			empty(t, s.fleet.Store)
			s.stayRevoked(t, victims)
			began := time.Now()
			harness.Eventually(t, "the revocations are back in the store", func() bool {
				n, _ := s.fleet.Store.Try("XLEN", "bearergate:revocations")
				now, _ := n.(int64)
				return now >= int64(len(victims))
			})
			t.Logf("%d entries before; written back after %s", before, time.Since(began))
			for n := range s.fleet.Replicas {
				s.fleet.Replicas[n].Restart(t)
				s.never(t, n, victims, s.isReady(n))
			}
		})
	}
}

// TestNobodyIsLeft prints what a store without a disk costs: with the last replica, what
// is revoked is forgotten.
func TestNobodyIsLeft(t *testing.T) {
	s := newRevocationStage(t, harness.FleetOptions{Replicas: 2}, sharedConfig)
	victims := s.revokeSome(t, 4)
	for _, r := range s.fleet.Replicas {
		r.Kill()
	}
	s.fleet.Store.Kill()
	s.fleet.Store.Start(t)
	counts := map[int]int{}
	for n, r := range s.fleet.Replicas {
		r.Restart(t)
		r.Ready(t)
		for _, v := range victims {
			harness.Eventually(t, "Envoy reaches it again", func() bool { return s.get(s.each[n], "/x", nil) == 401 })
			counts[s.get(s.each[n], "/x", bearer(v.token))]++
		}
	}
	t.Logf("tokens that were revoked, at replicas and a store that were all restarted: %v", counts)
	if counts[401]+counts[200] != len(victims)*len(s.fleet.Replicas) {
		t.Errorf("got %v, want answers", counts)
	}
}

// TestPartition cuts one of three replicas off the store, and says what passes where.
func TestPartition(t *testing.T) {
	harness.OnlyExtAuthz(t, "what the binary beside it is told, a module that is cut off does not hear")
	s := newRevocationStage(t, harness.FleetOptions{Replicas: 3}, sharedConfig)
	alone := s.fleet.Replicas[2]
	alone.Link.Cut()
	harness.Eventually(t, "it tells", func() bool { return alone.Metric(t, "bearergate_shared_up") == 0 })
	there, here := s.victim(), s.victim()
	for _, v := range []victim{there, here} {
		for _, e := range s.each {
			if got := s.get(e, "/x", bearer(v.token)); got != 200 {
				t.Fatalf("got %d before the revocation, want 200", got)
			}
		}
	}
	status, answer := s.fleet.Replicas[0].Revoke(t, map[string]any{"issuer": s.issuer.URL(), "sub": there.sub})
	if status != http.StatusAccepted || answer["shared"] != true {
		t.Errorf("revoked beyond the partition: got %d %v, want 202 and shared", status, answer)
	}
	status, answer = alone.Revoke(t, map[string]any{"issuer": s.issuer.URL(), "sub": here.sub})
	if status != http.StatusAccepted || answer["shared"] != false {
		t.Errorf("revoked on this side: got %d %v, want 202 and not shared", status, answer)
	}
	time.Sleep(time.Second)
	// What nobody can tell a replica it cannot know: both sides allow what the other
	// one has revoked.
	for n, want := range []map[string]int{{there.jti: 401, here.jti: 200}, {there.jti: 401, here.jti: 200}, {there.jti: 200, here.jti: 401}} {
		for _, v := range []victim{there, here} {
			if got := s.get(s.each[n], "/x", bearer(v.token)); got != want[v.jti] {
				t.Errorf("replica %d, cut off: got %d, want %d", n, got, want[v.jti])
			}
		}
	}
	if !s.isReady(2)() {
		t.Error("the replica that is cut off is not ready")
	}
	alone.Link.Mend(t)
	began := time.Now()
	for n, e := range s.each {
		for _, v := range []victim{there, here} {
			harness.Eventually(t, fmt.Sprintf("replica %d caught up", n), func() bool {
				return s.get(e, "/x", bearer(v.token)) == 401
			})
		}
	}
	t.Logf("caught up %s after the partition ended", time.Since(began))
	harness.Eventually(t, "it tells", func() bool { return alone.Metric(t, "bearergate_shared_up") == 1 })
}
