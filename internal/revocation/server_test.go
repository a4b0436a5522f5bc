package revocation

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve runs a server of h, and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	lis, err := Listen(t.Context(), Config{ReceiverAddress: "127.0.0.1:0"}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h, slog.New(slog.DiscardHandler))
	go func() { _ = s.Serve(lis) }()
	t.Cleanup(func() { _ = s.Close() })
	return lis.Addr().String()
}

func TestServed(t *testing.T) {
	r := newRig(t)
	address := serve(t, r)
	send := func(body io.Reader) *http.Response {
		req, _ := http.NewRequest(http.MethodPost, "http://"+address+PathEvents, body)
		req.Header.Set("Content-Type", "application/secevent+jwt")
		req.Header.Set("Authorization", "Bearer "+pushToken)
		response, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	if response := send(strings.NewReader(r.as.set())); response.StatusCode != http.StatusAccepted {
		t.Errorf("got %s, want 202", response.Status)
	}
	if response := send(strings.NewReader(strings.Repeat("x", maxBodyBytes+1))); response.StatusCode != http.StatusBadRequest {
		t.Errorf("a body of a byte too much: got %s, want 400", response.Status)
	}
}

// TestLargeBodiesAreNotRead counts what the receiver takes of 10 MB.
func TestLargeBodiesAreNotRead(t *testing.T) {
	address := serve(t, newRig(t))
	for name, header := range map[string]string{
		"authorized":     "Authorization: Bearer " + pushToken + "\r\n",
		"not authorized": "",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/secevent+jwt\r\n%sContent-Length: %d\r\n\r\n",
				header, 10<<20)
			go func() { _, _ = io.Copy(conn, io.LimitReader(zeros{}, 10<<20)) }()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != http.StatusBadRequest || !response.Close {
				t.Errorf("got %s, close %t, want 400 and the connection closed", response.Status, response.Close)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestSlowSenders has more of them than there are slots: those that come in time are
// answered, and the slow ones let go.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := serve(t, r)
	began := time.Now()
	var work sync.WaitGroup
	const more = 8 // one that finds the last slot taken by a request below does not come again
	for range maxRequests + more {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /backchannel-logout HTTP/1.1\r\nHost: x\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nx")
		work.Go(func() {
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			took := time.Since(began)
			switch {
			case err != nil:
				t.Error(err)
			case response.StatusCode == http.StatusServiceUnavailable: // too many, or one of those below was faster
			case response.StatusCode != http.StatusBadRequest || took < 4*time.Second || took > 20*time.Second:
				t.Errorf("got %s after %s, want 400 after 5 s", response.Status, took)
			}
		})
	}
	post := func() int {
		response, err := http.Post("http://"+address+PathLogout, "application/x-www-form-urlencoded", strings.NewReader("x=1"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	full := false
	for time.Since(began) < 3*time.Second && !full {
		full = post() == http.StatusServiceUnavailable
	}
	if !full {
		t.Error("want 503 while all slots are taken")
	}
	work.Wait()
	if status := post(); status != http.StatusBadRequest {
		t.Errorf("afterwards: got %d, want 400", status)
	}
}

func TestHandlersHaveFiveSeconds(t *testing.T) {
	h := bounded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		deadline, ok := r.Context().Deadline()
		if left := time.Until(deadline); !ok || left > requestTime || left < requestTime-time.Second {
			t.Errorf("got %s, want 5 s", left)
		}
	}))
	h.ServeHTTP(nil, new(http.Request).WithContext(context.Background()))
}

func TestCertificateIsReRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := Config{ReceiverAddress: "127.0.0.1:0", ReceiverTLS: TLS{
		CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"),
	}}
	if _, err := Listen(t.Context(), c, slog.Default()); err == nil {
		t.Error("want an error without the files")
	}
	writePair(t, c.ReceiverTLS, "one")
	lis, err := Listen(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	go func() { _ = s.Serve(lis) }()
	t.Cleanup(func() { _ = s.Close() })
	name := func() string {
		conn, err := tls.Dial("tcp", lis.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if protocol := conn.ConnectionState().NegotiatedProtocol; protocol != "http/1.1" {
			t.Errorf("got %s, want http/1.1", protocol)
		}
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "one" {
		t.Fatalf("got %s, want one", got)
	}
	writePair(t, c.ReceiverTLS, "two")
	for deadline := time.Now().Add(10 * time.Second); name() != "two"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not taken")
		}
	}
}

func writePair(t *testing.T, files TLS, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		files.CertFile: {Type: "CERTIFICATE", Bytes: der}, files.KeyFile: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
