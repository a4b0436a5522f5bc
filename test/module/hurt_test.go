package module

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

func (s *stage) token(change claims) string {
	all := claims{"sub": "alice", "aud": "api", "scope": "read"}
	for name, value := range change {
		all[name] = value
	}
	return s.issuer.JWT(all)
}

// get sends a request to the module, and returns the status.
func (s *stage) get(t testing.TB, path, token string, more ...string) answer {
	t.Helper()
	c := dial(s.inside.URL)
	defer c.close()
	a, err := c.ask("GET", write("GET", path, "api.example.com", append(more, "Authorization: Bearer "+token)...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// alive fails unless Envoy runs, and decides.
func (s *stage) alive(t *testing.T) {
	t.Helper()
	select {
	case <-s.inside.Ended():
		t.Fatalf("Envoy has ended:\n%s", s.inside)
	default:
	}
	if a := s.get(t, "/x", s.token(nil)); a.Status != http.StatusOK {
		t.Errorf("got %d %s, want 200", a.Status, a.Body)
	}
	if a := s.get(t, "/x", "e30."); a.Status != http.StatusUnauthorized {
		t.Errorf("got %d, want 401", a.Status)
	}
}

// TestPanicsInEnvoy: a panic anywhere in the filter is a 500 for its request, and
// nothing for the others.
func TestPanicsInEnvoy(t *testing.T) {
	s := newStage(t, seenHandler, rules, false, "-tags=grpcnotrace,panicking")
	warm := s.token(nil)
	s.get(t, "/x", warm)
	for n, place := range []string{"headers", "resume", "apply"} {
		token := warm
		if place == "resume" {
			token = s.token(nil)
		}
		a := s.get(t, "/x", token, "X-Panic: "+place)
		if a.Status != http.StatusInternalServerError || !strings.Contains(a.Body, `"error"`) || a.Header.Get("X-Upstream") != "" {
			t.Errorf("%s: got %d %s", place, a.Status, a.Body)
		}
		harness.Eventually(t, "it is in the log", func() bool {
			return strings.Count(s.inside.String(), `"msg":"panic"`) >= n+1
		})
		s.alive(t)
	}
}

// TestResetsUnderLoad has clients that leave at any time, many of them while their token
// is verified or asked about: Envoy and the module live on, and hold nothing for them.
func TestResetsUnderLoad(t *testing.T) {
	s := newStage(t, seenHandler, rules, false)
	s.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 30 * time.Millisecond})
	warm := s.token(nil)
	var tokens []string
	for range 64 {
		tokens = append(tokens, s.token(nil))
	}
	total := int64(long(500, 10_000))
	var count atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for count.Add(1) <= total {
				token := []string{warm, fmt.Sprintf("opaque-%d", rand.Int()), tokens[rand.IntN(64)], tokens[rand.IntN(64)] + "A"}[rand.IntN(4)]
				path := []string{"/x", "/stream/x", "/routed/named", "/shadow/x"}[rand.IntN(4)]
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.inside.URL, "http://"))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = conn.Write(write("GET", path, "api.example.com", "Authorization: Bearer "+token))
				switch rand.IntN(3) {
				case 0:
					time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
				case 1:
					_ = conn.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(60)) * time.Millisecond))
					_, _ = bufio.NewReader(conn).ReadByte()
				}
				_ = conn.(*net.TCPConn).SetLinger(0) // a reset, and no polite end
				_ = conn.Close()
			}
		})
	}
	group.Wait()
	s.alive(t)
}

// TestReloadUnderLoad changes the configuration while requests come: each is decided by
// one configuration or the other, and a file that is broken changes nothing.
func TestReloadUnderLoad(t *testing.T) {
	s := newStage(t, seenHandler, rules, false)
	token := s.token(nil)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var closed atomic.Bool
	for range 4 {
		group.Go(func() {
			c := dial(s.inside.URL)
			defer c.close()
			for ctx.Err() == nil {
				a, err := c.ask("GET", write("GET", "/x", "api.example.com", "Authorization: Bearer "+token))
				if err != nil || a.Status != http.StatusOK && a.Status != http.StatusForbidden {
					t.Errorf("got %d %s, %v", a.Status, a.Body, err)
					return
				}
				closed.Store(a.Status == http.StatusForbidden)
				time.Sleep(time.Millisecond)
			}
		})
	}
	config := harness.Config(s.issuer.URL()) + rules
	for _, shut := range []bool{true, false, true} {
		changed := config
		if shut {
			changed = strings.Replace(config, "rules:\n", "rules:\n  - {name: shut, match: {paths: [/x]}, access: deny}\n", 1)
		}
		s.service.Write(t, changed)
		harness.Eventually(t, "the module follows its file", func() bool { return closed.Load() == shut })
	}
	s.service.Write(t, "auth: [")
	harness.Eventually(t, "the module says what is wrong", func() bool {
		return strings.Contains(s.inside.String(), "changed configuration is not usable")
	})
	if !closed.Load() {
		t.Error("a broken file opened what was shut")
	}
	cancel()
	group.Wait()
}

