package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/test/harness"
)

// browser returns the folder of the modules and the path of Chromium.
func browser(t *testing.T) (modules, chromium string) {
	t.Helper()
	output, err := exec.Command("../tools/browser.sh").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skipf("left out: %s", exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	modules, chromium, _ = strings.Cut(strings.TrimSpace(string(output)), "\n")
	return modules, chromium
}

// TestStatusPageInABrowser: whole without JavaScript, live with it, no rule of axe
// broken in either scheme, nothing asked of anybody else, and what strangers say is
// text.
func TestStatusPageInABrowser(t *testing.T) {
	modules, chromium := browser(t)
	issuer := harness.Issuer(t)
	service := harness.Serve(t, harness.Config(issuer.URL())).Ready(t)
	client := service.Client(t)
	good := issuer.JWT(claims{"aud": "api", "sub": "never-shown-subject"})
	for _, request := range [][2]string{
		{"/orders/1", "Bearer " + good}, {"/orders/1", "Bearer " + good}, {"/orders/2", ""}, {"/x", "Bearer junk"},
		{"/orders/<script>alert(1)</script><img src=https://evil.example/x>", "Bearer never-shown-token"},
	} {
		if _, _, err := harness.Ask(t.Context(), client, request[0], request[1]); err != nil {
			t.Fatal(err)
		}
	}
	shots, err := filepath.Abs("../../.cache/screenshots")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "testdata/browser.mjs", modules, chromium, "http://"+service.Admin, shots, good)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var found struct {
		Violations, Foreign, Console []string
		Dialogs                      int
		Explained, Address           string
		Echoed                       bool
		PlainText                    string
	}
	if err := json.Unmarshal(output, &found); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if len(found.Violations)+len(found.Foreign)+found.Dialogs > 0 {
		t.Errorf("violations %q, requests elsewhere %q, dialogs %d", found.Violations, found.Foreign, found.Dialogs)
	}
	// A browser that looks for an icon finds none.
	found.Console = slices.DeleteFunc(found.Console, func(s string) bool { return strings.Contains(s, "/favicon.ico") })
	if len(found.Console) > 0 {
		t.Errorf("the browser complains: %q", found.Console)
	}
	if !strings.Contains(found.Explained, "bad_request") && !strings.Contains(found.Explained, "allowed") ||
		found.Echoed || strings.Contains(found.Address, "token") {
		t.Errorf("explained: got %q at %s, token shown: %v", found.Explained, found.Address, found.Echoed)
	}
	for _, want := range []string{"Ready", issuer.URL(), "Last refusals", "no_token", "[redacted]"} {
		if !strings.Contains(found.PlainText, want) {
			t.Errorf("without JavaScript: got no %s", want)
		}
	}
	if strings.Contains(found.PlainText, "never-shown") || strings.Contains(service.String(), good) {
		t.Error("a subject or a token is told")
	}
}

// TestProbeAddress: machines ask there, people do not.
func TestProbeAddress(t *testing.T) {
	issuer := harness.Issuer(t)
	probe := harness.Free(t)
	file := filepath.Join(t.TempDir(), "token")
	token := strings.Repeat("t", 32)
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(harness.Config(issuer.URL()), `admin_address: "$ADMIN"`,
		`admin_address: "$ADMIN", probe_address: "`+probe+`", admin_token_file: "`+file+`"`, 1)
	service := harness.Serve(t, config).Ready(t)
	service.Wait(t, "http://"+probe+"/readyz", 200)
	for url, want := range map[string]int{
		"http://" + probe + "/metrics": 200, "http://" + probe + "/livez": 200, "http://" + probe + "/": 404,
		"http://" + service.Admin + "/metrics": 200, "http://" + service.Admin + "/": 401,
	} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", url, resp.StatusCode, want)
		}
	}
	service.Write(t, harness.Config(issuer.URL())) // a reload asks for no token any longer
	service.Wait(t, "http://"+service.Admin+"/", 200)
}
