package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mcpClient returns the command of a client that calls the tools of a resource.
func mcpClient(t *testing.T, language, resource string, more ...string) *exec.Cmd {
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
	arguments := append([]string{"testdata/mcp-client.mjs", folder, resource}, more...)
	return exec.CommandContext(t.Context(), "node", arguments...)
}

// The steps of a client, as it prints them: what the challenge told it, what it
// asked the authorization server for, and the answers of the tools. R is the
// resource, which both requests of the code flow name (RFC 8707).
const (
	readAlone = `401 mcp:read
authorize mcp:read R
token authorization_code R
`
	greeted = "greet world\n"
	stepUp  = `403 insufficient_scope mcp:read mcp:write
authorize mcp:read mcp:write R
token authorization_code R
`
	deleted = "delete world\n"
	// A client of a protocol before 2026-07-28 names no tool in a header, so every
	// request of it needs both scopes (M-15). Its user consents to one at first.
	readAloneOfTwo = `401 mcp:read mcp:write
authorize mcp:read mcp:write R
token authorization_code R
`
)

// What the Go SDK does in TestMCPClientFindsItsWay, those that most clients are
// built with do too: from the challenge of a 401 to a token for this resource,
// and from that of a 403 to one with more scopes. Their packages are fetched, so
// they run when SERVERS says mcp, or all.
func TestMCPClientsOfOtherSDKsFindTheirWay(t *testing.T) {
	if wanted := os.Getenv("SERVERS"); !strings.Contains(","+wanted+",", ",mcp,") && wanted != "all" {
		t.Skip("SERVERS does not name mcp")
	}
	for _, tc := range []struct {
		name, language string
		more           []string
		want           string
	}{
		{"python", "python", nil, readAlone + greeted + stepUp + deleted},
		{"typescript 1", "typescript", []string{"sdk"}, readAloneOfTwo + stepUp + greeted + deleted},
		{"typescript 2", "typescript", []string{"client"}, readAlone + greeted + stepUp + deleted},
		{
			"typescript 2 with a refresh token", "typescript", []string{"client", "refresh"},
			readAlone + greeted + stepUp + deleted,
		},
		{
			// Version 1 does not step up while it holds a refresh token: it refreshes,
			// which brings the same scopes again, and gives up.
			"typescript 1 with a refresh token", "typescript", []string{"sdk", "refresh"},
			readAloneOfTwo + `403 insufficient_scope mcp:read mcp:write
token refresh_token R
403 insufficient_scope mcp:read mcp:write
Streamable HTTP error: Server returned 403 after trying upscoping
`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newMCPStage(t)
			client := mcpClient(t, tc.language, s.resource, tc.more...)
			client.Stderr = os.Stderr
			output, err := client.Output()
			got := strings.ReplaceAll(string(output), s.resource, "R")
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Fatalf("got %v and other steps (-want +got):\n%s", err, diff)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.seen) == 0 && strings.Contains(tc.want, greeted) {
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
