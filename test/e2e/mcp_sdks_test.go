package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mcpClient returns the command of a client that calls the tools of a resource.
func mcpClient(t *testing.T, language, resource string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join("..", "tools", "mcp-clients.sh"), language)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == 77 {
		t.Skipf("the MCP SDK for %s cannot be had here", language)
	}
	if err != nil {
		t.Fatal(err)
	}
	folder := strings.TrimSpace(string(output))
	if language == "python" {
		return exec.CommandContext(t.Context(), filepath.Join(folder, "bin", "python"), "testdata/mcp-client.py", resource)
	}
	return exec.CommandContext(t.Context(), "node", "testdata/mcp-client.mjs", folder, resource)
}

// What the Go SDK does in TestMCPClientFindsItsWay, those that most clients are
// built with do too. Their packages are fetched, so they run when SERVERS says
// mcp, or all.
func TestMCPClientsOfOtherSDKsFindTheirWay(t *testing.T) {
	if wanted := os.Getenv("SERVERS"); !strings.Contains(","+wanted+",", ",mcp,") && wanted != "all" {
		t.Skip("SERVERS does not name mcp")
	}
	for _, language := range []string{"python", "typescript"} {
		t.Run(language, func(t *testing.T) {
			s := newMCPStage(t)
			output, err := mcpClient(t, language, s.resource).CombinedOutput()
			if got := string(output); err != nil || got != "greet world\ndelete world\n" {
				t.Fatalf("got %v, %s; want the answers of both tools", err, got)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.seen) == 0 {
				t.Error("nothing reached the MCP server")
			}
			for _, h := range s.seen {
				if h.Get("Authorization") != "" || h.Get("X-Auth-Sub") != "alice" {
					t.Errorf("the MCP server got %v (M-11)", h)
				}
			}
		})
	}
}