// events sends one event after another until nobody listens, and takes upgrades.
func events(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(rw, rw)
		return
	}
	out := http.NewResponseController(w)
	_ = out.EnableFullDuplex()
	w.Header().Set("Content-Type", "text/event-stream")
	for r.Context().Err() == nil {
		_, _ = fmt.Fprint(w, "data: x\n\n")
		_ = out.Flush()
		time.Sleep(50 * time.Millisecond)
	}
}

// TestStreamsOfTheModuleEndWithTheirToken, WebSockets and requests that their client does not
// finish included, which ext_authz leaves open.
func TestStreamsOfTheModuleEndWithTheirToken(t *testing.T) {
	s := newStage(t, http.HandlerFunc(events), rules, false)
	const lifetime = 3 * time.Second
	for name, request := range map[string]string{
		"events":     "GET %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n",
		"WebSocket":  "GET %s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n",
		"unfinished": "POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer %s\r\n\r\n1\r\nx\r\n",
	} {
		for _, ends := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, ends: %t", name, ends), func(t *testing.T) {
				t.Parallel()
				path := map[bool]string{true: "/stream/x", false: "/x"}[ends]
				expiry := time.Now().Add(lifetime).Truncate(time.Second)
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.inside.URL, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_, _ = fmt.Fprintf(conn, request, path, s.token(claims{"exp": expiry.Unix()}))
				_ = conn.SetReadDeadline(expiry.Add(2 * time.Second))
				got, err := io.ReadAll(conn)
				late := time.Since(expiry)
				if timedOut := err != nil && strings.Contains(err.Error(), "timeout"); timedOut == ends {
					t.Errorf("after %s: %v\n%.300s", late, err, got)
				}
				if !bytes.HasPrefix(got, []byte("HTTP/1.1 ")) || bytes.HasPrefix(got, []byte("HTTP/1.1 401")) && name != "unfinished" {
					t.Errorf("got %.300s", got)
				}
				if ends && (late < -time.Second || late > 1500*time.Millisecond) {
					t.Errorf("ended %s after the token", late)
				}
			})
		}
	}
}

// TestShippedChain starts the chain of the module as it is shipped.
func TestShippedChain(t *testing.T) {
	issuer, upstream := harness.Issuer(t), harness.Echo(t)
	service := harness.Serve(t, harness.Config(issuer.URL())).Ready(t) // for its file
	a := chains.Addresses{Listener: harness.Free(t), Bearergate: "127.0.0.1:1", Upstream: upstream.Address, Admin: harness.Free(t)}
	bootstrap, err := chains.Bootstrap("module.yaml", a)
	if err != nil {
		t.Fatal(err)
	}
	admin := harness.Free(t)
	bootstrap = strings.NewReplacer("/etc/bearergate/bearergate.yaml", service.ConfigFile, "127.0.0.1:9192", admin).Replace(bootstrap)
	s := &stage{issuer: issuer, service: service}
	s.inside = harness.StartBootstrap(t, bootstrap, a, harness.ModuleEnvironment(harness.Library(t)))
	s.inside.Wait(t, "http://"+admin+"/readyz", http.StatusOK)
	s.alive(t)
	for token, want := range map[string]int{s.token(nil): 403, s.token(claims{"scope": "admin"}): 200} {
		if got := s.get(t, "/admin/x", token); got.Status != want {
			t.Errorf("got %d %s, want %d", got.Status, got.Body, want)
		}
	}
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := `bearergate_checks_total{decision="deny",reason="insufficient_scope"} 1`; err != nil || !strings.Contains(string(body), want) {
		t.Errorf("got %.2000s, %v, want %s", body, err, want)
	}
}
