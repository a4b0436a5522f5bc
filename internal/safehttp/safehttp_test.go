package safehttp

import (
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
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

func TestMetadataAddressesAreRefused(t *testing.T) { // D-12
	for _, url := range []string{"https://169.254.169.254/", "https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://0.0.0.0/", "https://[::ffff:169.254.169.254]/"} {
		_, err := client(t, Options{}).Get(url)
		if err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: got %v, want a refusal", url, err)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "12345") }))
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
