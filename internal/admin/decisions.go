package admin

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
)

const (
	shownMinutes = 15
	maxRefusals  = 100
)

// How much is kept of what a client or the configuration chose, in bytes.
const (
	maxMethod = 32
	maxHost   = 255
	maxPath   = 512
	maxID     = 128
	maxName   = 255
)

// Decisions remembers what was decided of late: how often, by reason and minute, and
// the last refusals. It is told on the path of each request, and so counts without a
// lock and without memory of its own; only refusals, which are answered and done with,
// meet at one.
type Decisions struct {
	began   time.Time
	counted [shownMinutes + 1]minute // one is to be overwritten next, and read by nobody

	mu       sync.Mutex
	refusals [maxRefusals]Refusal
	refused  int // since the start
}

// minute counts the decisions of one minute.
type minute struct {
	begins sync.Mutex
	number atomic.Int64    // since the start, from 1; 0: none yet
	counts []atomic.Uint64 // by reason
}

// Refusal is a request that was not let through. Nothing of its token is in it, nor
// whose it was.
type Refusal struct {
	Time      time.Time `json:"time"`
	Reason    string    `json:"reason"`
	Rule      string    `json:"rule"`
	Issuer    string    `json:"issuer"`
	Method    string    `json:"method"`
	Host      string    `json:"host"`
	Path      string    `json:"path"` // without query
	RequestID string    `json:"request_id"`
}

// NewDecisions returns Decisions that have seen none.
func NewDecisions() *Decisions {
	d := &Decisions{began: time.Now()}
	for i := range d.counted {
		d.counted[i].counts = make([]atomic.Uint64, len(authz.Reasons()))
	}
	return d
}

// Observer has d told of decisions.
func (d *Decisions) Observer() envoy.Observer {
	return envoy.Observer{Ended: func(_ context.Context, e envoy.Event) {
		d.count(e.Decision.Reason)
		if e.Decision.Reason.Outcome() == authz.Deny {
			d.refuse(e.Request, e.Decision)
		}
	}}
}

// now is the number of the minute that it is.
func (d *Decisions) now() int64 { return int64(time.Since(d.began)/time.Minute) + 1 }

func (d *Decisions) count(reason authz.Reason) {
	now := d.now()
	m := &d.counted[now%int64(len(d.counted))]
	if m.number.Load() != now {
		m.begin(now)
	}
	if int(reason) >= len(m.counts) {
		reason = authz.Internal
	}
	m.counts[reason].Add(1)
}

// begin empties a minute that is long over for the next one.
func (m *minute) begin(number int64) {
	m.begins.Lock()
	defer m.begins.Unlock()
	if m.number.Load() == number {
		return
	}
	for i := range m.counts {
		m.counts[i].Store(0)
	}
	m.number.Store(number)
}

// refuse keeps copies: what the request says lives only as long as the Check.
func (d *Decisions) refuse(r *authz.Request, decision *authz.Decision) {
	path, _, _ := strings.Cut(r.Path, "?") // the query may hold a token
	path, _, _ = strings.Cut(path, "#")
	host := r.Host[strings.LastIndexByte(r.Host, '@')+1:] // before it may stand a password
	kept := Refusal{
		Time: time.Now(), Reason: decision.Reason.String(),
		Rule: clip(decision.Rule, maxName), Issuer: clip(decision.Issuer, maxName),
		Method: clip(r.Method, maxMethod), Host: clip(host, maxHost), Path: clip(path, maxPath),
		RequestID: clip(r.ID, maxID),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusals[d.refused%maxRefusals] = kept
	d.refused++
}

// clip returns a copy of the first bytes of s as one line of text. Characters that are
// not seen, and those that turn the direction of writing, could make one path look like
// another.
func clip(s string, most int) string {
	more := ""
	if len(s) > most {
		s, more = s[:most], "…"
	}
	return printable(s) + more
}

func printable(s string) string {
	return strings.Clone(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s))
}

// Refusals returns the last ones, the newest first.
func (d *Decisions) Refusals() []Refusal {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Refusal, 0, min(d.refused, maxRefusals))
	for i := d.refused - 1; i >= max(0, d.refused-maxRefusals); i-- {
		all = append(all, d.refusals[i%maxRefusals])
	}
	return all
}

// Minutes returns how often each reason was given in each of the last minutes, the one
// that it is last. What was not given is not there.
func (d *Decisions) Minutes() [shownMinutes]map[authz.Reason]uint64 {
	var all [shownMinutes]map[authz.Reason]uint64
	now := d.now()
	for i := range all {
		all[i] = map[authz.Reason]uint64{}
		number := now - int64(shownMinutes-1-i)
		if number < 1 {
			continue
		}
		m := &d.counted[number%int64(len(d.counted))]
		if m.number.Load() != number {
			continue
		}
		for reason := range m.counts {
			if n := m.counts[reason].Load(); n > 0 {
				all[i][authz.Reason(reason)] = n //nolint:gosec // there are few
			}
		}
	}
	return all
}
