// Package module proves that Bearergate in Envoy's own process decides as it does over
// gRPC, and that neither clients nor its own mistakes can hurt Envoy.
package module

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

type claims = devissuer.Claims

// long is for the long form of the tests: MODULE=long.
func long(short, long int) int {
	if os.Getenv("MODULE") == "long" {
		return long
	}
	return short
}

const rules = `realm: differential
resources: [{resource: "https://api.example.com/mcp", scopes_supported: [mcp]}]
dpop: {}
mtls: {}
rules:
  - {name: public, match: {paths: ["/public/**"]}, access: public}
  - {name: maybe, match: {paths: ["/maybe/**"]}, access: optional}
  - {name: closed, match: {paths: ["/closed"]}, access: deny}
  - {name: write, match: {paths: ["/write"], methods: [POST, PUT]}, scopes: [orders:write]}
  - {name: tenant, match: {paths: ["/tenant/**"]}, when: 'request.headers["x-tenant"] == claims.tenant'}
  - {name: shadow, match: {paths: ["/shadow/**"]}, scopes: [never], enforce: false}
  - {name: step, match: {paths: ["/step"]}, acr_values: [gold], max_age: 5m}
  - {name: stream, match: {paths: ["/stream/**"]}, stream_until_expiry: true}
  - {name: bound, match: {paths: ["/bound/**"]}, token_binding: dpop}
  - {name: cert, match: {paths: ["/cert/**"]}, token_binding: mtls}
  - {name: named, scopes: [named]}
  - {name: hosts, match: {hosts: [other.example.com]}, scopes: [other]}
`

const everything = "                        - match: {prefix: /}\n                          route: {cluster: upstream}"

// route is one with context_extensions.
func route(prefix, extensions string) string {
	return "                        - match: {prefix: " + prefix + "}\n" +
		"                          route: {cluster: upstream}\n" +
		"                          typed_per_filter_config:\n" +
		"                            envoy.filters.http.ext_authz:\n" +
		`                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute` + "\n" +
		"                              " + extensions + "\n"
}

// changes are those to envoy.yaml.
func changes() []string {
	keys := func(keys string) string { return "check_settings: {context_extensions: {" + keys + "}}" }
	routes := route("/routed/named", keys("bearergate.rule: named")) +
		route("/routed/scopes", keys(`bearergate.scopes: "a b"`)) +
		route("/routed/audience", keys("bearergate.audience: other")) +
		route("/routed/issuer", keys(`bearergate.issuer: "https://nobody.example.com"`)) +
		route("/routed/typo", keys("bearergate.scope: a")) +
		route("/routed/empty", keys(`bearergate.scopes: ""`)) +
		route("/routed/off", "disabled: true")
	return []string{
		everything, routes + everything,
		"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW",
		`method: "%REQ(:METHOD)%"`, `n: "%REQ(X-N)%"` + "\n                          told: \"%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%\"",
		"- {exact: dpop, ignore_case: true}", "- {exact: dpop, ignore_case: true}\n                          - {exact: x-tenant}",
	}
}

// stage is one service, and an Envoy in front of each of its doors.
type stage struct {
	issuer   *devissuer.Issuer
	service  *harness.Service
	upstream string

	outside, inside *harness.Envoy
	admin           string // of the module
}

// seen answers with the request as the upstream sees it.
var seenHandler = http.HandlerFunc(seen)

func seen(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Upstream", "yes")
	_ = json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "uri": r.RequestURI, "host": r.Host, "header": r.Header})
}

func newStage(t *testing.T, upstream http.Handler, config string, outside bool, flags ...string) *stage {
	t.Helper()
	server := httptest.NewServer(upstream)
	t.Cleanup(server.Close)
	s := &stage{issuer: harness.Issuer(t), upstream: server.Listener.Addr().String(), admin: harness.Free(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+config).Ready(t)
	a := chains.Addresses{Listener: harness.Free(t), Bearergate: s.service.GRPC, Upstream: s.upstream, Admin: harness.Free(t)}
	if outside {
		s.outside = harness.StartEnvoy(t, "envoy.yaml", a, changes()...)
	}
	a.Listener, a.Admin = harness.Free(t), harness.Free(t)
	s.inside = harness.StartInside(t, "envoy.yaml", a, s.service.ConfigFile, s.admin, flags, changes()...)
	s.inside.Wait(t, "http://"+s.admin+"/readyz", http.StatusOK)
	return s
}

// answer is what a client gets.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// client is one connection to an Envoy.
type client struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
}

func dial(url string) *client { return &client{address: strings.TrimPrefix(url, "http://")} }

// ask sends a request as it stands, over a new connection if there is none.
func (c *client) ask(method string, request []byte) (answer, error) {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			return answer{}, err
		}
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	if _, err := c.conn.Write(request); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return answer{}, fmt.Errorf("%w: %s", err, request)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.Close || err != nil {
		c.close()
	}
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// write makes a request of lines.
func write(method, path, host string, fields ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}
