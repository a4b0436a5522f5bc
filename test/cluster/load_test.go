package cluster

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// load asks for decisions without pause.
type load struct {
	end  context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	answers map[string]int // by what came
}

// Answers. The first two are right, to a good token and to a bad one; the
// others are none, and never let anything through.
const (
	allowed   = "allowed"
	refused   = "refused"
	undecided = "503 of Bearergate"
	unasked   = "503 of Envoy, which could not ask"
)

// startAsking has each question asked 50 times a second, one after the other.
func startAsking(t *testing.T, questions ...func() string) *load {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	l := &load{end: end, answers: map[string]int{}}
	for _, question := range questions {
		l.done.Go(func() { l.ask(ctx, question) })
	}
	return l
}

func (l *load) ask(ctx context.Context, question func() string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer := question()
		l.mu.Lock()
		l.answers[answer]++
		l.mu.Unlock()
	}
}

// soFar returns the answers, by how many came.
func (l *load) soFar() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.answers)
}

// stop ends the load and returns the answers.
func (l *load) stop() map[string]int {
	l.end()
	l.done.Wait()
	return l.soFar()
}

// startLoad asks by four connections to target, as Envoys that have one each.
func startLoad(t *testing.T, target, token string) *load {
	t.Helper()
	questions := make([]func() string, 4)
	for i := range questions {
		conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		client := authv3.NewAuthorizationClient(conn)
		questions[i] = func() string { return check(client, token) }
	}
	return startAsking(t, questions...)
}

// askers is how many requests of the gateway's load may be under way.
const askers = 8

// startGatewayLoad asks by requests to Envoy, each with a token of its own: some
// that the Pods decide themselves, some about which they ask, and as many that
// must be refused.
func startGatewayLoad(t *testing.T, issuer *authServer) *load {
	t.Helper()
	good := func() string { return requestAnswer(issuer.token("orders-api"), http.StatusOK, allowed) }
	asked := func() string { return requestAnswer(issuer.opaque(), http.StatusOK, allowed) }
	wrong := func() string { return requestAnswer(issuer.token("another-api"), http.StatusUnauthorized, refused) }
	return startAsking(t, good, asked, wrong, wrong, good, asked, wrong, wrong)
}

func requestAnswer(token string, want int, right string) string {
	status, header, err := request(context.Background(), token)
	switch {
	case err != nil:
		return err.Error()
	case status == want:
		return right
	case status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
		return undecided // only Bearergate says when to come again
	case status == http.StatusServiceUnavailable:
		return unasked
	default:
		return fmt.Sprintf("got %d, want %d", status, want)
	}
}

// check asks once, for as long as Envoy would wait.
func check(client authv3.AuthorizationClient, token string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	response, err := client.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "api.example.com", Path: "/orders/1", Scheme: "https",
			Headers: map[string]string{"authorization": "Bearer " + token},
		}},
	}})
	switch {
	case err != nil:
		return err.Error()
	case response.GetOkResponse() != nil:
		return allowed
	default:
		return fmt.Sprintf("denied: %d %v", response.GetDeniedResponse().GetStatus().GetCode(), response.GetDynamicMetadata())
	}
}

// allRight wants a good deal of answers, and all of them right.
func allRight(t *testing.T, answers map[string]int) {
	t.Helper()
	rightBut(t, answers, nil)
}

// rightBut wants a good deal of answers, and all of them right but some of those
// that are none.
func rightBut(t *testing.T, answers, most map[string]int) {
	t.Helper()
	t.Logf("answers: %v", answers)
	ok := answers[allowed] >= 100
	for answer, n := range answers {
		ok = ok && (answer == allowed || answer == refused || n <= most[answer])
	}
	if !ok {
		t.Errorf("got answers %v, want at least 100 allowed, no wrong one, and at most %v", answers, most)
		t.Log(envoyStatistics())
	}
}

// envoyStatistics says what Envoy met when it asked Bearergate, if there is one.
func envoyStatistics() string {
	response, err := http.Get("http://127.0.0.1:9901/stats?usedonly&filter=^cluster.bearergate.(upstream|membership|update)")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(content)
}
