package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// fleetConfig is that of each replica. These tests share a machine with others, and a
// store that takes longer than usual is not what they are about.
func fleetConfig(issuer *devissuer.Issuer) string {
	return `server: {grpc_address: "$GRPC", admin_address: "$ADMIN", admin_token_file: "$FILES/admin"}
auth:
  issuer: ` + issuer.URL() + `
  audience: api
  token_validation: both
  client_id: gate
  client_secret: s3cret
  insecure_http: true
`
}

const sharedConfig = "shared: {address: \"$STORE\", key_file: \"$FILES/key\", timeout: 1s}\n"

// patient is the change to Envoy's chain for a busy machine: an answer that takes long
// is none that is missing.
var patient = []string{"timeout: 1s\n                      # Bear", "timeout: 20s\n                      # Bear"}

// fleetStage is replicas behind one Envoy, which asks them in turn, and behind an
// Envoy for each.
type fleetStage struct {
	issuer   *devissuer.Issuer
	upstream *harness.Upstream
	fleet    *harness.Fleet
	all      *harness.Envoy
	each     []*harness.Envoy
	client   *http.Client
	sent     atomic.Int64 // requests
}

// newFleetStage starts them with more settings. The issuer and the upstream are the
// stage's, if it has them already.
func newFleetStage(t *testing.T, s *fleetStage, o harness.FleetOptions, settings string) *fleetStage {
	t.Helper()
	if s.issuer == nil {
		s.issuer = harness.Issuer(t)
	}
	s.upstream = harness.Echo(t)
	if o.Store == nil {
		o.Store = harness.StartRedis(t)
	}
	o.Config = fleetConfig(s.issuer) + settings
	s.fleet = harness.StartFleet(t, o)
	s.all = harness.FleetGateway(t, s.fleet.GRPC(), s.upstream.Address, patient...)
	for _, r := range s.fleet.Replicas {
		s.each = append(s.each, harness.Gateway(t, r.GRPC, s.upstream.Address, patient...))
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport}
	for _, e := range append(s.each, s.all) {
		for range s.fleet.Replicas { // each of its connections
			harness.Eventually(t, "Envoy reaches Bearergate", func() bool { return s.get(e, "/", nil) == 401 })
		}
	}
	return s
}

// get returns the status that Envoy answers with; 0: none.
func (s *fleetStage) get(e *harness.Envoy, path string, headers http.Header) int {
	req, err := http.NewRequest(http.MethodGet, e.URL+path, nil)
	if err != nil {
		return 0
	}
	s.sent.Add(1)
	req.Host = "api.example.com"
	for name, values := range headers {
		req.Header[name] = values
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// atOnce sends n requests at once, and counts the statuses.
func atOnce(n int, send func(i int) int) map[int]int {
	counts := map[int]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			status := send(i)
			mu.Lock()
			defer mu.Unlock()
			counts[status]++
		})
	}
	all.Wait()
	return counts
}

func TestOneCallForTheFleet(t *testing.T) { // I-24
	s := newFleetStage(t, &fleetStage{}, harness.FleetOptions{Replicas: 3}, sharedConfig)
	s.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 200 * time.Millisecond})
	for name, ways := range map[string][]*harness.Envoy{"one Envoy": {s.all}, "three Envoys": s.each} {
		for what, tc := range map[string]struct {
			token string
			want  int
		}{
			"good":     {s.issuer.Opaque("", claims{"sub": "alice", "aud": "api"}), 200},
			"inactive": {"nobody-was-given-this-" + name[:3], 401},
		} {
			before := s.issuer.Calls(devissuer.PathIntrospection)
			got := atOnce(500, func(i int) int { return s.get(ways[i%len(ways)], "/x", bearer(tc.token)) })
			calls := s.issuer.Calls(devissuer.PathIntrospection) - before
			if got[tc.want] != 500 || calls != 1 {
				t.Errorf("%s, %s: got %v and %d introspection calls, want 500 of %d and 1", name, what, got, calls, tc.want)
			}
		}
	}
}

