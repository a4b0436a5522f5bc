package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/admin"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/memory"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/internal/telemetry"
)

func (p program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the service until SIGTERM or SIGINT, then drain", Args: cobra.NoArgs}
	path := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// Before all else: a SIGHUP would end the process. One that comes while it
		// starts has it reload right after.
		reload := make(chan os.Signal, 1)
		signal.Notify(reload, syscall.SIGHUP)
		defer signal.Stop(reload)
		return failed(p.serve(cmd.Context(), *path, reload, listeners{}))
	}
	return cmd
}

// noFile is for who starts the image, or the binary, for the first time.
const noFile = "There is no configuration. Name one with --config or BEARERGATE_CONFIG; " +
	"in a container, mount it where that\npoints: " +
	"docker run -v ./bearergate.yaml:/etc/bearergate/bearergate.yaml:ro bearergate"

// hinted adds what to do where the file at path itself is not there, and not one
// that it names.
func hinted(err error, path string) error {
	var missing *fs.PathError
	if errors.As(err, &missing) && missing.Path == path && errors.Is(missing, fs.ErrNotExist) {
		return fmt.Errorf("%w\n%s", err, noFile)
	}
	return err
}

// serve runs the service of the file at path until ctx ends, then drains. It
// reloads when the file changes and on every value of reload.
func (p program) serve(ctx context.Context, path string, reload <-chan os.Signal, open listeners) error {
	file := service.NewFile(path, func(content []byte) (*config.Config, error) {
		return config.Parse(path, content, os.LookupEnv)
	})
	cfg, err := file.Load()
	if err != nil {
		return hinted(err, path)
	}
	s := p.newServer(ctx, cfg)
	defer s.close(ctx)
	if os.Getenv("GOGC") == "" {
		defer memory.Pace()()
	}
	if err := s.prepare(); err != nil {
		return err
	}

	background, stop := context.WithCancel(ctx)
	defer stop()
	go s.service.Watch(background, file, before(background, reload, s.decisions.Reopen), s.reloaded)

	if open, err = open.complete(ctx, cfg, s.log); err != nil {
		return err
	}
	return s.answer(ctx, open)
}

// before passes signals on, after do was done: a log file that was moved away is opened
// again even when the configuration is not usable.
func before(ctx context.Context, signals <-chan os.Signal, do func()) <-chan os.Signal {
	passed := make(chan os.Signal, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				do()
				select {
				case passed <- sig:
				default: // one that nobody has looked at yet stands for both
				}
			}
		}
	}()
	return passed
}

// server is one run of serve: the service, and what stands around it.
type server struct {
	build   Build
	started *config.Config // its listen addresses are in use until the end
	share   float64        // of the cgroup's memory that is ours; 0: all

	logging   logSettings
	log       *slog.Logger
	metrics   *metrics.Metrics
	traces    *telemetry.Traces
	push      *telemetry.Push
	recent    *admin.Decisions
	token     *admin.Token
	decisions *telemetry.DecisionLog
	service   *service.Service
	checks    *envoy.GRPC
}

// newServer returns a server that logs and counts, and decides nothing yet.
func (p program) newServer(ctx context.Context, cfg *config.Config) *server {
	s := &server{build: p.build, started: cfg, metrics: metrics.New(p.build.Version, p.build.Commit)}
	s.logging.set(cfg.Log)
	s.log = s.logging.logger(p.stderr)
	export := telemetry.ExportOptions{Version: p.build.Version, Log: s.log}
	s.traces = telemetry.StartTraces(ctx, export)
	s.recent, s.token = admin.NewDecisions(), admin.NewToken(s.log)
	s.decisions = telemetry.NewDecisionLog(telemetry.DecisionLogOptions{
		Stderr: p.stderr, Log: s.log, Unwritten: s.metrics.Unwritten,
	})
	s.service = service.New(s.log, s.metrics, service.Observers{
		Checks: s.traces.Checks(), Discovery: s.traces.Discovery(), Validation: s.traces.Validation(),
		Shared: s.traces.Shared(), Transport: s.traces.Transport,
	}, service.Observers{Checks: s.recent.Observer()},
		service.Observers{Checks: s.decisions.Checks(), Validation: s.decisions.Validation()})
	s.push = telemetry.StartPush(ctx, export, s.metrics.Gatherer(s.service))
	return s
}

// close ends the service, and then has what was told of it sent.
func (s *server) close(ctx context.Context) {
	s.service.Close()
	s.decisions.Close()
	s.traces.Close(ctx)
	s.push.Close(ctx)
}

// prepare puts the configuration in force, so that the first Check that comes
// finds it there.
func (s *server) prepare() error {
	for _, w := range s.started.Warnings() {
		s.log.Warn(w)
	}
	s.limitMemory(s.started)
	err := errors.Join(s.logDecisions(s.started), s.token.Use(s.started.Server.AdminTokenFile))
	if err != nil {
		return err
	}
	if err := s.service.Apply(s.started); err != nil {
		return err
	}
	s.checks, err = envoy.NewGRPC(s.started.Server.Envoy, s.service.Checks(), s.service.Ready, s.log)
	return err
}

