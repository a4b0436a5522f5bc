package harness

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Link is a way through a proxy that can be cut, delayed, reset or stalled.
type Link struct {
	Address string

	proxy *toxiproxy.Proxy
}

// NewLink leads to upstream.
func NewLink(t testing.TB, upstream string) *Link {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // the proxy tells of every byte
	l := &Link{Address: Free(t)}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l.proxy = toxiproxy.NewProxy(server, "link", l.Address, upstream)
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

// Cut ends all connections, and refuses new ones.
func (l *Link) Cut() { l.proxy.Stop() }

// Fault adds a toxic of the proxy, as JSON: latency, reset_peer, timeout, ….
func (l *Link) Fault(t testing.TB, toxic string) {
	t.Helper()
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		t.Fatal(err)
	}
}

// Lead leads to another upstream from now on; connections to the one before end.
func (l *Link) Lead(t testing.TB, upstream string) {
	t.Helper()
	l.proxy.Stop()
	l.proxy.Upstream = upstream
	l.Mend(t)
}

// Mend takes back all that was done.
func (l *Link) Mend(t testing.TB) {
	t.Helper()
	l.proxy.Toxics.ResetToxics(context.Background())
	if !l.proxy.Enabled {
		if err := l.proxy.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// Tap is a way that records every byte that goes through it.
type Tap struct {
	Address string
	*Output
}

// NewTap leads to upstream.
func NewTap(t testing.TB, upstream string) *Tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	tap := &Tap{Address: listener.Addr().String(), Output: &Output{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go tap.pass(conn, upstream)
		}
	}()
	return tap
}

func (tap *Tap) pass(conn net.Conn, upstream string) {
	defer conn.Close()
	onward, err := net.Dial("tcp", upstream)
	if err != nil {
		return
	}
	defer onward.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, onward}, {onward, conn}} {
		both.Go(func() {
			_, _ = io.Copy(io.MultiWriter(way[1], tap.Output), way[0])
			_ = way[1].Close() // so that the other direction ends, too
		})
	}
	both.Wait()
}
