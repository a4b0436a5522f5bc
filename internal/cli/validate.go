package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

func (p program) validateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "validate", Short: "Check the configuration without listening", Args: cobra.NoArgs}
	path := configFlag(cmd)
	online := cmd.Flags().Bool("online", false,
		"ask the authorization servers too: metadata, keys, our credentials")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return failed(p.validate(cmd.Context(), *path, *online))
	}
	return cmd
}

// validate says whether serve would start with the file at path.
func (p program) validate(ctx context.Context, path string, online bool) error {
	cfg, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return err
	}
	if err := p.check(cfg); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(p.stderr, "%s: warning: %s\n", path, w)
	}
	if online {
		if err := p.probe(ctx, path, cfg); err != nil {
			return err
		}
	}
	fmt.Fprintf(p.stdout, "%s: valid\n", path)
	return nil
}

// check builds everything that the configuration needs, and starts none of it.
func (p program) check(cfg *config.Config) error {
	svc := p.quietService()
	defer svc.Close()
	return svc.Check(cfg)
}

// probe asks the real servers for metadata, keys and the verdict on our
// credentials.
func (p program) probe(ctx context.Context, path string, cfg *config.Config) error {
	svc, err := p.online(ctx, path, cfg)
	if err != nil {
		return err
	}
	defer svc.Close()
	var errs []error
	for _, tried := range svc.Probe(ctx) {
		what := fmt.Sprintf("%s: issuer %s: %s", path, tried.Issuer, tried.What)
		if tried.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, tried.Err))
			continue
		}
		fmt.Fprintln(p.stdout, what)
	}
	if cfg.Shared != nil {
		ctx, cancel := context.WithTimeout(ctx, storeWait)
		defer cancel()
		if err := svc.PingStore(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: shared: %w", path, err))
		} else {
			fmt.Fprintf(p.stdout, "%s: shared: the store answers\n", path)
		}
	}
	return errors.Join(errs...)
}

// storeWait is how long a store may take to answer.
const storeWait = 5 * time.Second

// online starts the service of the configuration at path without listening,
// and gives its authorization servers some time to answer.
func (p program) online(ctx context.Context, path string, cfg *config.Config) (*service.Service, error) {
	svc := p.quietService()
	if err := svc.Apply(withoutStreams(cfg)); err != nil {
		svc.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	svc.Settle(ctx, onlineWait)
	return svc, nil
}

// withoutStreams is cfg without what is told to whoever serves: an event that was
// acknowledged here would be lost there.
func withoutStreams(cfg *config.Config) *config.Config {
	if cfg.Revocation == nil {
		return cfg
	}
	c, r := *cfg, *cfg.Revocation
	r.Events, r.BackchannelLogout = nil, nil
	c.Revocation = &r
	return &c
}

// quietService is for commands that say themselves what happened.
func (p program) quietService() *service.Service {
	return service.New(slog.New(slog.DiscardHandler), metrics.New(p.build.Version, p.build.Commit))
}
