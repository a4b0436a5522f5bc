package module

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// generator makes requests; one seed makes the same.
type generator struct {
	*rand.Rand

	tokens []string
	bound  string
	prover *devissuer.Prover
}

func newGenerator(s *stage) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 2)), prover: devissuer.NewProver()}
	jwt := func(change claims) string {
		all := claims{"sub": "alice", "aud": "api", "scope": "read", "client_id": "app"}
		for name, value := range change {
			all[name] = value
		}
		return s.issuer.JWT(all)
	}
	good := jwt(nil)
	g.bound = jwt(claims{"cnf": devissuer.BoundToKey(g.prover.Thumbprint())})
	g.tokens = []string{
		good, jwt(claims{"scope": "read orders:write named a b other"}), jwt(claims{"tenant": "acme"}),
		jwt(claims{"sub": "bö%\n\"x"}), jwt(claims{"sub": nil, "scope": nil, "client_id": nil}), jwt(claims{"scope": []string{"a b", "c"}}),
		jwt(claims{"acr": "gold", "auth_time": time.Now().Unix()}), jwt(claims{"aud": "other"}), jwt(claims{"aud": []string{"api", "https://api.example.com/mcp"}}),
		jwt(claims{"exp": 1}), jwt(claims{"nbf": time.Now().Add(time.Hour).Unix()}), jwt(claims{"iss": "https://evil.example.com"}),
		jwt(claims{"cnf": claims{"x5t#S256": "AAAA"}}), jwt(claims{"cnf": claims{"unknown": "x"}}), jwt(claims{"nonce": "n", "client_id": nil, "scope": nil}),
		g.bound, good[:len(good)-6] + "AAAAAA", "eyJhbGciOiJub25lIn0.e30.", "a.b.c", "junk", "",
		s.issuer.Opaque("", claims{"sub": "bob", "aud": "api", "scope": "read"}), s.issuer.Opaque("", claims{"aud": "other"}),
		strings.Repeat("x", 17_000), "with space", "ümlaut",
	}
	return g
}

func pick[T any](g *generator, all ...T) T { return all[g.IntN(len(all))] }

