package attack

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// TestOneClientClosesNothing: in each attack, begun before any good token came,
// at least 95 % of good tokens that nobody has seen before, 20 a second, are
// decided, while the authorization server answers for them (contract §4).
func TestOneClientClosesNothing(t *testing.T) {
	const rate, seconds = 20, 4
	for _, attack := range []struct {
		name      string
		behaviour devissuer.Behaviour
		workers   int
		unknown   bool // it does so for every token that it did not issue, our probe's among them
	}{
		{"answers 500", devissuer.Behaviour{Status: http.StatusInternalServerError}, 1, false},
		{"answers 500", devissuer.Behaviour{Status: http.StatusInternalServerError}, 64, false},
		{"answers 500 to unknown tokens", devissuer.Behaviour{Status: http.StatusInternalServerError}, 64, true},
		{"answers 401 to unknown tokens", devissuer.Behaviour{Status: http.StatusUnauthorized}, 1, true},
		{"answers after 10 s", devissuer.Behaviour{Delay: 10 * time.Second}, 64, false},
		{"answers 429, Retry-After: 15", devissuer.Behaviour{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "15"}}, 1, false},
		{"answers 429, Retry-After: 15", devissuer.Behaviour{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "15"}}, 64, false},
		{"closes the connection", devissuer.Behaviour{Abort: true}, 64, false},
		{"answers 100 KB", devissuer.Behaviour{Status: http.StatusOK, Body: `{"active":true,"x":"` + strings.Repeat("x", 100_000) + `"}`}, 64, false},
		{"answers HTML", devissuer.Behaviour{Status: http.StatusOK, Kind: "text/html", Body: "<html>"}, 64, false},
		{"answers 401", devissuer.Behaviour{Status: http.StatusUnauthorized}, 64, false},
	} {
		t.Run(fmt.Sprintf("%s, %d workers", attack.name, attack.workers), func(t *testing.T) {
			issuer := harness.Issuer(t)
			issuer.BehaveTo("odd", attack.behaviour)
			if attack.unknown {
				issuer.BehaveTo("probe", attack.behaviour)
			}
			service := harness.Serve(t, strings.Replace(harness.Config(issuer.URL()), "debug", "error", 1)).Ready(t)
			client := service.Client(t)
			ctx, stop := context.WithCancel(t.Context())
			var attackers, clients sync.WaitGroup
			for range attack.workers {
				attackers.Go(func() {
					for ctx.Err() == nil {
						_, _, _ = harness.Ask(ctx, client, "/", "Bearer odd"+rand.Text())
					}
				})
			}
			time.Sleep(time.Second)
			if attack.unknown { // it is closed now, until a good token is let through
				harness.Eventually(t, "a good token is decided", func() bool {
					reason, _, _ := harness.Ask(ctx, client, "/", "Bearer "+issuer.Opaque("", claims{"aud": "api"}))
					return reason == "allowed"
				})
			}
			var decided atomic.Int64
			for range rate * seconds {
				token := issuer.Opaque("", claims{"aud": "api"})
				clients.Go(func() {
					if reason, _, _ := harness.Ask(ctx, client, "/", "Bearer "+token); reason == "allowed" {
						decided.Add(1)
					}
				})
				time.Sleep(time.Second / rate)
			}
			clients.Wait()
			stop()
			attackers.Wait()
			share := 100 * float64(decided.Load()) / (rate * seconds)
			t.Logf("%.0f %% of the good tokens were decided", share)
			if share < 95 {
				t.Errorf("%.0f %% of the good tokens were decided, want 95 %%", share)
			}
		})
	}
}
