package safehttp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func client(t *testing.T, o Options) *http.Client {
	t.Helper()
	o.Timeout, o.Log = 2*time.Second, slog.New(slog.DiscardHandler)
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestCheckURL(t *testing.T) { // D-03, D-12
	for _, tc := range []struct {
		url      string
		insecure bool
		want     string
	}{
		{"https://as.example.com/jwks", false, ""},
		{"http://127.0.0.1:8080/jwks", true, ""},
		{"http://localhost/jwks", true, ""},
		{"http://[::1]/jwks", true, ""},
		{"http://127.0.0.1/jwks", false, "use https"},
		{"http://as.example.com/jwks", true, "use https"},
		{"http://127.0.0.1.example.com/", true, "use https"},
		{"ftp://as.example.com/", true, "use https"},
		{"https://user@as.example.com/", false, "user information"},
		{"https://as.example.com/#", false, "fragment"},
		{"https:///jwks", false, "no host"},
		{"/jwks", false, "no host"},
		{"", false, "no host"},
	} {
		err := CheckURL(tc.url, tc.insecure)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("CheckURL(%q, %v) = %v, want %q", tc.url, tc.insecure, err, tc.want)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	followed := false
	mux := http.NewServeMux()
	mux.Handle("/from", http.RedirectHandler("/to", http.StatusFound))
	mux.HandleFunc("/to", func(http.ResponseWriter, *http.Request) { followed = true })
	server := httptest.NewServer(mux)
	defer server.Close()
	resp, err := client(t, Options{InsecureHTTP: true}).Get(server.URL + "/from")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusFound || followed {
		t.Errorf("got %d, followed %v; want the 302 itself", resp.StatusCode, followed)
	}
}

func TestTrustAnchors(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	if _, err := client(t, Options{}).Get(server.URL); err == nil {
		t.Error("an unknown authority was trusted")
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	anchor := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, anchor, 0o600); err != nil {
		t.Fatal(err)
	}
	resp, err := client(t, Options{CAFile: file}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := Read(resp, 100)
	if err != nil || string(body) != "HTTP/2.0" {
		t.Errorf("got %q, %v; want HTTP/2.0", body, err)
	}
}

// pair is a self-signed certificate of that name, for 127.0.0.1 too.
func pair(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func write(t *testing.T, file string, c *tls.Certificate) {
	t.Helper()
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// slow is an issuer's server: /hold answers at once and ends its body when told.
func slow(t *testing.T, certificate *tls.Certificate, http2 bool) (server *httptest.Server, end func()) {
	t.Helper()
	ended := make(chan struct{})
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].DNSNames[0]
		}
		_, _ = io.WriteString(w, who)
		if r.URL.Path == "/hold" {
			_ = http.NewResponseController(w).Flush()
			<-ended
		}
	}))
	server.EnableHTTP2 = http2
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{*certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12,
	}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	end = sync.OnceFunc(func() { close(ended) })
	t.Cleanup(end)
	return server, end
}

func get(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	body, err := Read(resp, 100)
	return string(body), err
}

func TestAnchorsThatLeaveTheFile(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certificate := pair(t, "as")
			server, end := slow(t, certificate, http2)
			file := filepath.Join(t.TempDir(), "ca.pem")
			write(t, file, certificate)
			c := client(t, Options{CAFile: file})
			c.Timeout = time.Minute
			for range 2 {
				if _, err := get(t, c, server.URL); err != nil {
					t.Fatal(err)
				}
			}
			held, err := c.Get(server.URL + "/hold") // keeps a connection of before in use
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, pair(t, "another"))
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
				if _, err = get(t, c, server.URL); err != nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("an authority that left the file is trusted on a connection of before")
				}
			}
			if !strings.Contains(err.Error(), "unknown authority") {
				t.Errorf("got %v, want an unknown authority", err)
			}
			if _, err := get(t, c, server.URL); err == nil {
				t.Error("the next call went through")
			}
			end()
			if body, err := Read(held, 100); err != nil || string(body) != "nobody" {
				t.Errorf("the call under way: got %q, %v; want it to end well", body, err)
			}
		})
	}
}

