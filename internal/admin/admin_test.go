package admin_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/admin"
)

// state is what the pages are about.
type state struct {
	issuers  map[string]error
	pending  error
	draining bool
}

// serve returns the URL of the pages about s.
func serve(t *testing.T, s *state) string {
	t.Helper()
	server := httptest.NewServer(admin.New(admin.Options{
		Issuers:  func() map[string]error { return s.issuers },
		Pending:  func() error { return s.pending },
		Draining: func() bool { return s.draining },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a_metric 1\n")
		}),
		Version: "1.2.3",
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func ask(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

const (
	one   = "https://one.example.com"
	two   = "https://two.example.com"
	three = "https://three.example.com"
)

// Kubernetes and Envoy go by the status; people by the words.
func TestReadiness(t *testing.T) {
	down := errors.New("keys not fetched yet")
	for name, tc := range map[string]struct {
		state  state
		status int
		body   string
	}{
		"ready":            {state{issuers: map[string]error{one: nil, two: nil}}, 200, "ok\n"},
		"no configuration": {state{}, 503, "no configuration in use yet\n"},
		"one of two is down": {
			state{issuers: map[string]error{one: nil, two: down}}, 503,
			"issuer " + two + ": keys not fetched yet\n",
		},
		"both are down, in order": {
			state{issuers: map[string]error{two: down, one: down, three: down}}, 503,
			"issuer " + one + ": keys not fetched yet\n" +
				"issuer " + three + ": keys not fetched yet\n" +
				"issuer " + two + ": keys not fetched yet\n",
		},
		"draining": {state{issuers: map[string]error{one: nil}, draining: true}, 503, "draining\n"},
		"draining and down": {
			state{issuers: map[string]error{one: down}, draining: true}, 503,
			"draining\nissuer " + one + ": keys not fetched yet\n",
		},
		"draining, no configuration": {state{draining: true}, 503, "draining\nno configuration in use yet\n"},
	} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, &tc.state)
			if resp, body := ask(t, "GET", url+"/readyz"); resp.StatusCode != tc.status || body != tc.body {
				t.Errorf("readyz: got %d %q, want %d %q", resp.StatusCode, body, tc.status, tc.body)
			}
			// A process that is not ready is not to be killed for it.
			if resp, body := ask(t, "GET", url+"/livez"); resp.StatusCode != 200 || body != "ok\n" {
				t.Errorf("livez: got %d %q, want 200 and ok", resp.StatusCode, body)
			}
		})
	}
}

func TestStateIsLookedAtEachTime(t *testing.T) {
	s := &state{issuers: map[string]error{one: errors.New("down")}}
	url := serve(t, s)
	for _, want := range []int{503, 200, 503} {
		if resp, body := ask(t, "GET", url+"/readyz"); resp.StatusCode != want {
			t.Errorf("got %d %q, want %d", resp.StatusCode, body, want)
		}
		if want == 503 {
			s.issuers = map[string]error{one: nil}
		} else {
			s.draining = true
		}
	}
}

func TestStatusPage(t *testing.T) {
	for name, tc := range map[string]struct {
		state state
		want  []string
		not   string
	}{
		"serving": {
			state{issuers: map[string]error{two: nil, one: errors.New("down")}},
			[]string{
				"Bearergate 1.2.3", "Serving.", `href="/livez"`, `href="/readyz"`, `href="/metrics"`,
				"<td>" + one + `</td><td><span class="no">not ready: down</span></td>`,
				"<td>" + two + "</td><td>ready</td>",
			}, "waits",
		},
		"draining": {
			state{issuers: map[string]error{one: nil}, draining: true},
			[]string{"Draining: no new work is taken."}, "Serving.",
		},
		"a configuration waits": {
			state{issuers: map[string]error{one: nil}, pending: errors.New("issuer " + three + ": got <b>404</b>")},
			[]string{
				"Serving.", "A new configuration waits, and the one in use serves on: issuer " + three + ": got &lt;b&gt;404&lt;/b&gt;</p>",
				"<td>" + one + "</td><td>ready</td>",
			}, "<b>",
		},
		"no configuration": {state{}, []string{"Serving.", "</table></body></html>"}, "<td>"},
		// The error quotes what an authorization server sent, and the issuer may be
		// any text.
		"hostile words": {
			state{issuers: map[string]error{
				`https://x/"><script>a</script>`: errors.New(`got </span><img src=x onerror="b">&`),
			}},
			[]string{
				"<td>https://x/&#34;&gt;&lt;script&gt;a&lt;/script&gt;</td>",
				"not ready: got &lt;/span&gt;&lt;img src=x onerror=&#34;b&#34;&gt;&amp;</span>",
			}, "<script>",
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := ask(t, "GET", serve(t, &tc.state)+"/")
			if resp.StatusCode != 200 {
				t.Errorf("got status %d, want 200 whatever the state", resp.StatusCode)
			}
			for _, want := range tc.want {
				if !strings.Contains(body, want) {
					t.Errorf("got %s\nwant %s in it", body, want)
				}
			}
			if strings.Contains(body, tc.not) || strings.Contains(body, "<img") {
				t.Errorf("got %s\nwant no %s in it", body, tc.not)
			}
			if i, j := strings.Index(body, one), strings.Index(body, two); i > j && j >= 0 {
				t.Error("got the issuers in another order from call to call, want a sorted one")
			}
		})
	}
}

// A page that a browser shows must run nothing, and nobody may show old states.
func TestHeaders(t *testing.T) {
	url := serve(t, &state{issuers: map[string]error{one: nil}})
	for path, kind := range map[string]string{
		"/":       "text/html; charset=utf-8",
		"/livez":  "text/plain; charset=utf-8",
		"/readyz": "text/plain; charset=utf-8",
	} {
		resp, _ := ask(t, "GET", url+path)
		if got := resp.Header.Get("Content-Type"); got != kind {
			t.Errorf("%s: got content type %q, want %q", path, got, kind)
		}
		if got := resp.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: got cache control %q, want no-store", path, got)
		}
		policy := resp.Header.Get("Content-Security-Policy")
		if path == "/" && policy != "default-src 'none'; style-src 'unsafe-inline'" {
			t.Errorf("got policy %q, want one that lets nothing but the page's own style in", policy)
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	url := serve(t, &state{issuers: map[string]error{one: nil}})
	for _, path := range []string{"/", "/livez", "/readyz", "/metrics"} {
		for method, want := range map[string]int{
			"GET": 200, "HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405,
		} {
			resp, body := ask(t, method, url+path)
			if resp.StatusCode != want {
				t.Errorf("%s %s: got %d, want %d", method, path, resp.StatusCode, want)
			}
			if method == "HEAD" && body != "" {
				t.Errorf("HEAD %s: got a body", path)
			}
		}
	}
	for _, path := range []string{"/nope", "/livez/", "/index.html", "/debug/pprof/"} {
		if resp, _ := ask(t, "GET", url+path); resp.StatusCode != 404 {
			t.Errorf("GET %s: got %d, want 404", path, resp.StatusCode)
		}
	}
	if _, body := ask(t, "GET", url+"/metrics"); body != "a_metric 1\n" {
		t.Errorf("metrics: got %q, want what its handler says", body)
	}
}
