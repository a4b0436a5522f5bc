package service_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

const orders = "https://api.example.com/orders/1"

// prove is a request with a token that is bound to the key of its proof.
func prove(token, proof string) *authv3.CheckRequest {
	request := check("")
	http := request.Attributes.Request.Http
	http.Scheme = "https"
	http.Headers["authorization"], http.Headers["dpop"] = "DPoP "+token, proof
	return request
}

// answered returns the reason, and the nonce that the client is given.
func answered(t testing.TB, svc *service.Service, request *authv3.CheckRequest) (reason, nonce string) {
	t.Helper()
	response, err := svc.Checks().Check(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range append(response.GetDeniedResponse().GetHeaders(), response.GetOkResponse().GetResponseHeadersToAdd()...) {
		if h.GetHeader().GetKey() == "dpop-nonce" {
			nonce = h.GetHeader().GetValue()
		}
	}
	return response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), nonce
}

// TestNoReloadForgetsAProof, whatever it changes, one that switches DPoP off for a while
// included: who has stolen a proof must not be able to wait for one.
func TestNoReloadForgetsAProof(t *testing.T) {
	as, client := newIssuer(t), devissuer.NewProver()
	with := func(more string) string { return rules + more }
	svc := newService(t, configuration(t, as.URL(), with("dpop: {}\n")))
	token := as.JWT(claims{"sub": "alice", "aud": "api", "scope": "orders:read", "cnf": claims{"jkt": client.Thumbprint()}})
	proof := client.Proof("GET", orders, token, nil)
	if got, _ := answered(t, svc, prove(token, proof)); got != "allowed" {
		t.Fatalf("got %s, want allowed", got)
	}
	for _, more := range []string{"dpop: {}\n", "dpop: {max_age: 5m}\n", "dpop: {nonce: off, replay_entries: 1000}\n", "", "dpop: {}\n"} {
		if err := svc.Apply(configuration(t, as.URL(), with(more))); err != nil {
			t.Fatal(err)
		}
		want := "invalid_proof"
		if more == "" {
			want = "no_token"
		}
		if got, _ := answered(t, svc, prove(token, proof)); got != want {
			t.Errorf("after a reload to %q: got %s, want %s", more, got, want)
		}
		if n := svc.Proofs(); n != 1 {
			t.Errorf("after a reload to %q: got %d proofs, want one", more, n)
		}
	}
}

// TestNoncesOutliveAReload, whatever it changes: a client need not begin anew.
func TestNoncesOutliveAReload(t *testing.T) {
	as, client := newIssuer(t), devissuer.NewProver()
	const section = "dpop: {nonce: required}\n"
	svc := newService(t, configuration(t, as.URL(), rules+section))
	token := as.JWT(claims{"aud": "api", "scope": "orders:read", "cnf": claims{"jkt": client.Thumbprint()}})
	got, nonce := answered(t, svc, prove(token, client.Proof("GET", orders, token, nil)))
	if got != "use_nonce" || nonce == "" {
		t.Fatalf("got %s with nonce %q, want use_nonce with one", got, nonce)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, after := range []string{
		section + "realm: other\n",
		"dpop: {nonce: required, max_age: 5m}\n",
		"dpop: {nonce: required, nonce_key_file: '" + file + "'}\n",
	} {
		if err := svc.Apply(configuration(t, as.URL(), rules+after)); err != nil {
			t.Fatal(err)
		}
		proof := client.Proof("GET", orders, token, claims{"nonce": nonce})
		if got, _ := answered(t, svc, prove(token, proof)); got != "allowed" {
			t.Errorf("after a reload to %q: got %s, want the nonce of before to count", after, got)
		}
	}
}

// TestNonceKeyFile is the same on every replica; what cannot be used is refused at load.
func TestNonceKeyFile(t *testing.T) {
	as, client := newIssuer(t), devissuer.NewProver()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := configuration(t, as.URL(), rules+"dpop: {nonce: required, nonce_key_file: '"+file+"'}\n")
	one, other := newService(t, cfg), newService(t, cfg)
	token := as.JWT(claims{"aud": "api", "scope": "orders:read", "cnf": claims{"jkt": client.Thumbprint()}})
	_, nonce := answered(t, one, prove(token, client.Proof("GET", orders, token, nil)))
	proof := client.Proof("GET", orders, token, claims{"nonce": nonce})
	if got, _ := answered(t, other, prove(token, proof)); got != "allowed" {
		t.Errorf("got %s, want the nonce of another replica to count", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	fresh := service.New(slog.New(slog.DiscardHandler), metrics.New("test", "test"))
	defer fresh.Close()
	if err := fresh.Apply(cfg); err == nil || !strings.Contains(err.Error(), "dpop") {
		t.Errorf("got %v, want an error of dpop", err)
	}
}

// TestProofsAreCountedAndNeverLogged (docs/contract.md §8).
func TestProofsAreCountedAndNeverLogged(t *testing.T) {
	as, client := newIssuer(t), devissuer.NewProver()
	var mu sync.Mutex
	var results []string
	var log strings.Builder
	svc := service.New(
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), metrics.New("test", "test"),
		service.Observers{Proofs: func(result string) {
			mu.Lock()
			defer mu.Unlock()
			results = append(results, result)
		}})
	if err := svc.Apply(configuration(t, as.URL(), rules+"dpop: {}\n")); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	token := as.JWT(claims{"aud": "api", "scope": "orders:read", "cnf": claims{"jkt": client.Thumbprint()}})
	good := client.Proof("GET", orders, token, nil)
	wrong := client.Proof("POST", orders, token, nil)
	for _, proof := range []string{good, good, wrong, "nonsense-proof", devissuer.NewProver().Proof("GET", orders, token, nil)} {
		answered(t, svc, prove(token, proof))
	}
	svc.Close() // nobody writes to the log any more
	if got, want := strings.Join(results, " "), "accepted replayed invalid invalid invalid"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, part := range append(strings.Split(good+"."+wrong+"."+token, "."), "nonsense-proof") {
		if strings.Contains(log.String(), part) {
			t.Errorf("got %s in the log", part)
		}
	}
	if !strings.Contains(log.String(), "reason=invalid_proof") {
		t.Errorf("got no line of a wrong proof in %s", log.String())
	}
}

// BenchmarkProof is a Check with a proof of its own each time, next to
// BenchmarkCheck/cached/jwt.
func BenchmarkProof(b *testing.B) {
	as, client := newIssuer(b), devissuer.NewProver()
	svc := newService(b, configuration(b, as.URL(), rules+"dpop: {replay_entries: 100000000}\n"))
	token := as.JWT(claims{"sub": "alice", "aud": "api", "client_id": "app", "scope": "orders:read", "cnf": claims{"jkt": client.Thumbprint()}})
	requests := make([][]byte, b.N)
	for n := range requests {
		var err error
		if requests[n], err = proto.Marshal(prove(token, client.Proof("GET", orders, token, nil))); err != nil {
			b.Fatal(err)
		}
	}
	room := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	b.ResetTimer()
	defer reportCPU(b)()
	for _, request := range requests {
		if _, err := svc.Checks().Answer(context.Background(), request, room[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
