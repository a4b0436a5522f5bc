package shared_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// manner is how a proxy passes bytes on.
type manner struct {
	delay  time.Duration // of answers
	silent bool          // nothing passes, and nobody is told: a half-open connection
	reset  bool          // connections are reset
}

var (
	well = manner{}
	dead = manner{silent: true}
)

// proxy stands between a Store and its Redis.
type proxy struct {
	address string
	to      string

	mu    sync.Mutex
	m     manner
	conns map[net.Conn]struct{}
	since int // how often those that stand were frozen
}

func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: l.Addr().String(), to: to, conns: make(map[net.Conn]struct{})}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.accept(c)
		}
	}()
	return p
}

func (p *proxy) set(m manner) {
	p.mu.Lock()
	p.m = m
	p.mu.Unlock()
	if m.reset {
		p.cut()
	}
}

func (p *proxy) manner() manner {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		c.Close()
	}
	p.conns = make(map[net.Conn]struct{})
}

func (p *proxy) accept(c net.Conn) {
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	there, err := net.Dial("tcp", to)
	if err != nil || p.manner().reset {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
		return
	}
	p.mu.Lock()
	p.conns[c], p.conns[there] = struct{}{}, struct{}{}
	p.mu.Unlock()
	go p.pass(there, c, p.frozen(), false)
	go p.pass(c, there, p.frozen(), true)
}

// freeze lets nothing pass any more on the connections that stand.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since++
}

func (p *proxy) frozen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since
}

func (p *proxy) pass(to, from net.Conn, since int, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		m := p.manner()
		if answers {
			time.Sleep(m.delay)
		}
		m.silent = m.silent || p.frozen() > since
		if n > 0 && !m.silent {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		for errors.Is(err, io.EOF) && p.manner().silent { // nobody is told of that either
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil {
			return
		}
	}
}

// redirect leads to another server from now on, and cuts what leads to the one before.
func (p *proxy) redirect(to string) {
	p.mu.Lock()
	p.to = to
	p.mu.Unlock()
	p.cut()
}
