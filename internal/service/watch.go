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

// File is a configuration file that may change.
type File struct {
	path string
	load func() (*config.Config, error)
	last [sha256.Size]byte // of the content that was loaded last
}

// NewFile returns the file at path, which load reads.
func NewFile(path string, load func() (*config.Config, error)) *File {
	return &File{path: path, load: load}
}

// Load reads the file. A change that comes after it is seen by Watch.
func (f *File) Load() (*config.Config, error) {
	f.last = f.digest()
	return f.load()
}

func (f *File) changed() bool { return f.digest() != f.last }

// digest of a file that cannot be read is zero: a file that is gone for a
// moment is a change, and reported as such.
func (f *File) digest() [sha256.Size]byte {
	content, err := os.ReadFile(f.path)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(content)
}

// Watch applies the configuration again when the content of its file changes,
// and on every value of again (SIGHUP), until ctx ends. A configuration that
// cannot be used is logged and counted, and the one in use stays; applied is
// told of each that can.
func (s *Service) Watch(ctx context.Context, f *File, again <-chan os.Signal, applied func(*config.Config)) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-tick.C:
			if !f.changed() {
				continue
			}
		}
		s.reload(f, applied)
	}
}

func (s *Service) reload(f *File, applied func(*config.Config)) {
	cfg, err := f.Load()
	if err == nil {
		err = s.Apply(cfg)
	}
	s.metrics.Reload(err)
	if err != nil {
		s.log.Error("changed configuration is not usable, keeping the one in use", "error", err)
		return
	}
	for _, w := range cfg.Warnings() {
		s.log.Warn(w)
	}
	applied(cfg)
	s.log.Info("configuration reloaded")
}