// request returns the n-th request, and its method.
func (g *generator) request(n int) (method string, request []byte) {
	method = pick(g, "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
	path := pick(g, "/", "/x", "/public/x", "/maybe/x", "/closed", "/write", "/tenant/x", "/shadow/x", "/step", "/stream/x", "/bound/x",
		"/cert/x", "/routed/named", "/routed/scopes", "/routed/audience", "/routed/issuer", "/routed/typo", "/routed/empty", "/routed/off",
		"/mcp/x", "/.well-known/oauth-protected-resource/mcp", "/x;y", "/a/%2e%2e/b", "/a%5Cb", "/a%2Fb", "/%zz", "/x?access_token=y", "/x?a=b")
	host := pick(g, "api.example.com", "api.example.com", "API.example.com:8080", "other.example.com", "other.example.com.")
	fields := []string{fmt.Sprintf("X-N: %d", n), "Accept: */*", "User-Agent: differential/1"}
	if g.IntN(8) > 0 {
		fields = append(fields, g.credential(method, path, host)...)
	}
	for _, f := range []string{
		"X-Auth-Sub: root", "x-auth-scope: all", "x_auth_sub: root", "X-Auth_Client-Id: root", "X-Tenant: acme", "X-Tenant: evil",
		"X-Auth-Sub: root\r\nX-Auth-Sub: admin", "Cookie: a=b", "X-Envoy-Upstream-Rq-Timeout-Ms: 5", "Te: trailers",
		"Content-Type: application/grpc", "Content-Type: application/grpc+proto", "Content-Type: application/grpc-web",
	} {
		if g.IntN(6) == 0 {
			fields = append(fields, f)
		}
	}
	if method == "POST" || method == "PUT" || method == "PATCH" {
		fields = append(fields, "Content-Length: 5", "", "hello")
		raw := write(method, path, host, fields...)
		return method, raw[:len(raw)-len("\r\n\r\n")]
	}
	return method, write(method, path, host, fields...)
}

func (g *generator) credential(method, path, host string) []string {
	token := pick(g, g.tokens...)
	switch g.IntN(12) {
	case 0:
		return []string{"Authorization: Bearer " + token, "Authorization: Bearer " + pick(g, g.tokens...)}
	case 1:
		return []string{"Authorization: " + pick(g, "Basic Zm9vOmJhcg==", "Bearer", "bearer a b", "Digest x", "")}
	case 2:
		return []string{"authorization: bearer  " + token}
	case 3, 4:
		origin := "http://" + strings.TrimSuffix(strings.Split(strings.ToLower(host), ":")[0], ".")
		proof := g.prover.Proof(method, origin+strings.Split(path, "?")[0], g.bound, nil)
		return []string{"Authorization: DPoP " + g.bound, "DPoP: " + pick(g, proof, proof, proof, proof, "junk", proof[:len(proof)-4]+"AAAA", proof+"\r\nDPoP: "+proof)}
	case 5:
		return []string{"Authorization: DPoP " + token}
	}
	return []string{"Authorization: Bearer " + token}
}

// unlike are headers that no two answers or requests have alike.
func (a *answer) withoutUnlike() {
	for _, name := range []string{"Date", "X-Envoy-Upstream-Service-Time"} {
		a.Header.Del(name)
	}
	var body map[string]any
	if a.Header.Get("X-Upstream") == "" || json.Unmarshal([]byte(a.Body), &body) != nil {
		return
	}
	header, _ := body["header"].(map[string]any)
	delete(header, "X-Request-Id")
	delete(header, "X-Envoy-Expected-Rq-Timeout-Ms") // counts down
	raw, _ := json.Marshal(body)
	a.Body = string(raw)
	a.Header.Del("Content-Length")
}

// TestBothDoorsAnswerAlike: the same requests through both doors have the same answers,
// reach the upstream with the same headers, and are told of alike.
func TestBothDoorsAnswerAlike(t *testing.T) {
	s := newStage(t, seenHandler, rules, true)
	g := newGenerator(s)
	const workers = 4
	var lock sync.Mutex
	next, total := 0, long(5_000, 100_000)
	statuses, differ := map[int]int{}, 0
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			outside, inside := dial(s.outside.URL), dial(s.inside.URL)
			defer outside.close()
			defer inside.close()
			for {
				lock.Lock()
				n := next
				next++
				if n >= total || differ > 20 {
					lock.Unlock()
					return
				}
				method, request := g.request(n)
				lock.Unlock()
				want, err := outside.ask(method, request)
				if err != nil {
					t.Errorf("outside: %v", err)
					return
				}
				got, err := inside.ask(method, request)
				if err != nil {
					t.Errorf("inside: %v", err)
					return
				}
				want.withoutUnlike()
				got.withoutUnlike()
				diff := cmp.Diff(want, got)
				lock.Lock()
				statuses[want.Status]++
				if diff != "" {
					differ++
					t.Errorf("inside (+) and outside (-): %s\n%s", diff, request)
				}
				lock.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("%d requests, by status: %v", total, statuses)
	for _, status := range []int{200, 400, 401, 403, 500} {
		if statuses[status] == 0 {
			t.Errorf("no request had status %d", status)
		}
	}
	compareTold(t, s, total)
}

// told is what the access log says of each request.
func told(envoy *harness.Envoy) map[string]string {
	all := map[string]string{}
	for _, line := range strings.Split(envoy.String(), "\n") {
		var entry struct {
			N      string         `json:"n"`
			Status int            `json:"status"`
			Told   map[string]any `json:"told"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.N == "" {
			continue
		}
		delete(entry.Told, "ext_authz_duration") // which Envoy adds
		if entry.Told["shadow"] != nil {
			entry.Told["shadow"] = fmt.Sprint(entry.Told["shadow"]) // the SDK knows no booleans
		}
		raw, _ := json.Marshal(entry)
		all[entry.N] = string(raw)
	}
	return all
}

func compareTold(t *testing.T, s *stage, total int) {
	t.Helper()
	time.Sleep(11 * time.Second) // the logs are written every ten
	want, got := told(s.outside), told(s.inside)
	differ, both := 0, 0
	for n := range want {
		if got[n] == "" { // a line of the service stands within this one
			continue
		}
		both++
		if want[n] != got[n] && differ < 10 {
			differ++
			t.Errorf("request %s: inside: %s, outside: %s", n, got[n], want[n])
		}
	}
	if both < total*99/100 {
		t.Errorf("got %d and %d lines of %d requests", len(want), len(got), total)
	}
}
