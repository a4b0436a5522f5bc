package envoy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// Bounds of the listener. gRPC leaves most of them open, and one peer that opens
// streams or connections without end would take the service away from all.
const (
	maxStreams       = 2048 // Checks at a time on one connection
	maxHeaderBytes   = 64 << 10
	handshakeTimeout = 10 * time.Second
	connectionAge    = 30 * time.Minute // then Envoy is asked to connect anew, so that replicas even out
	connectionGrace  = time.Minute
	pingAfter        = time.Minute
	pingTimeout      = 20 * time.Second
	expireGrace      = time.Second      // for answers that were cut short to leave
	leastPingPause   = 10 * time.Second // of the client's own pings
	streamWindow     = 64 << 10         // of a message that nobody has begun to read
	connectionWindow = 1 << 20          // of all of them on one connection
	streamWorkers    = 32               // whose stacks have grown already; more at a time get one of their own
)

// Listen opens the address of c, a TCP port or a Unix socket. A socket that a
// process before left behind is replaced, but never one that somebody listens on.
func Listen(c Config) (net.Listener, error) {
	path, ok := socketPath(c.GRPCAddress)
	if !ok {
		return net.Listen("tcp", c.GRPCAddress)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// removeStale removes a socket that nobody listens on any more.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is not a socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(fmt.Errorf("%s is in use", path), conn.Close())
	}
	return os.Remove(path)
}

// GRPC serves the Check and health services on one listener, so that Envoy's health
// checks go the very way that its requests for decisions go.
type GRPC struct {
	server   *grpc.Server
	log      *slog.Logger
	config   atomic.Pointer[Config]
	tls      atomic.Pointer[tls.Config] // nil: the listener speaks plain text
	draining atomic.Bool
	stopping chan struct{} // closed when no new call is taken
}

// NewGRPC returns a server that says SERVING while ready returns nil.
func NewGRPC(c Config, checks *Server, ready func() error, log *slog.Logger) (*GRPC, error) {
	options := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionGrace, Time: pingAfter, Timeout: pingTimeout,
		}),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPingPause, PermitWithoutStream: true}),
	}
	g := &GRPC{log: log, stopping: make(chan struct{})}
	g.config.Store(&c)
	if c.TLS != nil {
		config, err := serverTLS(*c.TLS, log)
		if err != nil {
			return nil, fmt.Errorf("server.tls: %w", err)
		}
		g.tls.Store(config)
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{
			MinVersion:         tls.VersionTLS12,
			NextProtos:         []string{"h2"},
			GetConfigForClient: g.tlsFor,
		})))
	}
	g.server = grpc.NewServer(options...)
	g.server.RegisterService(newIntake().service(), checks)
	healthv1.RegisterHealthServer(g.server, &health{
		serving:  func() bool { return !g.draining.Load() && ready() == nil },
		stopping: g.stopping,
	})
	return g, nil
}

// tlsFor gives each connection the settings in use, with the files as they are.
func (g *GRPC) tlsFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config := g.tls.Load()
	if config.GetConfigForClient != nil {
		return config.GetConfigForClient(hello)
	}
	return config, nil
}

// Update changes the settings of a running server. The address, and whether
// TLS is spoken at all, need a restart: a change to them is logged.
func (g *GRPC) Update(c Config) error {
	before := g.config.Load()
	if c.GRPCAddress != before.GRPCAddress {
		g.log.Warn("server.grpc_address changed: restart to listen there", "in_use", before.GRPCAddress)
		c.GRPCAddress = before.GRPCAddress
	}
	switch {
	case (c.TLS == nil) != (before.TLS == nil):
		g.log.Warn("server.tls was added or removed: restart for that")
		c.TLS = before.TLS
	case c.TLS != nil && !reflect.DeepEqual(c.TLS, before.TLS):
		config, err := serverTLS(*c.TLS, g.log)
		if err != nil {
			return fmt.Errorf("server.tls: %w", err)
		}
		g.tls.Store(config)
	}
	g.config.Store(&c)
	return nil
}

// Serve answers on lis and returns when [GRPC.Drain] is through, or with the error
// that keeps lis from accepting.
func (g *GRPC) Serve(lis net.Listener) error { return g.server.Serve(lis) }

// Draining says whether Drain has begun.
func (g *GRPC) Draining() bool { return g.draining.Load() }

// Drain says NOT_SERVING, keeps answering for the drain delay, then takes no
// new call, lets those under way end within the shutdown timeout, and stops.
// Calls that take longer are cut short by expire, and answered; an error says
// that even then some were not. It is called once.
func (g *GRPC) Drain(ctx context.Context, expire func()) error {
	g.draining.Store(true)
	select {
	case <-ctx.Done():
	case <-time.After(g.config.Load().DrainDelay):
	}
	close(g.stopping)
	done := make(chan struct{})
	go func() { defer close(done); g.server.GracefulStop() }()
	for _, wait := range []time.Duration{g.config.Load().ShutdownTimeout, expireGrace} {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
		case <-time.After(wait):
		}
		expire()
	}
	g.server.Stop()
	<-done
	return errors.New("drain: calls were still under way at the end of shutdown_timeout")
}
