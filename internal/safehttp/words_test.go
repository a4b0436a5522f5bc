package safehttp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestShort(t *testing.T) {
	long := "a\nb\x1b[1m" + strings.Repeat("ü", 300)
	for _, err := range []error{errors.New(long), errors.Join(errors.New("one"), errors.New(long))} {
		got := Short(err, time.Second).Error()
		if strings.ContainsAny(got, "\n\x1b") || len([]rune(got)) > maxErrorRunes+1 {
			t.Errorf("got %q", got)
		}
	}
	if err := Short(context.DeadlineExceeded, time.Second); !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "1s") {
		t.Errorf("got %v", err)
	}
	plain := errors.New("connection refused")
	if err := Short(plain, time.Second); !errors.Is(err, plain) {
		t.Errorf("got %v, want it as it is", err)
	}
}

// TestShortQuotesNoAnswer: net/http puts a status line that it cannot read into
// its error, and a server may echo a token there.
func TestShortQuotesNoAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.1 s3cret-token\r\n\r\n"))
		_ = conn.Close()
	}))
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("got an answer")
	}
	if !strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("net/http says %v: this test shows nothing any longer", err)
	}
	if got := Short(err, time.Second).Error(); strings.Contains(got, "s3cret") {
		t.Errorf("got %s", got)
	}
}