func TestClientCertificateThatIsReplaced(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			certificate := pair(t, "as")
			server, _ := slow(t, certificate, http2)
			file := filepath.Join(t.TempDir(), "ca.pem")
			write(t, file, certificate)
			presented := pair(t, "one")
			c := client(t, Options{CAFile: file, ClientCertificate: func() (*tls.Certificate, error) { return presented, nil }})
			held, err := c.Get(server.URL + "/hold")
			if err != nil {
				t.Fatal(err)
			}
			defer held.Body.Close()
			for _, want := range []string{"one", "one", "two", "three"} {
				if want != "one" {
					presented = pair(t, want)
				}
				if got, err := get(t, c, server.URL); err != nil || got != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
				}
			}
		})
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{}, 8)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			server.EnableHTTP2 = http2
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					closed <- struct{}{}
				}
			}
			server.StartTLS()
			defer server.Close()
			file := filepath.Join(t.TempDir(), "ca.pem")
			write(t, file, &tls.Certificate{Certificate: [][]byte{server.Certificate().Raw}})
			presented := pair(t, "one")
			c := client(t, Options{CAFile: file, ClientCertificate: func() (*tls.Certificate, error) { return presented, nil }})
			for _, name := range []string{"one", "two"} {
				presented = pair(t, name)
				if _, err := get(t, c, server.URL); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Error("the idle connection of the certificate before is still open")
			}
		})
	}
}

func TestConnectionsAreKeptWhileNothingChanges(t *testing.T) {
	certificate := pair(t, "as")
	server, _ := slow(t, certificate, false)
	file := filepath.Join(t.TempDir(), "ca.pem")
	write(t, file, certificate)
	c := client(t, Options{CAFile: file})
	reused := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
	})
	for i := range 5 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(resp, 100); err != nil || reused != (i > 0) {
			t.Errorf("call %d: got reused %v, %v", i, reused, err)
		}
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) { // D-03, D-12
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	if _, err := get(t, client(t, Options{InsecureHTTP: true}), server.URL); err != nil {
		t.Errorf("loopback with insecure_http: %v", err)
	}
	for url, insecure := range map[string]bool{
		server.URL: false, "http://192.0.2.1/": true, "http://as.example.com/": true,
	} {
		_, err := get(t, client(t, Options{InsecureHTTP: insecure}), url)
		if err == nil || !strings.Contains(err.Error(), `"http" is not allowed`) {
			t.Errorf("%s, insecure_http %v: got %v, want a refusal", url, insecure, err)
		}
	}
	// What localhost resolves to is held to the same, whatever /etc/hosts says.
	for address, ok := range map[string]bool{
		"127.0.0.1:80": true, "127.8.8.8:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"192.0.2.1:80": false, "10.0.0.1:80": false, "[2001:db8::1]:80": false, "0.0.0.0:80": false,
		"169.254.169.254:80": false, "": false,
	} {
		if err := onlyLoopback(t.Context(), "tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: got %v, want allowed %v", address, err, ok)
		}
	}
	conn, err := connect(nil, nil).dialPlain(t.Context(), "tcp", "192.0.2.1:80")
	if err == nil || !strings.Contains(err.Error(), "loopback addresses only") {
		t.Errorf("got %v, %v; want the address refused before it is dialled", conn, err)
	}
}

func TestMetadataAddressesAreRefused(t *testing.T) { // D-12
	for _, url := range []string{
		"https://169.254.169.254/", "https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://0.0.0.0/",
		"https://[::ffff:169.254.169.254]/",
	} {
		_, err := client(t, Options{}).Get(url)
		if err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: got %v, want a refusal", url, err)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "12345")
	}))
	defer server.Close()
	for limit, ok := range map[int64]bool{4: false, 5: true} {
		resp, err := client(t, Options{InsecureHTTP: true}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(resp, limit); (err == nil) != ok {
			t.Errorf("limit %d: got %v", limit, err)
		}
	}
}
