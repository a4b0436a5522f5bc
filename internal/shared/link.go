package shared

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bearergate/bearergate/internal/livefile"
)

const (
	dialTimeout = time.Second // TLS and AUTH included
	pingEvery   = time.Second // of silence
	pingTimeout = time.Second // then a connection that died in silence is given up
	bufferBytes = 64 << 10    // of a connection, each way
)

// access is how the store is reached. Each connection takes what the files hold when
// it is made; those that stand go on.
type access struct {
	addresses []address
	username  string
	password  func() string         // empty: none
	anchors   func() *x509.CertPool // nil: the system's
	pair      *livefile.Pair        // nil: no client certificate
}

func newAccess(c Config, log *slog.Logger) (*access, error) {
	addresses, err := c.addresses()
	if err != nil {
		return nil, err
	}
	a := &access{
		addresses: addresses, username: c.Username,
		password: func() string { return "" },
		anchors:  func() *x509.CertPool { return nil },
	}
	if c.PasswordFile != "" {
		file, err := livefile.Open(c.PasswordFile, log, parsePassword)
		if err != nil {
			return nil, err
		}
		a.password = file.Value
	}
	if c.CAFile != "" {
		file, err := livefile.OpenAnchors(c.CAFile, log)
		if err != nil {
			return nil, err
		}
		a.anchors = file.Value
	}
	if c.CertFile != "" {
		a.pair, err = livefile.OpenPair(c.CertFile, c.KeyPEMFile, log)
	}
	return a, err
}

// parsePassword takes the line that an editor or echo has ended.
func parsePassword(content []byte) (string, error) {
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" {
		return "", errors.New("no password in it")
	}
	return password, nil
}

// link is a client and its connections, which can be cut: the client itself waits
// for whom it has asked.
type link struct {
	client valkey.Client
	ctx    context.Context //nolint:containedctx // ends the dialing, which is nobody's call
	cancel context.CancelFunc

	mu    sync.Mutex
	conns map[*conn]struct{}
}

type conn struct {
	net.Conn
	of *link
}

// Close forgets the connection.
func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// connect returns when one connection stands, and may take as long as dialing does.
func (a *access) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &link{ctx: ctx, cancel: cancel, conns: make(map[*conn]struct{})}
	stop := context.AfterFunc(ctx, l.cut) // while NewClient waits for an answer
	client, err := valkey.NewClient(a.options(l))
	stop()
	if err == nil && ctx.Err() != nil {
		client.Close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		l.cut()
		return nil, err
	}
	l.client = client
	return l, nil
}

func (a *access) options(l *link) valkey.ClientOption {
	var at []string
	for _, address := range a.addresses {
		at = append(at, address.at)
	}
	return valkey.ClientOption{
		InitAddress:   at,
		ShuffleInit:   len(at) > 1,
		ClientName:    "bearergate",
		ClientSetInfo: valkey.DisableClientSetInfo,
		AuthCredentialsFn: func(valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
			return valkey.AuthCredentials{Username: a.username, Password: a.password()}, nil
		},
		Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: pingEvery},
		DialCtxFn: func(ctx context.Context, at string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return a.dial(ctx, l, at, d)
		},
		ConnWriteTimeout: pingTimeout,
		// One connection to a node: commands of all who ask go out together, and a
		// deadline that has passed does not cost the others the connection.
		PipelineMultiplex:   -1,
		AlwaysPipelining:    true,
		ReadBufferEachConn:  bufferBytes,
		WriteBufferEachConn: bufferBytes,
		// Values have a cache of their own in front, of what they mean.
		DisableCache: true,
		// Who asks has milliseconds, and another way.
		DisableRetry: true,
	}
}

// dial makes one connection, also to what a cluster says that its nodes are.
func (a *access) dial(ctx context.Context, l *link, at string, d *net.Dialer) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	made, err := a.dialNet(ctx, at, d)
	if err != nil {
		return nil, err
	}
	c := &conn{made, l}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	if l.ctx.Err() != nil { // cut meanwhile
		return nil, errors.Join(l.ctx.Err(), c.Close())
	}
	return c, nil
}

func (a *access) dialNet(ctx context.Context, at string, d *net.Dialer) (net.Conn, error) {
	first := a.addresses[0]
	if first.network == "unix" {
		return d.DialContext(ctx, "unix", at)
	}
	if !first.tls {
		return d.DialContext(ctx, "tcp", at)
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: a.anchors()}
	if a.pair != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return a.pair.Current(), nil
		}
	}
	return (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", at)
}

// cut closes all connections: whoever waits for an answer gets an error now. New
// ones can be made.
func (l *link) cut() {
	l.mu.Lock()
	conns := l.conns
	l.conns = make(map[*conn]struct{})
	l.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close() // it is given up
	}
}

// close ends the link.
func (l *link) close() {
	l.cancel()
	l.cut()
	l.client.Close()
}
