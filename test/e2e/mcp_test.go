package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/test/harness"
)

// mcpStage is an MCP server behind Envoy and Bearergate, with the chain and the
// rules of envoy/config.
type mcpStage struct {
	*stage

	resource string
	mu       sync.Mutex
	seen     []http.Header // that the MCP server got
}

func newMCPStage(t *testing.T) *mcpStage {
	t.Helper()
	return newMCPStageOf(t, "mcp-bearergate.yaml")
}

// newMCPStageOf has the rules of that file.
func newMCPStageOf(t *testing.T, file string) *mcpStage {
	t.Helper()
	s := &mcpStage{stage: &stage{issuer: harness.Issuer(t)}}
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	type in struct {
		Name string `json:"name"`
	}
	for _, tool := range []string{"greet", "delete"} {
		mcp.AddTool(server, &mcp.Tool{Name: tool, Description: tool}, func(_ context.Context, _ *mcp.CallToolRequest, args in) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: tool + " " + args.Name}}}, nil, nil
		})
	}
	mcp.AddTool(server, &mcp.Tool{Name: "watch", Description: "watch"}, func(ctx context.Context, r *mcp.CallToolRequest, _ in) (*mcp.CallToolResult, any, error) {
		for n := 1.0; n < 100; n++ { // nobody tells it when the client is gone
			_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: n})
			time.Sleep(50 * time.Millisecond)
		}
		return &mcp.CallToolResult{}, nil, nil
	})
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Header.Clone())
		s.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(upstream.Close)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: harness.Free(t), Upstream: upstream.Listener.Addr().String(),
		Admin: harness.Free(t),
	}
	s.resource = "http://" + a.Listener + "/mcp"
	rules, err := chains.File(file)
	if err != nil {
		t.Fatal(err)
	}
	rules = strings.NewReplacer(
		"127.0.0.1:9191", "$GRPC", "127.0.0.1:9192", "$ADMIN", "https://mcp.example.com/mcp", s.resource,
		"https://auth.example.com", s.issuer.URL()+"\n  insecure_http: true",
		"mcp-gateway", "gate", "${OAUTH_CLIENT_SECRET}", "s3cret",
	).Replace(rules)
	s.service = harness.ServeAt(t, a.Bearergate, harness.Free(t), rules).Ready(t)
	s.envoy = harness.StartEnvoy(t, "mcp.yaml", a, "domains: [mcp.example.com]", `domains: ["127.0.0.1"]`)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/mcp", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	return s
}

// handler is the SDK's own OAuth client; its user consents at once.
func (s *mcpStage) handler(t *testing.T, filter func([]string) []string) auth.OAuthHandler {
	t.Helper()
	h, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: "gate", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "s3cret"}},
		RedirectURL:         "http://127.0.0.1:1/callback",
		ScopeFilter:         filter,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, args.URL, nil)
			if err != nil {
				return nil, err
			}
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp, err := client.Do(req)
			if err != nil {
				return nil, err
			}
			_ = resp.Body.Close()
			location, err := url.Parse(resp.Header.Get("Location"))
			if err != nil || location.Query().Get("code") == "" {
				return nil, errors.New("no code")
			}
			q := location.Query()
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMCPClientFindsItsWay(t *testing.T) { // RFC 9728, M-10…M-15
	harness.OnlyExtAuthz(t, "the counters asked are the binary's, and a module has its own")
	s := newMCPStage(t)
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: s.resource, OAuthHandler: s.handler(t, nil), DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	// First with the scopes of the challenge, then stepping up by the 403.
	for _, tool := range []string{"greet", "delete"} {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{
			Name: tool, Arguments: map[string]any{"name": "world"},
		})
		if err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		if got := result.Content[0].(*mcp.TextContent).Text; got != tool+" world" {
			t.Errorf("got %q", got)
		}
	}
	if got := s.service.Metric(t, `bearergate_checks_total{decision="deny",reason="insufficient_scope"}`); got < 1 {
		t.Errorf("got %v refusals for scope, want the tool delete to need another token", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.seen {
		if h.Get("Authorization") != "" || h.Get("X-Auth-Sub") != "alice" {
			t.Errorf("the MCP server got %v (M-11)", h)
		}
	}
}

// TestMCPServerGetsATokenOfItsOwn: it can call the API behind it in the user's name, and
// has never seen the token that the client uses (M-11).
func TestMCPServerGetsATokenOfItsOwn(t *testing.T) {
	s := newMCPStageOf(t, "mcp-upstream-token.yaml")
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: s.resource, OAuthHandler: s.handler(t, nil), DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	arguments := map[string]any{"name": "world"}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "greet", Arguments: arguments}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.seen {
		token, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
		if state := s.issuer.State(token); !ok || state["aud"] != "https://tickets.example.com" || state["sub"] != "alice" {
			t.Errorf("the MCP server got a token that says %v, want one of alice's for the API behind it", state)
		}
	}
	if len(s.seen) == 0 {
		t.Error("the MCP server got nothing")
	}
}

