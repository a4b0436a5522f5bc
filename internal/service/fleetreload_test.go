package service_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

// without is the end of a configuration of a replica that is alone.
const without = "revocation: {keep: 1h}\n"

// TestReloadWithoutTheStoreThatWasNotRead: who takes a store away that never came is not
// left to wait for it.
func TestReloadWithoutTheStoreThatWasNotRead(t *testing.T) {
	as, store := newIssuer(t), startRedis(t)
	store.stop()
	svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", ""))
	t.Cleanup(svc.Close)
	if err := svc.Apply(configuration(t, as.URL(), sharing(t, store))); err != nil {
		t.Fatal(err)
	}
	if svc.Ready() == nil {
		t.Fatal("got ready, want to wait for the store")
	}
	if err := svc.Apply(configuration(t, as.URL(), without)); err != nil {
		t.Fatal(err)
	}
	soon(t, 10*time.Second, "it is ready", func() bool { return svc.Ready() == nil })
	if got := reason(t, svc, as.JWT(claims{"sub": "alice", "aud": "api"})); got != "allowed" {
		t.Errorf("got %s", got)
	}
}

// TestRevocationsGoToANewStore: what a replica knows it tells to whoever shares the store
// that it is given, or that takes the place of another.
func TestRevocationsGoToANewStore(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), without))
	token := as.JWT(claims{"sub": "alice", "aud": "api", "iat": time.Now().Add(-time.Minute).Unix()})
	revokeSub(t, svc, as.URL(), "alice")
	for range 2 {
		more := sharing(t, startRedis(t))
		if err := svc.Apply(configuration(t, as.URL(), more)); err != nil {
			t.Fatal(err)
		}
		ready(t, svc)
		other := newService(t, configuration(t, as.URL(), more))
		soon(t, 5*time.Second, "the other one knows", func() bool { return reason(t, other, token) == "revoked" })
	}
}

// TestFirstSightSurvivesAReload: a token without iat is as old as it was, whatever else
// of its issuer has changed.
func TestFirstSightSurvivesAReload(t *testing.T) {
	as := newIssuer(t)
	svc := newService(t, configuration(t, as.URL(), without))
	token := as.JWT(claims{"sub": "alice", "aud": "api", "iat": nil})
	if got := reason(t, svc, token); got != "allowed" {
		t.Fatalf("got %s", got)
	}
	revokeSub(t, svc, as.URL(), "alice")
	time.Sleep(5 * time.Millisecond)
	keys := "client_id: gate, client_secret: s3cret, jwks_uri: '" + as.URL() + "/jwks'"
	if err := svc.Apply(configurationOf(t, as.URL(), keys, without)); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	if got := reason(t, svc, token); got != "revoked" {
		t.Errorf("got %s", got)
	}
}

// TestRevocationsOfOtherIssuersLeaveNoSeries: replicas whose configurations differ share
// what is revoked, and not the labels of their metrics.
func TestRevocationsOfOtherIssuersLeaveNoSeries(t *testing.T) {
	here, there := newIssuer(t), newIssuer(t)
	more := sharing(t, startRedis(t))
	other := newService(t, configuration(t, there.URL(), more))
	ready(t, other)
	revokeSub(t, other, there.URL(), "alice")

	counted := metrics.New("test", "")
	svc := service.New(slog.New(slog.DiscardHandler), counted)
	t.Cleanup(svc.Close)
	if err := svc.Apply(configuration(t, here.URL(), more)); err != nil {
		t.Fatal(err)
	}
	ready(t, svc)
	revokeSub(t, svc, here.URL(), "bob")
	revokeSub(t, other, there.URL(), "carol")
	soon(t, 5*time.Second, "all three are known", func() bool { return svc.Fleet().Entries == 3 })
	page := httptest.NewRecorder()
	counted.Handler(svc).ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if got := page.Body.String(); strings.Contains(got, there.URL()) ||
		!strings.Contains(got, `bearergate_revocations_total{issuer="`+here.URL()+`",source="admin"} 1`) {
		t.Errorf("got series of an issuer that is not configured, or none of one that is: %s", got)
	}
}

// TestReloadOfTheStoreUnderLoad: while one store takes the place of another, both answer,
// and nobody who needs one is refused.
func TestReloadOfTheStoreUnderLoad(t *testing.T) {
	as := newIssuer(t)
	more := "dpop: {}\n" + sharing(t, startRedis(t))
	svc := newService(t, configuration(t, as.URL(), more))
	ready(t, svc)
	prover := devissuer.NewProver()
	token := as.JWT(claims{"aud": "api", "cnf": claims{"jkt": prover.Thumbprint()}})
	var work sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				proof := prover.Proof("GET", "https://api.example.com/orders/1", token, nil)
				if got, _ := answered(t, svc, prove(token, proof)); got != "allowed" {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	for n := range 5 {
		other := strings.Replace(more, "timeout: 2s", fmt.Sprintf("timeout: %dms", 1900+n), 1)
		if err := svc.Apply(configuration(t, as.URL(), other)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	close(done)
	work.Wait()
}
