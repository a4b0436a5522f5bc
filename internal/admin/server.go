package admin

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

const (
	maxConnections = 256
	maxHeaderBytes = 32 << 10 // a request has few headers, and a browser some cookies of its host
)

// NewServer returns a server whose bounds keep a client that stalls from holding a
// connection for ever.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // clients cause these as they like
	}
}

// Bounded has only so many connections open at a time: those of a flood wait, and take
// no descriptors from the service.
func Bounded(lis net.Listener) net.Listener { return netutil.LimitListener(lis, maxConnections) }

// IsLoopback says whether other machines cannot reach a listener.
func IsLoopback(lis net.Listener) bool {
	address, ok := lis.Addr().(*net.TCPAddr)
	return ok && address.IP.IsLoopback()
}
