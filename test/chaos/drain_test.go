package chaos

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // lets the client watch the health service, as Envoy does
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// TestDrain stops one of two replicas under load: no RPC may fail.
func TestDrain(t *testing.T) {
	issuer := harness.Issuer(t)
	settings := strings.Replace(harness.Config(issuer.URL()), `admin_address: "$ADMIN"`,
		`admin_address: "$ADMIN", drain_delay: 2s`, 1)
	settings = strings.Replace(settings, "level: debug", "level: error", 1)
	first, second := harness.Serve(t, settings).Ready(t), harness.Serve(t, settings).Ready(t)
	replicas := manual.NewBuilderWithScheme("replicas")
	replicas.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: first.GRPC}, {Addr: second.GRPC}}})
	conn, err := grpc.NewClient("replicas:///bearergate", grpc.WithResolvers(replicas), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"envoy.service.auth.v3.Authorization"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := &site{issuer: issuer, client: authv3.NewAuthorizationClient(conn)}
	harness.Eventually(t, "a first answer", func() bool { return s.ask(issuer.JWT(claims{"aud": "api"})) == "allowed" })

	ctx, cancel := context.WithCancel(t.Context())
	var c tally
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				c.note("JWT", s.ask(issuer.JWT(claims{"aud": "api"})), "allowed", nil)
				c.note("opaque token", s.ask(issuer.Opaque("", claims{"aud": "api"})), "allowed", nil)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	first.Signal(syscall.SIGTERM)
	began := time.Now()
	select {
	case <-first.Ended():
		t.Logf("drained in %s", time.Since(began))
	case <-time.After(15 * time.Second):
		t.Error("the drained replica did not end")
	}
	if err := first.Stop(); err != nil {
		t.Errorf("exit status: %v, want 0 after a clean drain", err)
	}
	time.Sleep(300 * time.Millisecond)
	cancel()
	all.Wait()
	if c.right.Load() != c.requests.Load() || c.requests.Load() == 0 {
		t.Errorf("got %d right answers of %d: %v", c.right.Load(), c.requests.Load(), c.wrong)
	}
	t.Logf("%d requests, %d failed", c.requests.Load(), c.requests.Load()-c.right.Load())
}

// TestIsolation makes one of two issuers hang: the other's answers and their
// latency stay as they were.
func TestIsolation(t *testing.T) {
	one, two := harness.Issuer(t), harness.Issuer(t)
	service := harness.Serve(t, `server: {grpc_address: "$GRPC", admin_address: "$ADMIN"}
log: {level: error}
issuers:
  - {issuer: "`+one.URL()+`", audience: api, token_validation: both, client_id: gate, client_secret: s3cret, insecure_http: true, opaque_token_prefix: one_}
  - {issuer: "`+two.URL()+`", audience: api, token_validation: both, client_id: gate, client_secret: s3cret, insecure_http: true, opaque_token_prefix: two_}
`).Ready(t)
	client := service.Client(t)
	measure := func() time.Duration {
		began := time.Now()
		for range 100 {
			if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+two.Opaque("two_", claims{"aud": "api"})); err != nil || reason != "allowed" {
				t.Fatalf("got %s, %v", reason, err)
			}
		}
		return time.Since(began) / 100
	}
	before := measure()
	one.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range 200 {
		flood.Go(func() {
			for ctx.Err() == nil {
				reason, _, err := harness.Ask(ctx, client, "/", "Bearer "+one.Opaque("one_", claims{"aud": "api"}))
				if err == nil && reason != "unavailable" {
					t.Errorf("the hanging issuer: got %s", reason)
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	after := measure()
	cancel()
	flood.Wait()
	t.Logf("one call for the healthy issuer: %s before, %s while the other hangs", before, after)
	if after > 20*before+50*time.Millisecond { // generous: the machine is busy with the flood
		t.Errorf("got %s, %s before the other issuer hung", after, before)
	}
}

// TestDrainAnswersWhatIsUnderWay stops a service while an introspection hangs: at
// the end of shutdown_timeout the request is answered 503, not dropped.
func TestDrainAnswersWhatIsUnderWay(t *testing.T) { // E-06
	issuer := harness.Issuer(t)
	settings := strings.Replace(harness.Config(issuer.URL()), `admin_address: "$ADMIN"`, `admin_address: "$ADMIN", shutdown_timeout: 500ms`, 1) + "  request_timeout: 3s\n"
	service := harness.Serve(t, settings).Ready(t)
	client := service.Client(t)
	issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 20 * time.Second})
	answer := make(chan string, 1)
	go func() {
		reason, _, err := harness.Ask(context.Background(), client, "/", "Bearer opaque")
		if err != nil {
			reason = err.Error()
		}
		answer <- reason
	}()
	harness.Eventually(t, "the call is under way", func() bool { return issuer.Calls(devissuer.PathIntrospection) == 1 })
	service.Signal(syscall.SIGTERM)
	if got := <-answer; got != "unavailable" {
		t.Errorf("got %s, want unavailable", got)
	}
	if err := service.Stop(); err != nil {
		t.Errorf("exit status: %v", err)
	}
}
