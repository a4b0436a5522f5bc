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
//	+cluster|slots +cluster|shards +asking
//
// the last line of a cluster only.
package shared

import (
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

// operations and results are all of them, for metrics that begin at zero.
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

// Follower is who follows the log. Its functions are called one at a time.
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