// TestAskingReplicaDies kills the one that asks in the middle of it. Whoever asked it
// gets no answer, and everybody else the right one, after one more call at most.
func TestAskingReplicaDies(t *testing.T) {
	s := newFleetStage(t, &fleetStage{}, harness.FleetOptions{Replicas: 3}, sharedConfig)
	s.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 300 * time.Millisecond})
	for _, tc := range []struct {
		what, token string
		want        int
	}{
		{"good", s.issuer.Opaque("", claims{"sub": "alice", "aud": "api"}), 200},
		{"inactive", "nobody-was-given-this", 401},
	} {
		before := s.issuer.Calls(devissuer.PathIntrospection)
		asks := func() int { return s.issuer.Calls(devissuer.PathIntrospection) - before }
		first := make(chan int, 1)
		go func() { first <- s.get(s.each[0], "/x", bearer(tc.token)) }()
		harness.Eventually(t, "the first replica asks", func() bool { return asks() == 1 })
		killed := make(chan struct{})
		go func() {
			time.Sleep(100 * time.Millisecond)
			s.fleet.Replicas[0].Kill()
			close(killed)
		}()
		got := atOnce(500, func(int) int { return s.get(s.all, "/x", bearer(tc.token)) })
		<-killed
		calls := asks()
		t.Logf("%s: %v, the first one %d, %d introspection calls", tc.what, got, <-first, calls)
		if calls > 2 {
			t.Errorf("%s: got %d introspection calls, want at most 2", tc.what, calls)
		}
		if got[tc.want]+got[503] != 500 || got[tc.want] < 300 {
			t.Errorf("%s: got %v, want %d, or 503 where the dead replica was asked", tc.what, got, tc.want)
		}
		for _, e := range s.each[1:] {
			if got := s.get(e, "/x", bearer(tc.token)); got != tc.want {
				t.Errorf("%s: got %d after that, want %d", tc.what, got, tc.want)
			}
		}
		if asks() != calls {
			t.Errorf("%s: the answer was not kept: got %d calls after %d", tc.what, asks(), calls)
		}
		s.fleet.Replicas[0].Restart(t)
		s.fleet.Replicas[0].Ready(t)
		harness.Eventually(t, "Envoy reaches it again", func() bool { return s.get(s.each[0], "/x", nil) == 401 })
	}
}

func TestOneProofForTheFleet(t *testing.T) { // P-11
	s := newFleetStage(t, &fleetStage{}, harness.FleetOptions{Replicas: 3},
		sharedConfig+"dpop: {origins: [\"https://api.example.com\"]}\n")
	client := devissuer.NewProver()
	token := s.issuer.JWT(claims{"aud": "api", "cnf": devissuer.BoundToKey(client.Thumbprint())})
	const copies = 12
	for n := range 50 {
		proof := client.Proof(http.MethodGet, "https://api.example.com/x", token, nil)
		ways := s.each
		if n%2 == 1 {
			ways = []*harness.Envoy{s.all}
		}
		got := atOnce(copies, func(i int) int { return s.get(ways[i%len(ways)], "/x", dpop(token, proof)) })
		if got[200] != 1 || got[401] != copies-1 {
			t.Errorf("got %v for one proof at all replicas at once, want one 200 and %d times 401", got, copies-1)
		}
		if late := s.get(s.each[n%len(s.each)], "/x", dpop(token, proof)); late != 401 {
			t.Errorf("got %d for the proof later, want 401", late)
		}
	}
}

func TestOneExchangeForTheFleet(t *testing.T) {
	s := newFleetStage(t, &fleetStage{}, harness.FleetOptions{Replicas: 3},
		sharedConfig+"rules: [{name: own, match: {paths: [\"/**\"]}, upstream_token: {audience: [upstream]}}]\n")
	s.issuer.Behave(devissuer.PathToken, devissuer.Behaviour{Delay: 200 * time.Millisecond})
	token := s.issuer.JWT(claims{"sub": "alice", "aud": "api"})
	before := s.issuer.Calls(devissuer.PathToken)
	got := atOnce(300, func(i int) int { return s.get(s.each[i%len(s.each)], "/x", bearer(token)) })
	if calls := s.issuer.Calls(devissuer.PathToken) - before; got[200] != 300 || calls != 1 {
		t.Errorf("got %v and %d calls of the token endpoint, want 300 times 200 and 1", got, calls)
	}
	own := map[string]bool{}
	for _, r := range s.upstream.Take() {
		own[r.Header.Get("Authorization")] = true
	}
	if len(own) != 1 || own["Bearer "+token] {
		t.Errorf("the upstream got %d tokens, want one of its own", len(own))
	}
}

// TestEachForItself: without a store that answers, the fleet is as good as replicas
// that know nothing of each other.
func TestEachForItself(t *testing.T) {
	s := newFleetStage(t, &fleetStage{}, harness.FleetOptions{Replicas: 3}, sharedConfig)
	s.fleet.Store.Kill()
	token := s.issuer.Opaque("", claims{"sub": "alice", "aud": "api"})
	before := s.issuer.Calls(devissuer.PathIntrospection)
	var slowest atomic.Int64
	got := atOnce(300, func(i int) int {
		began := time.Now()
		status := s.get(s.each[i%len(s.each)], "/x", bearer(token))
		for took := int64(time.Since(began)); ; {
			if most := slowest.Load(); took <= most || slowest.CompareAndSwap(most, took) {
				return status
			}
		}
	})
	calls := s.issuer.Calls(devissuer.PathIntrospection) - before
	t.Logf("slowest answer %s", time.Duration(slowest.Load()))
	if got[200] != 300 || calls > 3 {
		t.Errorf("got %v and %d introspection calls, want 300 times 200 and at most 3", got, calls)
	}
	for n, r := range s.fleet.Replicas {
		harness.Eventually(t, fmt.Sprintf("replica %d tells that the store is away", n), func() bool {
			return r.Metric(t, "bearergate_shared_up") == 0
		})
		r.Wait(t, "http://"+r.Admin+"/readyz", http.StatusOK)
	}
}
