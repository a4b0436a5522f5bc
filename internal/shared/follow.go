package shared

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	page     = 1000 // entries that are read or written at a time
	pageTime = 5 * time.Second
	listen   = time.Second // how long the store may say nothing when there is nothing
	patience = 5 * time.Second
	// Between two tries to read: doubled from the first to the last.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 800 * time.Millisecond
	trimPause  = time.Minute

	// writeBackLease is how long others leave the writing back of what was lost to
	// the one who does it.
	writeBackLease = 15 * time.Second
)

// follower is a Follower at work.
type follower struct {
	Follower
	s     *Store
	began time.Time // by our clock: what was written before was not under way to us

	mu      sync.Mutex // of what follows, and of calls of the Follower
	told    bool       // that it is caught up
	reading bool
	late    bool // the store was away for too long

	link     *link
	last     position // that was read; zero: none
	compare  bool     // the snapshot with the log
	under    *keyRing // the keys that the log was last compared under
	unopened bool     // that some entry does not open was said
	failed   string   // what was said last of why it cannot be read
	trimmed  time.Time
}

// Follow reads the log from its beginning, then waits for what is added, until ctx
// ends or the Store is closed. There is at most one Follow at a time for one Store.
func (s *Store) Follow(ctx context.Context, f Follower) {
	if f.Keep <= 0 {
		f.Keep = 24 * time.Hour
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	s.log.follow(true)
	defer s.log.follow(false)
	w := &follower{Follower: f, s: s, began: s.o.Now(), under: s.keys.Value()}
	for range w.snapshot() { // known from before there was this store, and maybe not to it
		w.compare = true
		break
	}
	timer := time.AfterFunc(patience, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.late = true
		w.giveUp(ctx)
	})
	defer timer.Stop()
	for pause := firstRetry; ctx.Err() == nil; pause = min(2*pause, lastRetry) {
		began := time.Now()
		w.fail(ctx, w.session(ctx))
		if time.Since(began) > patience {
			pause = firstRetry
		}
		_ = sleep(ctx, pause)
	}
}

// giveUp tells the follower that the log cannot be read for now; what to make of that is
// for it to say.
func (w *follower) giveUp(ctx context.Context) {
	if w.told || w.reading || !w.late || ctx.Err() != nil {
		return
	}
	w.told = true
	w.CaughtUp(false)
}

