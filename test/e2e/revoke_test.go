package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bearergate/bearergate/test/harness"
)

// TestRevokeAsksNoProxy: the admin token goes to the admin address alone.
func TestRevokeAsksNoProxy(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer proxy.Close()
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte(strings.Repeat("x", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(harness.Binary(t), "revoke", "--issuer=https://auth.example.com", "--sub=alice",
		"--admin=http://gate.invalid", "--admin-token-file="+secret)
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL)
	output, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || asked.Load() != 0 {
		t.Errorf("got status %d (%v), %d requests at the proxy: %s", code, err, asked.Load(), output)
	}
}
