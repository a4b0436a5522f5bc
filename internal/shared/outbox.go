package shared

import (
	"sync"
	"time"
)

const (
	// maxWaiting bounds the entries that wait for the store. If there were more, the
	// whole snapshot is compared with the log when it is back.
	maxWaiting = 10_000
	batch      = 100 // entries that are written within the time of one command
)

// outbox holds what this replica has written to the log, or has to write.
type outbox struct {
	changed chan struct{} // there may be something to write

	mu        sync.Mutex
	waiting   [][]byte
	lost      bool // more entries than may wait
	following bool
	seen      position             // that was read last
	written   map[position]writing // and not read back yet
}

// writing is an entry that the store has taken. A replica of the store that becomes
// its master may not have it.
type writing struct {
	entry []byte
	at    time.Time // ours
}

func (b *outbox) change() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// wait keeps entries for later.
func (b *outbox) wait(entries ...[]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		if len(b.waiting) >= maxWaiting {
			b.lost = true
			return
		}
		b.waiting = append(b.waiting, e)
	}
}

// take returns entries to be written.
func (b *outbox) take() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), batch)
	taken := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	return taken
}

// wrote remembers what the store has taken until it was read back.
func (b *outbox) wrote(at position, entry []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.following || !b.seen.before(at) { // it was read before we heard that it was written
		return
	}
	if len(b.written) >= maxWaiting {
		b.lost = true
		return
	}
	b.written[at] = writing{entry, time.Now()}
}

func (b *outbox) read(at position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = at
	delete(b.written, at)
}

// missing returns entries that were written before a time at which the whole log
// had been read, and were not in it.
func (b *outbox) missing(before time.Time) (entries [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, w := range b.written {
		if w.at.Before(before) {
			entries = append(entries, w.entry)
			delete(b.written, at)
		}
	}
	return entries
}

func (b *outbox) follow(following bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.following, b.seen = following, position{}
	b.written = make(map[position]writing)
}

// overflowed says once that entries were lost.
func (b *outbox) overflowed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := b.lost
	b.lost = false
	return lost
}
