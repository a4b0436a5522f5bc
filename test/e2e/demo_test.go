package e2e

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bearergate/bearergate/test/harness"
)

var demoURL = regexp.MustCompile(`http://[0-9.]+:[0-9]+/orders/1`)

// Two demos that start at once get in nobody's way, and a terminal that is
// closed ends one.
func TestTwoDemosAtOnce(t *testing.T) {
	env := []string{"ENVOY=" + harness.EnvoyBinary(t), "TMPDIR=" + t.TempDir()}
	demos := make([]*harness.Process, 2)
	for i := range demos {
		demos[i] = harness.Run(t, env, harness.Binary(t), "demo")
	}
	urls := map[string]bool{}
	for _, d := range demos {
		harness.Eventually(t, "the demo is up", func() bool { return strings.Contains(d.String(), "Stop with Ctrl-C") })
		urls[demoURL.FindString(d.String())] = true
	}
	if len(urls) != 2 || urls[""] {
		t.Errorf("got %v, want two addresses", urls)
	}
	if checked := harness.Run(t, env, harness.Binary(t), "demo", "--check"); !ended(checked) ||
		!strings.Contains(checked.String(), "spoofed") {
		t.Errorf("a third one: %s", checked)
	}
	for _, d := range demos {
		d.Signal(syscall.SIGHUP)
		if !ended(d) {
			t.Error("still runs after SIGHUP")
		}
	}
	left, err := os.ReadDir(strings.TrimPrefix(env[1], "TMPDIR="))
	if err != nil || len(left) != 0 {
		t.Errorf("got %v, %v, want nothing left behind", left, err)
	}
}

// ended waits until a process has ended.
func ended(p *harness.Process) bool {
	select {
	case <-p.Ended():
		return true
	case <-time.After(30 * time.Second):
		return false
	}
}
