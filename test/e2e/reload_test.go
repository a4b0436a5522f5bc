package e2e

import (
	"strings"
	"syscall"
	"testing"

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