// reloaded takes over what the service itself does not look at, once it uses
// another configuration.
func (s *server) reloaded(cfg *config.Config) {
	s.logging.set(cfg.Log)
	s.limitMemory(cfg)
	if err := s.logDecisions(cfg); err != nil {
		s.log.Error("the decision log goes on as it was", "error", err)
	}
	if err := s.checks.Update(cfg.Server.Envoy); err != nil {
		s.log.Error("changed server settings are not usable, keeping those in use", "error", err)
	}
	if err := s.token.Use(cfg.Server.AdminTokenFile); err != nil {
		s.log.Error("changed admin token is not usable, keeping the one in use", "error", err)
	}
	if inUse := s.started.Server.AdminAddress; cfg.Server.AdminAddress != inUse {
		s.log.Warn("server.admin_address changed: restart to listen there", "in_use", inUse)
	}
	if inUse := s.started.Server.ProbeAddress; cfg.Server.ProbeAddress != inUse {
		s.log.Warn("server.probe_address changed: restart to listen there", "in_use", inUse)
	}
	if inUse := receiverOf(s.started); receiverOf(cfg) != inUse {
		s.log.Warn("revocation.receiver_address or receiver_tls changed: restart to listen so", "in_use", inUse.address)
	}
}

// receiverOf is what of the receiver needs a restart to change.
func receiverOf(cfg *config.Config) (r struct {
	address string
	tls     revocation.TLS
}) {
	if cfg.Revocation != nil {
		r.address, r.tls = cfg.Revocation.ReceiverAddress, cfg.Revocation.ReceiverTLS
	}
	return r
}

// logDecisions has decisions written as cfg says. Each one that is written has an ID.
func (s *server) logDecisions(cfg *config.Config) error {
	if cfg.Telemetry.DecisionLog.Output != "" {
		s.service.Checks().Identify(true)
	}
	err := s.decisions.Use(cfg.Telemetry.DecisionLog, cfg.Digest)
	s.service.Checks().Identify(s.decisions.On())
	return err
}

// limitMemory sets the soft limit that cfg says. One that cannot be found out is no
// reason not to serve.
func (s *server) limitMemory(cfg *config.Config) {
	limit, from, err := memory.SetLimit(cfg.Server.MemoryLimit, os.LookupEnv)
	limit = cut(limit, from, s.share)
	switch {
	case err != nil:
		s.log.Warn("the memory limit stays as it was", "error", err)
	case limit != memory.Unlimited:
		s.log.Info("memory limit", "bytes", limit, "from", from)
	}
}

// listeners are open already; where there is none, the configuration says where
// to listen.
type listeners struct{ grpc, admin, probe, receiver net.Listener }

// complete opens the listeners that are not open yet.
func (l listeners) complete(ctx context.Context, cfg *config.Config, log *slog.Logger) (listeners, error) {
	var err error
	if l.grpc == nil {
		if l.grpc, err = envoy.Listen(cfg.Server.Envoy); err != nil {
			return l, err
		}
	}
	if l.admin == nil {
		if l.admin, err = net.Listen("tcp", cfg.Server.AdminAddress); err != nil {
			return l, errors.Join(err, l.grpc.Close())
		}
	}
	if l.probe == nil && cfg.Server.ProbeAddress != "" {
		if l.probe, err = net.Listen("tcp", cfg.Server.ProbeAddress); err != nil {
			return l, errors.Join(err, l.grpc.Close(), l.admin.Close())
		}
	}
	if l.receiver == nil && cfg.Revocation != nil && cfg.Revocation.ReceiverAddress != "" {
		if l.receiver, err = revocation.Listen(ctx, *cfg.Revocation, log); err != nil {
			errs := []error{err, l.grpc.Close(), l.admin.Close()}
			if l.probe != nil {
				errs = append(errs, l.probe.Close())
			}
			return l, errors.Join(errs...)
		}
	}
	return l, nil
}

// answer serves on every listener until ctx ends or one of them fails.
func (s *server) answer(ctx context.Context, open listeners) error {
	ended := make(chan error, 4)
	go func() { ended <- s.checks.Serve(open.grpc) }()
	closePages := s.servePages(open, ended)
	s.log.Info("serving", "grpc_address", open.grpc.Addr().String(),
		"admin_address", open.admin.Addr().String(), "version", s.build.Version)

	select {
	case err := <-ended:
		return errors.Join(err, closePages())
	case <-ctx.Done():
	}
	s.log.Info("draining")
	// The pages go last: they say draining for as long as there is anything to drain.
	return errors.Join(s.checks.Drain(context.WithoutCancel(ctx), s.service.Expire), closePages())
}

// servePages serves the pages, and returns what ends that.
func (s *server) servePages(open listeners, ended chan<- error) (end func() error) {
	pages := s.pages(admin.IsLoopback(open.admin))
	var servers []*http.Server
	serve := func(lis net.Listener, server *http.Server) {
		servers = append(servers, server)
		go func() { ended <- server.Serve(lis) }()
	}
	serve(admin.Bounded(open.admin), admin.NewServer(pages.Admin(), s.log))
	if open.probe != nil {
		serve(admin.Bounded(open.probe), admin.NewServer(pages.Probes(), s.log))
	}
	if open.receiver != nil {
		s.log.Info("events and logout tokens are taken", "receiver_address", open.receiver.Addr().String())
		serve(open.receiver, revocation.NewServer(s.service.Receiver(), s.log))
	}
	return func() error {
		var errs []error
		for _, server := range servers {
			errs = append(errs, server.Close())
		}
		return errors.Join(errs...)
	}
}

func (s *server) pages(loopback bool) *admin.Pages {
	return admin.New(admin.Options{
		Service:   s.service,
		Draining:  s.checks.Draining,
		Lookups:   s.metrics.Lookups,
		Decisions: s.recent,
		Checks:    s.service.Checks(),
		Metrics:   s.metrics.Handler(s.service),
		Version:   s.build.Version,
		Commit:    s.build.Commit,
		Token:     s.token,
		Loopback:  loopback,
		Log:       s.log,
	})
}
