package telemetry

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/livefile"
	"github.com/bearergate/bearergate/validation"
)

const (
	// maxWaiting is how many decisions wait to be written, about a MiB of them as a rule.
	// What does not fit is dropped and counted: no Check waits for a disk.
	maxWaiting = 4096
	// closeTimeout is how long the end of the process waits for a disk or a pipe.
	closeTimeout = time.Second
)

// DecisionLogOptions say who is told of what.
type DecisionLogOptions struct {
	Stderr    io.Writer
	Log       *slog.Logger
	Unwritten func(n int) // counts what should have been written and was not
}

// DecisionLog writes decisions, one JSON object a line (docs/decisions.md). Its methods
// are safe for concurrent use. It writes nothing, and costs nothing, until [DecisionLog.Use].
type DecisionLog struct {
	o         DecisionLogOptions
	settings  atomic.Pointer[logSettings] // nil: off
	ownKey    []byte                      // where no file has one
	waiting   chan record
	unwritten atomic.Int64 // that no line has told of yet
	failed    rate.Sometimes

	mu     sync.Mutex // of what follows, but for the writer's look at output
	path   string     // of the output
	output atomic.Pointer[output]
	quit   chan struct{} // nil: the writer does not run
	ended  chan struct{}
}

// logSettings are those of one configuration.
type logSettings struct {
	allows float64
	denies *rate.Limiter
	key    func() []byte // of the hash of a subject
	digest string
}

// NewDecisionLog returns a log that is off.
func NewDecisionLog(o DecisionLogOptions) *DecisionLog {
	l := &DecisionLog{o: o, ownKey: make([]byte, sha256.Size), waiting: make(chan record, maxWaiting)}
	_, _ = rand.Read(l.ownKey) // which does not fail
	l.failed.Interval = complainEvery
	return l
}

// On says whether decisions are written.
func (l *DecisionLog) On() bool { return l.settings.Load() != nil }

// Use has decisions written as cfg says, in a file that is opened anew. After an error
// the log goes on as it was, and tells the new digest of the configuration.
func (l *DecisionLog) Use(cfg config.DecisionLog, digest string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cfg.Output == "" {
		l.settings.Store(nil)
		l.put(nil)
		return nil
	}
	s, err := l.settingsOf(cfg, digest)
	if err == nil {
		err = field.Under("telemetry.decision_log.output", l.open(cfg.Output))
	}
	if err != nil {
		if before := l.settings.Load(); before != nil {
			kept := *before
			kept.digest = digest
			l.settings.Store(&kept)
		}
		return err
	}
	if l.quit == nil {
		l.quit, l.ended = make(chan struct{}), make(chan struct{})
		go l.run(l.quit, l.ended)
	}
	l.settings.Store(s)
	return nil
}

func (l *DecisionLog) settingsOf(cfg config.DecisionLog, digest string) (*logSettings, error) {
	s := &logSettings{
		allows: cfg.Allows, denies: rate.NewLimiter(rate.Limit(cfg.DeniesPerSecond), cfg.DeniesPerSecond),
		key: func() []byte { return l.ownKey }, digest: digest,
	}
	if cfg.SubjectKeyFile != "" {
		file, err := livefile.Open(cfg.SubjectKeyFile, l.o.Log, config.SubjectKey)
		if err != nil {
			return nil, field.Under("telemetry.decision_log.subject_key_file", err)
		}
		s.key = file.Value
	}
	return s, nil
}

// Reopen opens the file again that is written to: who rotates logs has moved it away.
func (l *DecisionLog) Reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.output.Load() == nil {
		return
	}
	if err := l.open(l.path); err != nil {
		l.o.Log.Error("the decision log cannot be opened again, and goes where it went", "error", err)
	}
}

// Close writes what waits, but for no longer than [closeTimeout].
func (l *DecisionLog) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings.Store(nil)
	if l.quit == nil {
		return
	}
	close(l.quit)
	select {
	case <-l.ended:
	case <-time.After(closeTimeout):
	}
	l.put(nil) // which ends a write that waits
	l.quit = nil
}

// record is what is kept of a decision until it is written. It holds the subject, which
// goes no further than its hash.
type record struct {
	settings *logSettings
	at       time.Time
	trace    trace.TraceID
	subject  string
	scopes   []string
	looked   uint32
	took     time.Duration

	id, requestID, rule, issuer, client string
	method, host, path                  string
	reason                              authz.Reason
	shadow                              bool // the request passed, whatever the reason
}

// outcome is what became of the request.
func (d *record) outcome() authz.Outcome {
	if o := d.reason.Outcome(); o != authz.Deny || !d.shadow {
		return o
	}
	return authz.Allow
}

// Checks writes a line of each Check that is to have one.
func (l *DecisionLog) Checks() envoy.Observer {
	return envoy.Observer{Ended: func(ctx context.Context, e envoy.Event) {
		if s := l.settings.Load(); s != nil && l.wanted(s, e.Decision) {
			l.keep(recordOf(ctx, s, e))
		}
	}}
}

