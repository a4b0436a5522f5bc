package service

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/livefile"
)

// watchInterval is how often the configuration file is looked at. Reading it
// beats file events: it sees the symlink swap of a Kubernetes ConfigMap and
// works on every file system.
const watchInterval = 2 * time.Second

// File is a configuration file that may change.
type File struct {
	path  string
	parse func(content []byte) (*config.Config, error)

	content  []byte // that was loaded last; nil: it could not be read
	settling livefile.Settling
	demanded bool // by SIGHUP, and not done yet
}

// NewFile returns the file at path, whose content parse understands.
func NewFile(path string, parse func(content []byte) (*config.Config, error)) *File {
	return &File{path: path, parse: parse}
}

// Load reads the file at once, which is for the start. A change that comes after
// it is seen by Watch.
func (f *File) Load() (*config.Config, error) {
	content, err := config.Read(f.path)
	return f.take(content, err)
}

// errNothingNew is no failure: there is nothing to load now.
var errNothingNew = errors.New("nothing new")

// look loads what there is to load now, or returns [errNothingNew]: a change
// that has stood for [livefile.Settle], or what a SIGHUP demanded. The bytes
// that were compared are the ones that are parsed.
//
// A SIGHUP reloads at once while the file is as it was. A file that has changed
// since must settle for it, too: tools send the signal on the first event of a
// file that they, or others, are still writing, and a configuration that ends
// before its rules may be valid. That costs the operator a second.
func (f *File) look(now time.Time) (*config.Config, error) {
	content, err := config.Read(f.path)
	changed := !bytes.Equal(content, f.content) || (err == nil) != (f.content != nil)
	switch {
	case !changed && !f.demanded:
		f.settling.Reset()
		return nil, errNothingNew
	case changed && !f.settling.Settled(content, now):
		return nil, errNothingNew
	}
	return f.take(content, err)
}

// take parses what was read. A file that is gone or cannot be read is a change
// as well, and reported as such once.
func (f *File) take(content []byte, err error) (*config.Config, error) {
	f.settling.Reset()
	f.demanded, f.content = false, content
	if err != nil {
		f.content = nil
		return nil, err
	}
	return f.parse(content)
}

// pause is how long to wait until the next look.
func (f *File) pause() time.Duration {
	if f.settling.Waiting() {
		return livefile.Settle
	}
	return watchInterval
}

// Watch applies the configuration again when the content of its file changes,
// and on every value of again (SIGHUP), until ctx ends. A configuration that
// cannot be used is logged and counted, and the one in use stays; one whose
// issuers cannot be decided yet waits; applied is told of each that is used.
func (s *Service) Watch(ctx context.Context, f *File, again <-chan os.Signal, applied func(*config.Config)) {
	look := time.After(f.pause())
	for {
		var wait <-chan time.Time
		if s.isWaiting() {
			wait = time.After(waitInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
			s.advance(applied)
			continue
		case <-again:
			f.demanded = true
		case <-look:
		}
		if cfg, err := f.look(time.Now()); !errors.Is(err, errNothingNew) {
			s.reload(cfg, err, applied)
		}
		look = time.After(f.pause())
	}
}

// reload uses cfg as soon as it can be, unless err says that there is none.
func (s *Service) reload(cfg *config.Config, err error, applied func(*config.Config)) {
	if err == nil {
		err = s.propose(cfg)
	} else {
		s.withdraw()
	}
	if err != nil {
		s.metrics.Reload(err)
		s.log.Error("changed configuration is not usable, keeping the one in use", "error", err)
		return
	}
	s.advance(applied)
}

// advance uses the configuration that waits, if it need not wait any longer.
func (s *Service) advance(applied func(*config.Config)) {
	cfg := s.promote()
	if cfg == nil {
		return
	}
	s.metrics.Reload(nil)
	for _, w := range cfg.Warnings() {
		s.log.Warn(w)
	}
	applied(cfg)
	s.log.Info("configuration reloaded")
}
