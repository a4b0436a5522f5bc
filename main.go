// Command bearergate is an Envoy external-authorization service that decides
// by OAuth 2.0 access tokens. This file holds its commands and their wiring.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/admin"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/demo"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

// Set by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

// Exit statuses of docs/contract.md §1.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// failure is an error of a command that was called rightly.
type failure struct{ error }

// run executes one command and returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := commands(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDenied):
		return exitDenied
	}
	fmt.Fprintln(stderr, err)
	if errors.As(err, new(failure)) {
		return exitFailure
	}
	return exitUsage
}

func commands(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "bearergate",
		Short:         "Envoy external authorization by OAuth 2.0 access tokens",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(
		serveCommand(stderr), validateCommand(stdout, stderr), explainCommand(stdout), demoCommand(stdout, stderr),
		healthCommand(), versionCommand(stdout),
	)
	return root
}

// configFlag adds --config; its default is $BEARERGATE_CONFIG, else bearergate.yaml.
func configFlag(cmd *cobra.Command) *string {
	path := os.Getenv("BEARERGATE_CONFIG")
	if path == "" {
		path = "bearergate.yaml"
	}
	return cmd.Flags().String("config", path, "configuration file (.yaml, .yml, .toml or .json)")
}

func serveCommand(stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the service until SIGTERM or SIGINT, then drain", Args: cobra.NoArgs}
	path := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// Before all else: a SIGHUP would end the process. One that comes while it
		// starts has it reload right after.
		reload := make(chan os.Signal, 1)
		signal.Notify(reload, syscall.SIGHUP)
		defer signal.Stop(reload)
		if err := serve(cmd.Context(), *path, reload, serveListeners{}, stderr); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}

func validateCommand(stdout, stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "validate", Short: "Check the configuration without listening", Args: cobra.NoArgs}
	path := configFlag(cmd)
	asking := cmd.Flags().Bool("online", false, "ask the authorization servers too: metadata, keys, our credentials")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, os.LookupEnv)
		if err != nil {
			return failure{err}
		}
		log := slog.New(slog.DiscardHandler)
		svc := service.New(log, metrics.New(version, commit))
		defer svc.Close()
		if err := svc.Check(cfg); err != nil {
			return failure{fmt.Errorf("%s: %w", *path, err)}
		}
		for _, w := range cfg.Warnings() {
			fmt.Fprintf(stderr, "%s: warning: %s\n", *path, w)
		}
		if *asking {
			if err := validateOnline(cmd.Context(), *path, stdout); err != nil {
				return failure{err}
			}
		}
		fmt.Fprintf(stdout, "%s: valid\n", *path)
		return nil
	}
	return cmd
}

func demoCommand(stdout, stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "demo", Short: "Run Bearergate behind a real Envoy, with everything it needs", Args: cobra.NoArgs}
	check := cmd.Flags().Bool("check", false, "send the requests instead of printing them, and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		binary := os.Getenv("ENVOY")
		if binary == "" {
			binary, _ = exec.LookPath("envoy") // none is no failure: the demo says so
		}
		// A terminal that is closed ends the demo with all its parts.
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
		defer stop()
		err := demo.Run(ctx, demo.Options{
			Envoy: binary, Check: *check, Out: stdout,
			Serve: func(ctx context.Context, file string, grpc, admin net.Listener) error {
				return serve(ctx, file, nil, serveListeners{grpc: grpc, admin: admin}, stderr)
			},
		})
		if err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "health", Short: "Ask the gRPC health service", Args: cobra.NoArgs}
	address := cmd.Flags().String("address", "127.0.0.1:9191", "gRPC address, host:port or unix:///path")
	var t healthTLS
	cmd.Flags().StringVar(&t.ca, "tls-ca", "", "ask over TLS, and trust the certificates in this file")
	cmd.Flags().StringVar(&t.name, "tls-name", "", "name in the server's certificate, if not the host of the address")
	cmd.Flags().StringVar(&t.cert, "tls-cert", "", "client certificate, where the server wants one")
	cmd.Flags().StringVar(&t.key, "tls-key", "", "its private key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := health(cmd.Context(), *address, t); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}

func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print version, commit and Go version", Args: cobra.NoArgs, Run: func(*cobra.Command, []string) {
		fmt.Fprintf(stdout, "bearergate %s (commit %s, %s)\n", version, commit, runtime.Version())
	}}
}

// serveListeners are listeners that are open already; where there is none, the
// configuration says where to listen.
type serveListeners struct{ grpc, admin net.Listener }

// serve runs the service of the file at path until ctx ends, then drains. It
// reloads on every value of reload.
func serve(ctx context.Context, path string, reload <-chan os.Signal, open serveListeners, stderr io.Writer) error {
	file := service.NewFile(path, func(content []byte) (*config.Config, error) { return config.Parse(path, content, os.LookupEnv) })
	cfg, err := file.Load()
	if err != nil {
		return err
	}
	var settings logSettings
	settings.set(cfg.Log)
	log := settings.logger(stderr)
	for _, w := range cfg.Warnings() {
		log.Warn(w)
	}
	m := metrics.New(version, commit)
	svc := service.New(log, m)
	defer svc.Close()
	if err := svc.Apply(cfg); err != nil {
		return err
	}
	checks, err := envoy.NewGRPC(cfg.Envoy(), svc.Checks(), svc.Ready, log)
	if err != nil {
		return err
	}

	background, stop := context.WithCancel(ctx)
	defer stop()
	go svc.Watch(background, file, reload, func(changed *config.Config) {
		settings.set(changed.Log)
		if err := checks.Update(changed.Envoy()); err != nil {
			log.Error("changed server settings are not usable, keeping those in use", "error", err)
		}
		if changed.Server.AdminAddress != cfg.Server.AdminAddress {
			log.Warn("server.admin_address changed: restart to listen there", "in_use", cfg.Server.AdminAddress)
		}
	})
	open, err = open.complete(cfg)
	if err != nil {
		return err
	}
	return listen(ctx, open, svc, checks, m, log)
}

// complete opens the listeners that are not open yet.
func (l serveListeners) complete(cfg *config.Config) (serveListeners, error) {
	var err error
	if l.grpc == nil {
		if l.grpc, err = envoy.Listen(cfg.Envoy()); err != nil {
			return l, err
		}
	}
	if l.admin == nil {
		if l.admin, err = net.Listen("tcp", cfg.Server.AdminAddress); err != nil {
			return l, errors.Join(err, l.grpc.Close())
		}
	}
	return l, nil
}

// listen serves on both listeners until ctx ends or one of them fails.
func listen(ctx context.Context, open serveListeners, svc *service.Service, checks *envoy.GRPC, m *metrics.Metrics, log *slog.Logger) error {
	pages := &http.Server{
		Handler:           admin.New(admin.Options{Issuers: svc.Issuers, Draining: checks.Draining, Metrics: m.Handler(svc), Version: version}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
	}
	failed := make(chan error, 2)
	go func() { failed <- checks.Serve(open.grpc) }()
	go func() { failed <- pages.Serve(open.admin) }()
	log.Info("serving", "grpc_address", open.grpc.Addr().String(), "admin_address", open.admin.Addr().String(), "version", version)

	select {
	case err := <-failed:
		return errors.Join(err, pages.Close())
	case <-ctx.Done():
	}
	log.Info("draining")
	return errors.Join(checks.Drain(context.WithoutCancel(ctx), svc.Expire), pages.Close())
}