// wanted says whether a decision is to be written. What the share of allows leaves out
// is not missing; a deny that the limit leaves out is.
func (l *DecisionLog) wanted(s *logSettings, d *authz.Decision) bool {
	if d.Reason.Outcome() != authz.Deny {
		return mathrand.Float64() < s.allows //nolint:gosec // no secret
	}
	if s.denies.Allow() {
		return true
	}
	l.lost(1)
	return false
}

// keep never waits.
func (l *DecisionLog) keep(d record) {
	select {
	case l.waiting <- d:
	default:
		l.lost(1)
	}
}

func (l *DecisionLog) lost(n int) {
	l.unwritten.Add(int64(n))
	l.o.Unwritten(n)
}

func recordOf(ctx context.Context, s *logSettings, e envoy.Event) record {
	r, d := e.Request, e.Decision
	one := record{
		settings: s, at: time.Now(), trace: traceOf(ctx), took: e.Took,
		id: d.ID, rule: d.Rule, issuer: d.Issuer, reason: d.Reason, shadow: d.Shadow,
	}
	if n := envoy.NoteOf(ctx); n != nil {
		one.looked = n.Load()
	}
	if t := d.Token; t != nil {
		one.subject, one.client, one.scopes = t.Subject, bounded(t.ClientID), t.Scopes
	}
	path, _, _ := strings.Cut(r.Path, "?") // a token may be in the query
	one.requestID, one.method, one.host, one.path = clones(r.ID, r.Method, r.Host, path)
	return one
}

// clones copies texts of a request, none longer than [maxText], at once.
func clones(a, b, c, d string) (string, string, string, string) {
	a, b, c, d = bounded(a), bounded(b), bounded(c), bounded(d)
	all := a + b + c + d + "\x00" // so that it is a copy, even of one text
	next := func(n int) string {
		text := all[:n]
		all = all[n:]
		return text
	}
	return next(len(a)), next(len(b)), next(len(c)), next(len(d))
}

func bounded(text string) string { return text[:min(len(text), maxText)] }

// traceOf returns the trace that a Check belongs to: that of its span, or the one that
// its span would be in.
func traceOf(ctx context.Context) trace.TraceID {
	if own := trace.SpanContextFromContext(ctx); own.IsValid() {
		return own.TraceID()
	}
	return trace.SpanContextFromContext(joined(ctx)).TraceID()
}

// lookups are the values of cache, by what is noted of a Check.
var lookups = [...]string{"none", "hit", "miss", "stale"} //nolint:gochecknoglobals // never changed

// Validation notes how the last look-up of a Check ended, which is the one that it was
// answered by.
func (l *DecisionLog) Validation() validation.Observer {
	return validation.Observer{Ended: func(ctx context.Context, e validation.Event) {
		if e.Operation != validation.OperationCache || !l.On() ||
			e.Cache == exchange.Cache || e.Cache == validation.CacheShared { // the latter may come when the Check has ended
			return
		}
		for i, result := range lookups {
			if n := envoy.NoteOf(ctx); result == e.Result && n != nil {
				n.Store(uint32(i)) //nolint:gosec // there are four
			}
		}
	}}
}

// line is what is written: names and meaning are those of docs/decisions.md.
type line struct {
	Time        string   `json:"time"`
	Event       string   `json:"event"`
	DecisionID  string   `json:"decision_id"`
	RequestID   string   `json:"request_id,omitempty"`
	TraceID     string   `json:"trace_id,omitempty"`
	Decision    string   `json:"decision"`
	Reason      string   `json:"reason"`
	Shadow      bool     `json:"shadow,omitempty"`
	Rule        string   `json:"rule,omitempty"`
	Issuer      string   `json:"issuer,omitempty"`
	ClientID    string   `json:"client_id,omitempty"`
	SubjectHash string   `json:"subject_hash,omitempty"`
	Scopes      []string `json:"scopes,omitempty"`
	Method      string   `json:"method,omitempty"`
	Host        string   `json:"host,omitempty"`
	Path        string   `json:"path,omitempty"`
	DurationMS  float64  `json:"duration_ms"`
	Cache       string   `json:"cache"`
	Config      string   `json:"config"`
	Dropped     int64    `json:"dropped,omitempty"`
}

func (d *record) line(dropped int64) line {
	l := line{
		Time: d.at.UTC().Format("2006-01-02T15:04:05.000Z07:00"), Event: "bearergate.decision",
		DecisionID: d.id, RequestID: d.requestID,
		Decision: d.outcome().String(), Reason: d.reason.String(), Shadow: d.shadow,
		Rule: d.rule, Issuer: d.issuer, ClientID: d.client, Scopes: d.scopes,
		Method: d.method, Host: d.host, Path: d.path,
		DurationMS: float64(d.took.Microseconds()) / 1000, Cache: lookups[d.looked],
		Config: d.settings.digest, Dropped: dropped,
	}
	if d.trace.IsValid() {
		l.TraceID = d.trace.String()
	}
	if d.subject != "" {
		l.SubjectHash = hashOf(d.subject, d.settings.key())
	}
	return l
}

// hashOf tells subjects apart without naming them: who lacks the key cannot try names.
func hashOf(subject string, key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(subject))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
