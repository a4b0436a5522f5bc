package revocation

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/bearergate/bearergate/internal/livefile"
)

// The bounds of the receiver, which strangers may reach.
const (
	maxRequests    = 64
	maxConnections = 256
	maxHeaderBytes = 32 << 10
	requestTime    = 5 * time.Second
)

// NewServer returns the receiver's server: 5 seconds and 64 requests at a time. Whether
// it speaks TLS is the listener's business. Nobody needs HTTP/2 here, where a
// connection could hold many requests.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           bounded(h),
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      2 * requestTime, // from the end of the header on: the body, and then the answer
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         new(http.Protocols),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // clients cause these as they like
	}
	s.Protocols.SetHTTP1(true)
	// Logout tokens are sent once. A sender that kept a connection while the receiver was
	// restarted would lose one by it: Keycloak (26.7) does not try again.
	s.SetKeepAlivesEnabled(false)
	return s
}

// bounded has so many requests at a time, each for so long. Others are to come again.
func bounded(h http.Handler) http.Handler {
	slots := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			unavailable(w)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Listen returns the listener of receiver_address, which speaks TLS if the
// configuration has a certificate; that is re-read when it changes. Connections beyond
// a bound wait, and take no descriptors from the service.
func Listen(ctx context.Context, c Config, log *slog.Logger) (net.Listener, error) {
	var config *tls.Config
	if c.ReceiverTLS.CertFile != "" {
		pair, err := livefile.OpenPair(c.ReceiverTLS.CertFile, c.ReceiverTLS.KeyFile, log)
		if err != nil {
			return nil, err
		}
		config = &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return pair.Current(), nil
			},
		}
	}
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", c.ReceiverAddress)
	if err != nil {
		return nil, err
	}
	lis = netutil.LimitListener(lis, maxConnections)
	if config != nil {
		lis = tls.NewListener(lis, config)
	}
	return lis, nil
}
