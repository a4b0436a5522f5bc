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

// Settle is how long a file must have stood unchanged before it is taken: who
// writes it in pieces may not be through yet (docs/contract.md §2).
const Settle = time.Second

// maxBytes bounds what is read from one file.
const maxBytes = 1 << 20

// File is the parsed content of one file. It is safe for concurrent use.
type File[T any] struct {
	path  string
	parse func([]byte) (T, error)
	log   *slog.Logger

	mu       sync.Mutex
	looked   time.Time
	content  []byte // that was taken last
	value    T
	settling Settling
	unread   error // why the file could not be read at the last look
	unusable error // why what was taken last is not the value
}

// Open reads path for the first time. Later contents that cannot be read or
// parsed are logged as errors, once per content, and the last good value stays.
// The parser must not keep its argument and must not put it into its errors.
func Open[T any](path string, log *slog.Logger, parse func([]byte) (T, error)) (*File[T], error) {
	f := &File[T]{path: path, parse: parse, log: log, looked: time.Now()}
	read, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if f.value, err = parse(read.content); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.content = read.content
	return f, nil
}

// Value returns the newest good value.
func (f *File[T]) Value() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := Interval
	if f.settling.Waiting() {
		wait = Settle
	}
	if now := time.Now(); now.Sub(f.looked) >= wait {
		f.looked = now
		f.look(now)
	}
	return f.value
}

// Problem returns why the value may not be what the file is to say now: it could
// not be read at the last look, or not be used. It does not look itself.
func (f *File[T]) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unread != nil {
		return f.unread
	}
	return f.unusable
}

func (f *File[T]) look(now time.Time) {
	read, err := readFile(f.path)
	if err != nil {
		f.settling.Reset()
		if f.unread == nil {
			f.log.Error("cannot re-read file, keeping the last good content", "file", f.path, "error", err)
		}
		f.unread = err
		return
	}
	f.unread = nil
	if bytes.Equal(read.content, f.content) {
		f.settling.Reset()
		return
	}
	// Nobody may have asked for a long time, and the next one who does shall not
	// get what was replaced hours ago: a file that was last written a second ago
	// or more is settled at the first look, too.
	if !f.settling.Settled(read.content, now) && now.Sub(read.modified) < Settle {
		return
	}
	f.take(read.content)
}

func (f *File[T]) take(content []byte) {
	f.settling.Reset()
	f.content = content
	value, err := f.parse(content)
	f.unusable = nil
	if err != nil {
		f.unusable = fmt.Errorf("%s: %w", f.path, err)
		f.log.Error("changed file is not usable, keeping the last good content", "file", f.path, "error", err)
		return
	}
	f.value = value
	f.log.Info("file changed, new content in use", "file", f.path)
}

// reading is what a file held at one time.
type reading struct {
	content  []byte
	modified time.Time // asked for after reading: a write in between makes the content a fresh one
}

func readFile(path string) (reading, error) {
	file, err := os.Open(path)
	if err != nil {
		return reading{}, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return reading{}, err
	}
	if len(content) > maxBytes {
		return reading{}, fmt.Errorf("%s: larger than %d bytes", path, maxBytes)
	}
	info, err := file.Stat()
	if err != nil {
		return reading{}, err
	}
	return reading{content, info.ModTime()}, nil
}
