package cluster

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// load asks for decisions without pause, as an Envoy that has one connection.
type load struct {
	end  context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	answers map[string]int // by what came; "allowed" is right
}

// startLoad asks by four connections to target, 50 times a second each.
func startLoad(t *testing.T, target, token string) *load {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	l := &load{end: end, answers: map[string]int{}}
	for range 4 {
		conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		l.done.Go(func() { l.ask(ctx, authv3.NewAuthorizationClient(conn), token) })
	}
	return l
}

func (l *load) ask(ctx context.Context, client authv3.AuthorizationClient, token string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer := check(client, token)
		l.mu.Lock()
		l.answers[answer]++
		l.mu.Unlock()
	}
}

// stop ends the load and returns the answers, by how many came.
func (l *load) stop() map[string]int {
	l.end()
	l.done.Wait()
	return maps.Clone(l.answers)
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
		return "allowed"
	default:
		return fmt.Sprintf("denied: %d %v", response.GetDeniedResponse().GetStatus().GetCode(), response.GetDynamicMetadata())
	}
}