func (w *follower) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	result := Failed
	if errors.Is(err, context.DeadlineExceeded) {
		result = TimedOut
	}
	w.s.o.Events.End(ctx, Event{Operation: Sync, Result: result, Err: err})
	if text := err.Error(); text != w.failed {
		w.failed = text
		w.s.o.Log.Warn("cannot follow the shared store, trying again", "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading = false
	w.giveUp(ctx)
}

// session follows the log over connections of its own, which do not wait for each
// other with those of callers, until one fails.
func (w *follower) session(ctx context.Context) error {
	l, err := w.s.access.connect(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	w.link = l
	_ = w.s.compareClocks(l) // where it cannot be now, a probe does it soon
	if _, err := w.checkAnchor(ctx, w.last); err != nil {
		return err
	}
	w.mu.Lock()
	w.reading = true
	w.mu.Unlock()
	if err := w.catchUp(ctx, nil); err != nil {
		return err
	}
	w.caughtUp()
	for {
		if err := w.upkeep(ctx); err != nil {
			return err
		}
		if err := w.listen(ctx); err != nil {
			return err
		}
	}
}

// caughtUp tells that everything was read which was there at the beginning, also
// where it was told before that it could not be.
func (w *follower) caughtUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told && !w.late {
		return
	}
	w.told, w.late = true, false
	w.CaughtUp(true)
}

// checkAnchor finds out whether the entry that was read last is still there. If it
// is not, the store was emptied, or has lost what it had, and maybe more than this:
// everything is read again then, and compared.
func (w *follower) checkAnchor(ctx context.Context, anchor position) (lost bool, err error) {
	if anchor == (position{}) {
		return false, nil
	}
	at := anchor.String()
	b := w.link.client.B()
	entries, err := w.do(ctx, pageTime, b.Xrange().Key(w.s.stream()).Start(at).End(at).Count(1).Build()).AsXRange()
	if err != nil || len(entries) > 0 || !w.oldest().before(anchor) {
		return false, err
	}
	w.s.o.Log.Warn("the shared store has lost revocations, writing back those that are known here")
	w.compare, w.last = true, position{}
	return true, nil
}

func (w *follower) do(ctx context.Context, timeout time.Duration, command valkey.Completed) valkey.ValkeyResult {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return w.link.client.Do(ctx, command)
}

// oldest is where the entries begin that are still to be kept, by the clock of the
// store, as far as it is known.
func (w *follower) oldest() position {
	then := w.s.o.Now().Add(time.Duration(w.s.ahead.Load()) - w.Keep)
	return position{ms: uint64(max(0, then.UnixMilli()))} //nolint:gosec // not below zero
}

// after is where to read on.
func (w *follower) after() position {
	if oldest := w.oldest(); w.last.ms < oldest.ms {
		return oldest
	}
	return w.last
}

// catchUp reads all that is there. heard is told of every entry, too.
func (w *follower) catchUp(ctx context.Context, heard func(k *key, entry []byte)) error {
	for {
		command := w.link.client.B().Xread().Count(page).Streams().Key(w.s.stream()).Id(w.after().String()).Build()
		n, err := w.read(w.do(ctx, pageTime, command), heard)
		if err != nil || n < page {
			return err
		}
	}
}

// read takes what one XREAD has brought.
func (w *follower) read(result valkey.ValkeyResult, heard func(*key, []byte)) (int, error) {
	streams, err := result.AsXRead()
	if valkey.IsValkeyNil(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	entries := streams[w.s.stream()]
	for _, e := range entries {
		if err := w.took(e, heard); err != nil {
			return 0, err
		}
	}
	return len(entries), nil
}

// took passes one entry on. Those that do not open are left: whoever has changed the
// key writes them again.
func (w *follower) took(e valkey.XRangeEntry, heard func(*key, []byte)) error {
	at, err := parsePosition(e.ID)
	if err != nil {
		return err
	}
	w.last = at
	w.s.log.read(at)
	ctx := context.Background()
	for _, k := range w.s.keys.Value().all() {
		content, err := k.open(id{kind: kindLog}, nil, []byte(e.FieldValues[logField]))
		if err != nil || len(content) < originBytes {
			continue
		}
		own := [originBytes]byte(content) == w.s.origin
		entry := content[originBytes:]
		if heard != nil {
			heard(k, entry)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.Took(entry, at.time())
		w.s.o.Events.End(ctx, Event{Operation: Sync, Result: Success})
		written := at.time().Add(-time.Duration(w.s.ahead.Load())) // by our clock
		if !own && w.told && heard == nil && w.s.o.Lag != nil && !written.Before(w.began) {
			w.s.o.Lag(max(0, w.s.o.Now().Sub(written)))
		}
		return nil
	}
	if !w.unopened {
		w.unopened = true
		w.s.o.Log.Error("an entry of the shared store's revocations does not open: another key, or another writer")
	}
	w.s.o.Events.End(ctx, Event{Operation: Sync, Result: Unreadable})
	return nil
}

// listen waits for more, and for not much longer than the store may say nothing.
func (w *follower) listen(ctx context.Context) error {
	began := time.Now()
	command := w.link.client.B().Xread().Count(page).Block(listen.Milliseconds()).Streams().
		Key(w.s.stream()).Id(w.after().String()).Build()
	anchor := w.last
	result := w.do(ctx, listen+max(w.s.cfg.Timeout, time.Second), command)
	n, err := w.read(result, nil)
	if err != nil {
		return err
	}
	if n == 0 { // all was read that was there when it began
		w.s.log.wait(w.s.log.missing(began)...)
	}
	lost, err := w.checkAnchor(ctx, anchor)
	if err != nil || !lost {
		return err
	}
	return w.catchUp(ctx, nil)
}

// upkeep writes back what the store should have, and forgets what it need not.
func (w *follower) upkeep(ctx context.Context) error {
	ring := w.s.keys.Value()
	if ring != w.under || w.s.log.overflowed() {
		w.compare = true
	}
	w.s.log.change()
	if w.compare && w.s.Up() {
		done, err := w.writeBack(ctx, ring)
		if _, refused := valkey.IsValkeyErr(err); err != nil && !refused {
			return err // else it can be read, if not written
		}
		if done {
			w.compare, w.unopened, w.under = false, false, ring
		}
	}
	if time.Since(w.trimmed) < trimPause {
		return nil
	}
	w.trimmed = time.Now()
	trim := w.link.client.B().Xtrim().Key(w.s.stream()).Minid().Almost().Threshold(w.oldest().String()).Build()
	// Redis before 6.2 does not know MINID; there the number of entries bounds them.
	if err := w.do(ctx, pageTime, trim).NonValkeyError(); err != nil {
		return err
	}
	return nil
}

// writeBack reads the whole log again, and adds to it what this replica knows and the
// log has not, or has under another key. One replica at a time does so, and those
// after it find nothing left to do.
func (w *follower) writeBack(ctx context.Context, ring *keyRing) (done bool, err error) {
	lock := w.s.stream() + ":lock"
	b := w.link.client.B()
	take := b.Set().Key(lock).Value("1").Nx().PxMilliseconds(writeBackLease.Milliseconds()).Build()
	if err := w.do(ctx, pageTime, take).Error(); err != nil {
		if valkey.IsValkeyNil(err) {
			return false, nil
		}
		return false, err
	}
	known := make(map[[16]byte]struct{})
	digest := func(entry []byte) [16]byte {
		sum := sha256.Sum256(entry)
		return [16]byte(sum[:])
	}
	w.last = position{}
	err = w.catchUp(ctx, func(k *key, entry []byte) {
		if k == ring.current {
			known[digest(entry)] = struct{}{}
		}
	})
	if err != nil {
		return false, err
	}
	var lost [][]byte
	for entry := range w.snapshot() {
		if _, ok := known[digest(entry)]; ok {
			continue
		}
		if lost = append(lost, append([]byte(nil), entry...)); len(lost) < page {
			continue
		}
		if err := w.addAll(ctx, ring.current, lock, lost); err != nil {
			return false, err
		}
		lost = lost[:0]
	}
	if err := w.addAll(ctx, ring.current, lock, lost); err != nil {
		return false, err
	}
	return true, w.do(ctx, pageTime, b.Del().Key(lock).Build()).Error()
}

func (w *follower) snapshot() iter.Seq[[]byte] {
	if w.Snapshot == nil {
		return func(func([]byte) bool) {}
	}
	return w.Snapshot
}

// addAll writes entries, and keeps the lock for the next ones.
func (w *follower) addAll(ctx context.Context, k *key, lock string, entries [][]byte) error {
	if len(entries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	b := w.link.client.B()
	commands := []valkey.Completed{b.Pexpire().Key(lock).Milliseconds(writeBackLease.Milliseconds()).Build()}
	for _, e := range entries {
		commands = append(commands, w.s.add(b, k, e))
	}
	for _, r := range w.link.client.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return err
		}
		w.s.o.Events.End(ctx, Event{Operation: Revoke, Result: Success})
	}
	return nil
}
