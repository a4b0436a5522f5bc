package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/admin"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/memory"
	"github.com/bearergate/bearergate/internal/service"
)

// InsideOptions say what the service within another process runs by.
type InsideOptions struct {
	ConfigFile   string
	AdminAddress string // of the pages; empty: there are none
	Stderr       io.Writer
}

// Inside is the service within another process, Envoy's: what [Run] serves, without a
// listener for Envoy, and without signals, which are the process's own.
type Inside struct{ server *server }

// StartInside starts the service of a configuration file, for as long as the process
// lives. It follows the file as serve does; of the section server it goes by
// admin_token_file, memory_limit and reload_grace alone.
func StartInside(build Build, o InsideOptions) (*Inside, error) {
	ctx := context.Background()
	file := service.NewFile(o.ConfigFile, func(content []byte) (*config.Config, error) {
		cfg, err := config.Parse(o.ConfigFile, content, os.LookupEnv)
		if err == nil {
			cfg.Server.Envoy = envoy.Config{ReloadGrace: cfg.Server.Envoy.ReloadGrace}
			cfg.Server.AdminAddress, cfg.Server.ProbeAddress = o.AdminAddress, ""
		}
		return cfg, err
	})
	cfg, err := file.Load()
	if err != nil {
		return nil, err
	}
	s := program{build: build, stderr: o.Stderr}.newServer(ctx, cfg)
	s.share = insideShare
	if err := s.prepare(); err != nil {
		s.close(ctx)
		return nil, err
	}
	if os.Getenv("GOGC") == "" {
		memory.Pace()
	}
	go s.service.Watch(ctx, file, nil, s.reloaded)
	if o.AdminAddress != "" {
		go s.showPages(ctx, o.AdminAddress)
	}
	s.log.Info("deciding within Envoy", "admin_address", o.AdminAddress, "version", build.Version)
	return &Inside{s}, nil
}

// Checks returns who decides.
func (i *Inside) Checks() *envoy.Server { return i.server.service.Checks() }

// Settle waits until the issuers can be decided, or the time is over.
func (i *Inside) Settle(longest time.Duration) {
	i.server.service.Settle(context.Background(), longest)
}

// Log returns the log of the service.
func (i *Inside) Log() *slog.Logger { return i.server.log }

// insideShare is what of the container's memory is ours, where nobody says: it is
// Envoy's first.
const insideShare = 0.25

// cut leaves a share of a limit that the cgroup has for the whole process.
func cut(limit int64, from string, share float64) int64 {
	if share == 0 || from != "cgroup" || limit == memory.Unlimited {
		return limit
	}
	limit = int64(float64(limit) * share)
	debug.SetMemoryLimit(limit)
	return limit
}

// listenAgain is how long after a try to listen the next one follows.
const listenAgain = time.Second

// showPages serves the pages at address. While an Envoy that is replaced (hot restart)
// still listens there, it tries again: requests do not wait for that.
func (s *server) showPages(ctx context.Context, address string) {
	told := false
	for {
		lis, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			pages := s.pages(admin.IsLoopback(lis))
			err = admin.NewServer(pages.Admin(), s.log).Serve(admin.Bounded(lis))
		}
		if !told {
			s.log.Warn("the admin address is not served yet", "admin_address", address, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenAgain):
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
