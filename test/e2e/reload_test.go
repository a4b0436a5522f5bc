package e2e

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bearergate/bearergate/test/harness"
)

func TestReloadOfServerSettings(t *testing.T) {
	issuer := harness.Issuer(t)
	settings := func(level, address string) string {
		config := strings.Replace(harness.Config(issuer.URL()), "level: debug", "level: "+level, 1)
		return strings.Replace(config, "$GRPC", address, 1)
	}
	service := harness.Serve(t, settings("error", "$GRPC")).Ready(t)
	client := service.Client(t)
	deny := func() {
		if reason, _, err := harness.Ask(t.Context(), client, "/", ""); err != nil || reason != "no_token" {
			t.Errorf("got %s, %v", reason, err)
		}
	}
	deny()
	if strings.Contains(service.String(), "no_token") {
		t.Error("a deny was logged at level error")
	}
	service.Write(t, settings("info", "127.0.0.1:1"))
	service.Signal(syscall.SIGHUP)
	harness.Eventually(t, "the new level holds", func() bool {
		deny()
		return strings.Contains(service.String(), `"reason":"no_token"`)
	})
	if !strings.Contains(service.String(), "grpc_address changed: restart") {
		t.Errorf("the changed address is not logged:\n%s", service)
	}
}

// A typo in the issuer is a valid configuration. Used at once it would refuse
// every good token as one of a wrong issuer.
func TestTypoInTheIssuerRefusesNoGoodToken(t *testing.T) {
	issuer := harness.Issuer(t)
	good := harness.Config(issuer.URL())
	typo := strings.Replace(good, issuer.URL(), issuer.URL()+"/relm", 1)
	service := harness.Serve(t, good).Ready(t)
	client := service.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	var asked atomic.Int64
	for range 2 {
		load.Go(func() {
			for ctx.Err() == nil {
				token := issuer.JWT(claims{"aud": "api"})
				if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+token); err != nil || reason != "allowed" {
					t.Errorf("got %s, %v; want allowed", reason, err)
					return
				}
				asked.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	service.Write(t, typo)
	harness.Eventually(t, "the new configuration waits", func() bool {
		return service.Metric(t, "bearergate_config_pending") == 1 && strings.Contains(service.String(), "changed configuration waits for its issuers")
	})
	before := asked.Load()
	harness.Eventually(t, "requests while it waits", func() bool { return asked.Load() > before+100 })
	service.Wait(t, "http://"+service.Admin+"/readyz", http.StatusOK)
	if got := page(t, service, "/", http.StatusOK); !strings.Contains(got, "A new configuration waits") || !strings.Contains(got, "/relm") {
		t.Errorf("got the status page %s, want what waits on it", got)
	}
	service.Write(t, good)
	harness.Eventually(t, "nothing waits", func() bool { return service.Metric(t, "bearergate_config_pending") == 0 })
	service.Write(t, strings.Replace(typo, "server: {", "server: {reload_grace: 3s, ", 1))
	harness.Eventually(t, "it waits again", func() bool { return service.Metric(t, "bearergate_config_pending") == 1 })
	time.Sleep(2 * time.Second)
	cancel()
	load.Wait()
	// After the grace the file is taken at its word.
	harness.Eventually(t, "it is used after the grace", func() bool {
		reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+issuer.JWT(claims{"aud": "api"}))
		return err == nil && reason == "wrong_issuer"
	})
	if !strings.Contains(service.String(), "changed configuration is used although its issuers cannot be decided") {
		t.Errorf("got no line about it:\n%s", service)
	}
}
