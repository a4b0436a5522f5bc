// Package livefile holds the parsed content of a file that may be replaced
// while the program runs: a rotated secret, a renewed certificate, a changed
// set of trust anchors.
//
// It looks at the content when the value is asked for, at most once in
// [Interval], instead of waiting for file events: that sees the symlink swap
// of a Kubernetes volume, works on every file system, and owns no goroutine.
package livefile

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Interval is how often at most a file is looked at.
const Interval = 2 * time.Second

// maxBytes bounds what is read from one file.
const maxBytes = 1 << 20

// File is the parsed content of one file. It is safe for concurrent use.
type File[T any] struct {
	path  string
	parse func([]byte) (T, error)
	log   *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	content []byte
	value   T
}

// Open reads path for the first time. Later contents that cannot be read or
// parsed are logged as errors, once per content, and the last good value stays.
// The parser must not keep its argument and must not put it into its errors.
func Open[T any](path string, log *slog.Logger, parse func([]byte) (T, error)) (*File[T], error) {
	f := &File[T]{path: path, parse: parse, log: log, looked: time.Now()}
	content, err := read(path)
	if err != nil {
		return nil, err
	}
	if f.value, err = parse(content); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.content = content
	return f, nil
}

// Value returns the newest good value.
func (f *File[T]) Value() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= Interval {
		f.looked = now
		f.look()
	}
	return f.value
}

func (f *File[T]) look() {
	content, err := read(f.path)
	if err == nil && bytes.Equal(content, f.content) {
		return
	}
	if err != nil {
		f.log.Error("cannot re-read file, keeping the last good content", "file", f.path, "error", err)
		return
	}
	f.content = content
	value, err := f.parse(content)
	if err != nil {
		f.log.Error("changed file is not usable, keeping the last good content", "file", f.path, "error", err)
		return
	}
	f.value = value
	f.log.Info("file changed, new content in use", "file", f.path)
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxBytes)
	}
	return content, nil
}
