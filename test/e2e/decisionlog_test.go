package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/test/harness"
)

// joined are the lines that tell of one request: Envoy's and Bearergate's.
type joined struct{ access, decision map[string]any }

// join finds the pairs by decision_id, in the order of the access log.
func join(t *testing.T, access, decisions string) []joined {
	t.Helper()
	byID := map[any]map[string]any{}
	for line := range strings.Lines(decisions) {
		var d map[string]any
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		byID[d["decision_id"]] = d
	}
	var all []joined
	for line := range strings.Lines(access) {
		var a map[string]any
		if json.Unmarshal([]byte(line), &a) != nil {
			continue // Envoy says other things on the same stream
		}
		if d := byID[a["decision_id"]]; d != nil {
			all = append(all, joined{a, d})
		}
	}
	return all
}

// TestDecisionLogJoinsTheAccessLog: what the shipped chain writes of a request, and why
// it was decided so, have one ID; and a file that is moved away loses no line.
func TestDecisionLogJoinsTheAccessLog(t *testing.T) {
	harness.OnlyExtAuthz(t, "the SIGHUP that opens the log anew goes to the binary, and is Envoy's in a module")
	path := filepath.Join(t.TempDir(), "decisions.log")
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+rules+
		"telemetry: {decision_log: {output: '"+path+"', allows: 1}}\n").Ready(t)
	s.envoy = harness.Gateway(t, s.service.GRPC, s.upstream.Address)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/closed", nil)
		return resp.StatusCode == http.StatusForbidden
	})
	written := func(name, reason string) func() bool {
		return func() bool {
			content, _ := os.ReadFile(name) // it may not be there yet
			return strings.Contains(string(content), `"reason":"`+reason+`"`)
		}
	}
	token := s.jwt(nil)
	s.get(t, "/public/a", nil)
	s.get(t, "/orders/1?page=verysecret", bearer(token))
	s.get(t, "/orders/2", bearer(token))
	harness.Eventually(t, "it is written", written(path, "allowed"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.service.Write(t, "no configuration") // which is no reason to write where nobody looks
	s.service.Signal(syscall.SIGHUP)
	harness.Eventually(t, "the file is made again", func() bool { _, err := os.Stat(path); return err == nil })
	s.get(t, "/write", bearer(token))
	s.get(t, "/orders/3", nil)
	harness.Eventually(t, "it is written", written(path, "no_token"))
	_ = s.envoy.Stop() // which has it write the access log
	var decisions string
	for _, name := range []string{path + ".1", path} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		decisions += string(content)
	}

	var got []string
	for _, one := range join(t, s.envoy.String(), decisions) {
		access, decision := one.access, one.decision
		if decision["reason"] == "forbidden" {
			continue // while it started
		}
		if access["request_id"] != decision["request_id"] || access["reason"] != decision["reason"] {
			t.Errorf("got %v and %v, want one request", access, decision)
		}
		text := func(name string) string { value, _ := decision[name].(string); return value }
		got = append(got, strings.Join([]string{
			fmt.Sprint(access["status"]), text("decision"), text("reason"), text("rule"), text("path"), text("client_id"), text("cache"),
		}, " "))
	}
	want := []string{
		"200 allow public public /public/a  none",
		"200 allow allowed  /orders/1 app miss",
		"200 allow allowed  /orders/2 app hit",
		"403 deny insufficient_scope write /write  hit",
		"401 deny no_token  /orders/3  none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("joined lines (-want +got):\n%s\n%s\n%s", diff, s.envoy, decisions)
	}
	for _, secret := range []string{"alice", "verysecret", token} {
		if strings.Contains(decisions, secret) {
			t.Errorf("got %q in %s", secret, decisions)
		}
	}
	if dropped := s.service.Metric(t, "bearergate_decision_log_dropped_total"); dropped != 0 {
		t.Errorf("got %v dropped, want none", dropped)
	}
}
