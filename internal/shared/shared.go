// Package shared is one memory for all replicas, in a Redis (6 or newer) or Valkey:
// values that one replica has made and all may use, claims that only one caller in
// the fleet can make, and one log that every replica follows.
//
// It decides nothing, and knows neither tokens nor revocations. Whoever reads the
// store learns nothing: names are HMACs, and values are sealed. Whoever writes it can
// make nobody believe anything: what does not open under its own name is as if it
// were not there. A store that is slow or away is left alone; who asks then hears at
// once that it is ([ErrAway]), or makes the value for this replica alone.
//
// What an ACL user of the store needs, besides what is allowed to everybody (AUTH,
// HELLO), on keys ~PREFIX* and on no channel:
//
//	+get +set +del +pexpire +xadd +xrange +xread +xtrim +ping +time
//	+client|setinfo and, of a cluster, +cluster|slots +cluster|shards +asking
package shared

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/bearergate/bearergate/internal/observe"
)

// The operations and results of an [Event].
const (
	Get    = "get"
	Set    = "set"
	Lock   = "lock"   // of a value that is to be made, and claims
	Revoke = "revoke" // an entry of the log is written
	Sync   = "sync"   // the log is read

	Hit        = "hit"  // the value was there; the lock was another's, the claim had been made
	Miss       = "miss" // there was none
	Success    = "success"
	Unreadable = "unreadable" // what was there does not open, which counts as a miss
	Failed     = "error"
	TimedOut   = "timeout"
)

// Operations and Results are all of them, for metrics that begin at zero.
var (
	operations = [...]string{Get, Set, Lock, Revoke, Sync}
	results    = [...]string{Hit, Miss, Success, Unreadable, Failed, TimedOut}
)

// Operations returns the operations that an [Event] can have.
func Operations() []string { return operations[:] }

// Results returns the results that an [Event] can have.
func Results() []string { return results[:] }

// Event is how one call of the store ended.
type Event struct {
	Operation string
	Result    string
	Duration  time.Duration
	Err       error // of Failed and TimedOut; it names neither key nor value
}

// ErrAway says that the store cannot be asked, or did not answer in time.
var ErrAway = errors.New("the shared store is away")

// Options are what [Open] needs besides the configuration. All may be zero.
type Options struct {
	Log *slog.Logger
	Now func() time.Time
	// Events is told of calls of the store. A call that is not made, since the store
	// is away, is told to nobody.
	Events observe.Observer[Event]
	// Changed is told that the store is there, or away; it must not block.
	Changed func(up bool)
	// Lag is told, for every entry of the log that another replica wrote while this
	// one followed, how long it was under way, by the clock of the store.
	Lag func(time.Duration)
}

// Open returns a Store, which connects in the background: that the store is away
// is no error. It reads the files that c names. Somebody has to [Store.Close] it.
func Open(c Config, o Options) (*Store, error)

// Close ends everything that the Store does, and returns when it has ended. Entries
// of the log that could not be written are lost.
func (s *Store) Close()

// Up says whether the store answers.
func (s *Store) Up() bool

// Once returns the value that the fleet knows under space and key, or has it made by
// one replica only, which stores it for ttl; more than zero, else it is returned and
// not stored. own says that it was made here and not read.
//
// bound is what the value must have been made for, besides space and key, such as
// the configuration of the issuer. A value that was made for something else, or that
// anybody else has written, is not there. The value is shared: nobody may change it.
//
// While the store is away make is called here, once at a time for all who ask in this
// process. An error of make is returned to all who wait in this process, and not
// stored: another replica that waits makes it then, each once. A replica that dies
// while it makes is replaced by another within about 300 ms. make gets the ctx of
// its caller; others who wait in this process outlive it, and one of them makes then.
func (s *Store) Once(ctx context.Context, space string, key [32]byte, bound []byte,
	make func(ctx context.Context) (value []byte, ttl time.Duration, err error)) (value []byte, own bool, err error)

// Drop forgets the value under space and key for the whole fleet. ErrAway: it may
// still be there.
func (s *Store) Drop(ctx context.Context, space string, key [32]byte) error

// Claim returns true for the first caller in the fleet with this key only, until its
// time has come. An error means that it cannot tell: [ErrAway], or that of ctx.
func (s *Store) Claim(ctx context.Context, key [32]byte, until time.Time) (first bool, err error)

// Append writes an entry to the log. false: it could not be written now, and will be
// when the store is back.
func (s *Store) Append(ctx context.Context, entry []byte) (shared bool)

// Follow reads the log from its beginning, then waits for what is added, until ctx
// ends or the Store is closed. There is at most one Follow at a time for one Store.
func (s *Store) Follow(ctx context.Context, f Follower)

// Follower is who follows the log. Its functions are called by one goroutine.
type Follower struct {
	// Took is told of every entry, in order; own ones, too, and some more than
	// once. at is when it was written, by the clock of the store. It must not keep
	// entry.
	Took func(entry []byte, at time.Time)
	// CaughtUp is told once with true, when everything was read that was there at
	// the beginning. Where that takes more than five seconds because the store is
	// away, it is told false first.
	CaughtUp func(complete bool)
	// Snapshot returns all entries that this replica knows and that are still worth
	// knowing. What of it is not in the log is written back, where the store was
	// emptied, has lost what it had, or where the key was changed.
	Snapshot iter.Seq[[]byte]
	// Keep is how long an entry stays in the log; zero: 24 hours.
	Keep time.Duration
}
