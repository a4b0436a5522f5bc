package cli

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/admin"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/memory"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/validation"
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
		go s.listen(ctx, "admin_address", func() (net.Listener, *http.Server, error) {
			lis, err := new(net.ListenConfig).Listen(ctx, "tcp", o.AdminAddress)
			if err != nil {
				return nil, nil, err
			}
			return admin.Bounded(lis), admin.NewServer(s.pages(admin.IsLoopback(lis)).Admin(), s.log), nil
		})
	}
	if r := cfg.Revocation; r != nil && r.ReceiverAddress != "" {
		go s.listen(ctx, "revocation.receiver_address", func() (net.Listener, *http.Server, error) {
			lis, err := revocation.Listen(ctx, *r, s.log)
			return lis, revocation.NewServer(s.service.Receiver(), s.log), err
		})
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

// Revocations returns a number that changes when something is revoked.
func (i *Inside) Revocations() uint64 { return i.server.service.Revocations() }

// Revoke has tokens refused from now on.
func (i *Inside) Revoke(ctx context.Context, r revocation.Revocation) error {
	_, err := i.server.service.Revoke(ctx, r)
	return err
}

// Revoked says whether a token of an issuer, of which t was learnt, is revoked by now.
func (i *Inside) Revoked(issuer, token string, t *validation.Token) bool {
	return i.server.service.Revoked(issuer, token, t)
}

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

// listen serves what open opens, for as long as the process lives. While an Envoy that is
// replaced (hot restart) still listens there, it tries again: requests do not wait for that.
func (s *server) listen(ctx context.Context, key string, open func() (net.Listener, *http.Server, error)) {
	for told := false; ctx.Err() == nil; {
		lis, server, err := open()
		if err == nil {
			err = server.Serve(lis)
		}
		if !told {
			s.log.Warn("an address is not served yet", "key", key, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}
