package revocation

import (
	"log/slog"
	"net"
	"net/http"
	"testing"
)

// TestConnectionsAreNotKept: a sender that does not repeat what is lost must not find a
// connection of a receiver that is gone.
func TestConnectionsAreNotKept(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	go func() { _ = s.Serve(lis) }()
	t.Cleanup(func() { _ = s.Close() })
	resp, err := http.Get("http://" + lis.Addr().String() + PathLogout)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !resp.Close {
		t.Error("got a connection that stays open, want one that is closed")
	}
}
