package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/test/harness"
)

// What the demo with a store claims, it has found out: one introspection for both
// replicas, and a revocation that the other one keeps.
func TestSharedDemoChecksItself(t *testing.T) {
	store := harness.RedisBinary(t)
	cmd := exec.Command(harness.Binary(t), "demo", "--shared", "--check")
	cmd.Env = append(cmd.Environ(), "ENVOY="+harness.EnvoyBinary(t), "REDIS="+store)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "One introspection served both replicas") {
		t.Errorf("%v\n%s", err, out)
	}
}
