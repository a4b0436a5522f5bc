package service

import (
	"context"
	"crypto/sha256"
	"os"
	"time"

	"github.com/bearergate/bearergate/internal/config"
)

// watchInterval is how often the configuration file is looked at. Reading it
// beats file events: it sees the symlink swap of a Kubernetes ConfigMap and
// works on every file system.
const watchInterval = 2 * time.Second

// Watch applies the configuration of path again when its content changes, and
// on every value of again (SIGHUP), until ctx ends. A configuration that cannot
// be used is logged and counted, and the one in use stays.
func (s *Service) Watch(ctx context.Context, path string, load func() (*config.Config, error), again <-chan os.Signal) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := digest(path)
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			last = digest(path)
		case <-tick.C:
			now := digest(path)
			if now == last {
				continue
			}
			last = now
		}
		s.reload(load)
	}
}

func (s *Service) reload(load func() (*config.Config, error)) {
	cfg, err := load()
	if err == nil {
		err = s.Apply(cfg)
	}
	s.metrics.Reload(err)
	if err != nil {
		s.log.Error("changed configuration is not usable, keeping the one in use", "error", err)
		return
	}
	s.log.Info("configuration reloaded")
}

// digest of a file that cannot be read is zero: a file that is gone for a
// moment is a change, and reported as such.
func digest(path string) [sha256.Size]byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(content)
}
