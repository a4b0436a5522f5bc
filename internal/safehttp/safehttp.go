// Package safehttp makes the HTTP clients that talk to authorization servers.
// They verify certificates, follow no redirect, keep no cookie, use no proxy,
// never reach link-local or cloud-metadata addresses, and hold a bounded
// number of connections (D-09, D-12, A-06). It knows nothing of OAuth.
package safehttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bearergate/bearergate/internal/livefile"
)

const (
	dialTimeout         = 5 * time.Second // where no shorter timeout is given
	maxConnsPerHost     = 80              // 64 introspection calls, and room for keys, probes and calls that are ending
	maxIdleConnsPerHost = 16
	idleConnTimeout     = 90 * time.Second
	maxHeaderBytes      = 64 << 10
	pingAfter           = 2 * time.Second // of silence
	pingTimeout         = time.Second
)

// Options say whom a client trusts and how long it waits.
type Options struct {
	Timeout      time.Duration // of one call, body included
	CAFile       string        // trust anchors instead of the system's; re-read when it changes
	InsecureHTTP bool          // allow http:// for loopback addresses

	// ClientCertificate is asked at each call, and has to return the same pointer
	// while the certificate is the same; nil: none is presented.
	ClientCertificate func() (*tls.Certificate, error)

	Log *slog.Logger
}

// New returns a client of its own connections.
func New(o Options) (*http.Client, error) {
	t := &transport{
		insecureHTTP: o.InsecureHTTP,
		certificate:  func() (*tls.Certificate, error) { return nil, nil },
		anchors:      func() *x509.CertPool { return nil }, // the system's
	}
	if o.ClientCertificate != nil {
		t.certificate = o.ClientCertificate
	}
	if o.CAFile != "" {
		anchors, err := livefile.OpenAnchors(o.CAFile, o.Log)
		if err != nil {
			return nil, err
		}
		t.anchors = anchors.Value
	}
	return &http.Client{
		Transport: t,
		Timeout:   o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the caller sees a 3xx, which is no answer
		},
	}, nil
}

type transport struct {
	insecureHTTP bool
	anchors      func() *x509.CertPool
	certificate  func() (*tls.Certificate, error)

	mu      sync.Mutex
	current *connections
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base, err := t.base(r.URL)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	return base.RoundTrip(r)
}

// base returns the connections for a request to u. The anchors are looked at
// under the lock, so that no call brings back those of before.
func (t *transport) base(u *url.URL) (*http.Transport, error) {
	if err := checkURL(u, t.insecureHTTP); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	certificate, err := t.certificate()
	if err != nil {
		return nil, err
	}
	anchors := t.anchors()
	if c := t.current; c != nil {
		if c.anchors == anchors && c.certificate == certificate {
			return c.base, nil
		}
		c.base.CloseIdleConnections()
	}
	t.current = connect(anchors, certificate)
	return t.current.base, nil
}

// CloseIdleConnections is found by http.Client.CloseIdleConnections.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.base.CloseIdleConnections()
	}
}

// connections are those that were made with one set of trust anchors and one
// client certificate. When either changes, other ones take their place: what
// anchors of before have verified is good for the calls under way, and for no
// new one.
type connections struct {
	base        *http.Transport
	dialer      net.Dialer
	anchors     *x509.CertPool   // nil: the system's
	certificate *tls.Certificate // nil: none is presented
}

func connect(anchors *x509.CertPool, certificate *tls.Certificate) *connections {
	c := &connections{anchors: anchors, certificate: certificate}
	c.dialer = net.Dialer{Timeout: dialTimeout, ControlContext: refuse}
	c.base = &http.Transport{
		DialContext:            c.dialPlain,
		DialTLSContext:         c.dialTLS,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a small answer must not become a large one
		MaxConnsPerHost:        maxConnsPerHost,
		MaxIdleConnsPerHost:    maxIdleConnsPerHost,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// A connection that died in silence is given up, instead of every call
		// timing out on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	return c
}

// dialPlain serves http://, which CheckURL allows for loopback names only; the
// address that such a name resolves to is held to the same.
func (c *connections) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	d := c.dialer
	d.ControlContext = onlyLoopback
	return d.DialContext(ctx, network, address)
}

func (c *connections) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: c.anchors, NextProtos: []string{"h2", "http/1.1"},
	}
	if c.certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.certificate, nil
		}
	}
	d := &tls.Dialer{NetDialer: &c.dialer, Config: config}
	return d.DialContext(ctx, network, address)
}

// CheckAnchors returns why content cannot be a CAFile.
func CheckAnchors(content []byte) error {
	_, err := livefile.ParseAnchors(content)
	return err
}

// refuse keeps every address that answers instance-metadata requests, or that
// is no single host, out of reach, whatever name led to it (D-12).
func refuse(_ context.Context, _, address string, _ syscall.RawConn) error {
	ip, err := hostOf(address)
	if err != nil {
		return err
	}
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || isMetadata(ip) {
		return fmt.Errorf("address %s is not allowed: "+
			"link-local, multicast, unspecified and instance-metadata addresses are refused", ip)
	}
	return nil
}

func onlyLoopback(_ context.Context, _, address string, _ syscall.RawConn) error {
	ip, err := hostOf(address)
	if err != nil {
		return err
	}
	if !ip.IsLoopback() {
		return fmt.Errorf("address %s is not allowed: http:// is for loopback addresses only", ip)
	}
	return nil
}

func hostOf(address string) (netip.Addr, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}, err
	}
	return ap.Addr().Unmap(), nil
}

// isMetadata knows the instance-metadata addresses that are not link-local.
func isMetadata(ip netip.Addr) bool {
	switch ip.String() {
	case "fd00:ec2::254", "100.100.100.200":
		return true
	}
	return false
}

// CheckURL accepts absolute https URLs with a host and without user
// information and fragment; http too for a loopback host if insecureHTTP. Without
// TLS anybody on the way could answer in the server's place, and a password in a
// URL ends up in logs (D-03, D-12).
func CheckURL(raw string, insecureHTTP bool) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("is not a URL")
	}
	if strings.Contains(raw, "#") {
		return errors.New("has a fragment, want none")
	}
	return checkURL(u, insecureHTTP)
}

func checkURL(u *url.URL, insecureHTTP bool) error {
	switch {
	case u.Hostname() == "":
		return errors.New("has no host, want an absolute URL")
	case u.User != nil:
		return errors.New("has user information, want none")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("%q is not allowed, use https", u.Scheme)
	case !isLoopback(u.Hostname()):
		return errors.New(`"http" is not allowed, use https`)
	case !insecureHTTP:
		return errors.New(`"http" is not allowed, use https (or insecure_http: true, which allows loopback hosts)`)
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// ErrTooLarge says that a body has more bytes than are read.
var ErrTooLarge = errors.New("body too large")

// Read returns the body of resp and closes it; a body of more than limit bytes
// is [ErrTooLarge].
func Read(resp *http.Response, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: got more than %d bytes", ErrTooLarge, limit)
	}
	return body, nil
}

// MediaType returns the media type that header names, in lower case and without
// parameters; empty if there is none.
func MediaType(header http.Header) string {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return kind
}

// RetryAfter reads both forms of the header field (RFC 9110 §10.2.3); zero: the server
// names no pause that could be read.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// Reach opens and closes one TCP connection to the host of raw.
func Reach(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme
	}
	d := net.Dialer{Timeout: dialTimeout, ControlContext: refuse}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}
