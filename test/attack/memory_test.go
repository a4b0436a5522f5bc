package attack

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/bearergate/bearergate/test/harness"
)

// chartLimit is resources.limits.memory of the chart.
const chartLimit = 512 << 20

// peak returns the most memory that the process had resident.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc to read the memory of a process from")
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var kilobytes int64
		if _, err := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestLargeChecksAreBounded has 600 Checks of 0.9 MB come, 300 at once, on
// 20 connections, to a service of the chart's size.
func TestLargeChecksAreBounded(t *testing.T) {
	issuer := harness.Issuer(t)
	service := harness.ServeRelease(t, chartLimit, harness.Config(issuer.URL())).Ready(t)
	large := map[string]string{
		"authorization": "Bearer " + issuer.JWT(claims{"aud": "api"}), "x-large": strings.Repeat("x", 900_000),
	}
	request := harness.Check("GET", "api.example.com", "/", large, nil)
	var clients []authv3.AuthorizationClient
	for range 20 {
		conn, err := grpc.NewClient(service.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		clients = append(clients, authv3.NewAuthorizationClient(conn))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var allowed, unavailable, late atomic.Int64
	many(600, 300, func(i int) {
		response, err := clients[i%len(clients)].Check(ctx, request)
		switch {
		case status.Code(err) == codes.DeadlineExceeded: // two cores do not move it all in time
			late.Add(1)
		case err != nil:
			t.Errorf("got %v", err)
		case harness.Allowed(response):
			allowed.Add(1)
		case harness.Reason(response) == "unavailable":
			unavailable.Add(1)
		default:
			t.Errorf("got %s", harness.Reason(response))
		}
	})
	most := peak(t, service.PID())
	t.Logf("%d allowed, %d unavailable, %d late, at most %d MiB resident", allowed.Load(), unavailable.Load(),
		late.Load(), most>>20)
	if most > chartLimit || allowed.Load() < 300 {
		t.Errorf("%d allowed, at most %d MiB resident, want at most %d", allowed.Load(), most>>20, chartLimit>>20)
	}
	if reason, _, err := harness.Ask(t.Context(), service.Client(t), "/", large["authorization"]); err != nil ||
		reason != "allowed" {
		t.Errorf("after it: got %s, %v", reason, err)
	}
}

// TestSendersThatNeverFinish hold no room for ever.
func TestSendersThatNeverFinish(t *testing.T) {
	issuer := harness.Issuer(t)
	service := harness.Serve(t, harness.Config(issuer.URL())).Ready(t)
	conn, err := grpc.NewClient(service.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	for range 200 { // each takes room for the largest message
		if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, authv3.Authorization_Check_FullMethodName); err != nil {
			t.Fatal(err)
		}
	}
	token := "Bearer " + issuer.JWT(claims{"aud": "api"})
	client := service.Client(t)
	harness.Eventually(t, "a good Check is decided", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reason, _, err := harness.Ask(ctx, client, "/", token)
		if err != nil {
			t.Fatal(err) // the answer comes within the deadline, whatever it is
		}
		return reason == "allowed"
	})
}

// TestTokensOfManyClaims floods the cache of a service of the chart's size with
// tokens of 11 KB of claims.
func TestTokensOfManyClaims(t *testing.T) {
	const tokens = 12_000
	issuer := harness.Issuer(t)
	service := harness.ServeRelease(t, chartLimit, harness.Config(issuer.URL())).Ready(t)
	groups := make([]string, 400)
	for i := range groups {
		groups[i] = rand.Text()
	}
	client := service.Client(t)
	many(tokens, 8, func(int) {
		token := issuer.JWT(claims{"aud": "api", "groups": groups})
		if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+token); err != nil || reason != "allowed" {
			t.Errorf("got %s, %v", reason, err)
		}
	})
	most := peak(t, service.PID())
	entries := service.Metric(t, `bearergate_cache_entries{cache="jwt"}`)
	t.Logf("%d tokens of 11 KB of claims: %.0f entries, at most %d MiB resident", tokens, entries, most>>20)
	if most > chartLimit || entries < 1000 {
		t.Errorf("%.0f entries, at most %d MiB resident, want at most %d", entries, most>>20, chartLimit>>20)
	}
}