func TestMCPScopesPerTool(t *testing.T) { // M-15
	s := newMCPStage(t)
	token := s.issuer.JWT(claims{"aud": s.resource, "sub": "alice", "scope": "mcp:read"})
	post := func(version, method, name, tool string) (int, string) {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"name":"x"},"_meta":{"io.modelcontextprotocol/protocolVersion":"` + version + `","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
		req, err := http.NewRequest(http.MethodPost, s.resource, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{
			"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
			"Mcp-Protocol-Version": {version}, "Mcp-Method": {method}, "Mcp-Name": {name},
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
	}
	for name, tc := range map[string]struct {
		version, method, name, tool string
		want                        int
	}{
		"a tool that reads":            {"2026-07-28", "tools/call", "greet", "greet", 200},
		"a tool that writes":           {"2026-07-28", "tools/call", "delete", "delete", 403},
		"header and body differ":       {"2026-07-28", "tools/call", "greet", "delete", 400}, // by the MCP server
		"another method in the header": {"2026-07-28", "tools/list", "greet", "delete", 400},
		"Base64 form":                  {"2026-07-28", "tools/call", "=?base64?ZGVsZXRl?=", "delete", 403},
		"Base64 form of a reader":      {"2026-07-28", "tools/call", "=?base64?Z3JlZXQ=?=", "greet", 403},
		"old version, lying header":    {"2025-11-25", "tools/call", "greet", "delete", 403}, // where servers do not compare
		"no headers":                   {"", "", "", "delete", 403},
		"name with a prefix":           {"2026-07-28", "tools/call", "greetx", "delete", 403},
	} {
		got, challenge := post(tc.version, tc.method, tc.name, tc.tool)
		if got != tc.want {
			t.Errorf("%s: got %d %s, want %d", name, got, challenge, tc.want)
		}
		if got == 403 &&
			(!strings.Contains(challenge, `scope="mcp:read mcp:write"`) || !strings.Contains(challenge, `resource_metadata="`)) {
			t.Errorf("%s: got challenge %s (B-06)", name, challenge)
		}
	}
}

func TestMCPMetadataDocument(t *testing.T) { // M-01…M-04
	harness.OnlyExtAuthz(t, "a module decides first what no route takes")
	s := newMCPStage(t)
	const path = "/.well-known/oauth-protected-resource/mcp"
	resp, body := s.get(t, path, http.Header{"Origin": {"https://browser.example"}})
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Content-Type") != "application/json" ||
		!strings.Contains(body, `"resource":"`+s.resource+`"`) || !strings.Contains(body, s.issuer.URL()) {
		t.Errorf("got %d %v %s", resp.StatusCode, resp.Header, body)
	}
	for _, method := range []string{http.MethodHead, http.MethodOptions} {
		req, err := http.NewRequest(method, s.envoy.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got %d %v", method, resp.StatusCode, resp.Header)
		}
	}
	if resp, _ := s.get(t, "/other", bearer(s.issuer.JWT(claims{"aud": s.resource}))); resp.StatusCode != 404 {
		t.Errorf("elsewhere: got %d, want Envoy's 404", resp.StatusCode)
	}
}
