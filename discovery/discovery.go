// Package discovery knows what an authorization server publishes: its metadata
// (RFC 8414, OpenID Connect Discovery 1.0) and its keys (RFC 7517), fetched
// with care and kept fresh. It knows nothing of tokens or requests, and it
// follows nothing but the configured issuer: no URL comes from a token.
package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/recovered"
	"github.com/bearergate/bearergate/internal/safehttp"
)

// What discovery can fail with; found by [errors.Is].
var (
	// ErrUnavailable: what was asked for has not been fetched, or is too old
	// to be trusted. It says nothing against anybody's token.
	ErrUnavailable = errors.New("authorization server unavailable")
	// ErrUnknownKey: the authorization server publishes no such key.
	ErrUnknownKey = errors.New("unknown key")
)

// Bounds of the pause after a failed fetch; it doubles in between.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// unknownBurst is how many fetches unknown key IDs may cause at once: a server
// that rotates twice in a row must not have genuine tokens refused, while a
// flood of random IDs must not become a flood of fetches (J-27).
const unknownBurst = 3

// Validate reports every mistake at once, each a [*field.Error] with the key of
// the configuration file.
func (c Config) Validate() error {
	errs := []error{c.checkIssuer(), c.checkURL("metadata_url", c.MetadataURL)}
	if c.JWKSFile != "" && c.JWKSURI != "" {
		errs = append(errs, field.Errorf("jwks_file", "given together with jwks_uri, want one of them"))
	}
	for _, e := range c.endpoints() {
		errs = append(errs, c.checkURL(e.name, e.configured))
	}
	errs = append(errs, field.Check(c), field.Under("jwks", field.Check(c.Intervals)))
	return errors.Join(errs...)
}

func (c Config) checkURL(path, url string) error {
	if url == "" {
		return nil
	}
	if err := safehttp.CheckURL(url, c.InsecureHTTP); err != nil {
		return field.Errorf(path, "%w", err)
	}
	return nil
}

// checkIssuer holds an issuer whose metadata is fetched to RFC 8414 §2: https,
// no query, no fragment, not even empty ones (D-03). Where every endpoint is
// configured it is an identifier, and compared only: that of AD FS is http, that
// of some others is no URL.
func (c Config) checkIssuer() error {
	if c.Issuer == "" {
		return field.Errorf("issuer", "missing: the issuer identifier of the authorization server is needed")
	}
	if !utf8.ValidString(c.Issuer) || strings.ContainsFunc(c.Issuer, unicode.IsControl) {
		return field.Errorf("issuer", "has control characters or is not UTF-8, want text")
	}
	if !c.discovers() {
		return nil
	}
	if err := safehttp.CheckURL(c.Issuer, c.InsecureHTTP); err != nil {
		return field.Errorf("issuer", "%w; with %s it may be any text", err, c.needed())
	}
	if strings.Contains(c.Issuer, "?") {
		return field.Errorf("issuer", "has a query, want none; with %s it may be any text", c.needed())
	}
	return nil
}

// discovers says whether anything that is needed has to be found out.
func (c Config) discovers() bool {
	return slices.ContainsFunc(c.endpoints(), func(e endpoint) bool { return e.wanted && e.configured == "" })
}

// needed names the endpoints that are.
func (c Config) needed() string {
	var names []string
	for _, e := range c.endpoints() {
		if e.wanted {
			names = append(names, e.name)
		}
	}
	return strings.Join(names, " and ")
}

// Issuer is one authorization server. Its methods are safe for concurrent use;
// none but [Issuer.Key] waits for the network.
type Issuer struct {
	cfg    Config
	client *http.Client
	log    *slog.Logger
	events Observer
	now    func() time.Time

	connect func(ctx context.Context, url string) error

	metadata atomic.Pointer[Metadata]
	keys     atomic.Pointer[keySet]
	file     *keyFile    // where they are; nil: they are fetched
	reached  atomic.Bool // the configured introspection endpoint, once

	newURI chan struct{} // there is a jwks_uri, or another one

	fetches  singleflight.Group // of keys
	unknown  *rate.Limiter      // of those that unknown key IDs cause
	mu       sync.Mutex
	problems map[string]error // by what was fetched: why the last try failed
	failure  *Failure         // the last one
}

// Options are what an Issuer works with.
type Options struct {
	Client *http.Client
	Log    *slog.Logger
	Events Observer
	Now    func() time.Time // nil: time.Now

	// Reach says whether the host of a URL can be connected to; nil: by trying.
	Reach func(ctx context.Context, url string) error
}

// New returns an Issuer that fetches nothing before [Issuer.Run].
func New(cfg Config, o Options) (*Issuer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Issuer{
		cfg: cfg, client: o.Client, log: o.Log, events: o.Events, now: o.Now, connect: o.Reach,
		newURI: make(chan struct{}, 1), problems: map[string]error{},
		unknown: rate.NewLimiter(rate.Every(cfg.MinRefreshInterval), unknownBurst),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.connect == nil {
		s.connect = safehttp.Reach
	}
	if cfg.readsKeys() {
		var err error
		if s.file, err = openKeys(cfg.JWKSFile, o.Log); err != nil {
			return nil, field.Errorf("jwks_file", "%w", err)
		}
		s.keys.Store(s.indexed(*s.file.Value()))
	}
	if cfg.JWKSURI != "" {
		s.newURI <- struct{}{} // keys need not wait for the metadata
	}
	if !cfg.discovers() {
		s.metadata.Store(cfg.configured())
	}
	return s, nil
}

// Inherit takes over what before has fetched, if it was fetched from the same
// authorization server in the same trust: a reload that changes how often
// something is fetched must not make anybody wait. It is called before Run.
func (i *Issuer) Inherit(before *Issuer) {
	if !i.cfg.SameTrust(before.cfg) {
		return
	}
	if m := before.metadata.Load(); m != nil {
		i.metadata.Store(m)
		if m.JWKSURI != "" {
			i.announceURI()
		}
	}
	if i.file == nil { // those of the file were read just now, and may be newer
		i.keys.Store(before.keys.Load())
	}
	i.reached.Store(before.reached.Load())
}

// SameTrust says whether what was found out under d holds under c: the same
// issuer, asked at the same places, verified by the same anchors, for the same
// purpose. Only when and how often something is fetched may differ.
func (c Config) SameTrust(d Config) bool {
	for _, each := range []*Config{&c, &d} {
		each.RequestTimeout, each.Intervals = 0, Intervals{}
	}
	return c == d
}

// announceURI has the keys fetched: there is a jwks_uri, or another one.
func (i *Issuer) announceURI() {
	select {
	case i.newURI <- struct{}{}:
	default: // already said
	}
}

// Run fetches metadata and keys and keeps them fresh until ctx ends.
func (i *Issuer) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	if i.cfg.discovers() {
		work.Go(func() { repeat(ctx, nil, i.refreshMetadata) })
	} else if i.cfg.NeedIntrospection {
		work.Go(func() { i.reach(ctx) })
	}
	switch {
	case i.file != nil:
		work.Go(func() { i.watchKeys(ctx) })
	case i.cfg.NeedKeys, i.cfg.WantKeys:
		work.Go(func() {
			select {
			case <-ctx.Done():
			case <-i.newURI:
				repeat(ctx, i.newURI, i.refreshKeys)
			}
		})
	}
}

// readsKeys says whether the keys come from a file.
func (c Config) readsKeys() bool { return (c.NeedKeys || c.WantKeys) && c.JWKSFile != "" }

// Metadata returns what the authorization server publishes, overrides applied,
// or [ErrUnavailable].
func (i *Issuer) Metadata() (Metadata, error) {
	m := i.metadata.Load()
	if m == nil {
		return Metadata{}, i.unavailable("metadata")
	}
	if !m.Fetched.IsZero() && i.now().Sub(m.Fetched) > i.cfg.MaxStale {
		return Metadata{}, i.unavailable("metadata")
	}
	return *m, nil
}

// Key returns the key of that ID that fits alg. An empty ID asks for the only
// key that fits (J-07). An ID that is not known has the keys fetched again,
// three times at once and then once in MinRefreshInterval, unless they come from a
// file, which is looked at anyway; callers wait for that
// fetch, as long as their ctx lets them. The errors are [ErrUnknownKey] and
// [ErrUnavailable].
func (i *Issuer) Key(ctx context.Context, keyID, alg string) (Key, error) {
	set, err := i.current()
	if err != nil {
		return Key{}, err
	}
	if key, ok := set.find(keyID, alg); ok {
		return key, nil
	}
	select {
	case <-ctx.Done():
		return Key{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case result := <-i.fetches.DoChan("unknown", func() (any, error) {
		return i.fetchUnknown(context.WithoutCancel(ctx)) // it is there for all who wait, not for the first only
	}):
		if result.Err != nil {
			return Key{}, fmt.Errorf("%w: %w", ErrUnavailable, result.Err)
		}
	}
	if set, err = i.current(); err != nil {
		return Key{}, err
	}
	if key, ok := set.find(keyID, alg); ok {
		return key, nil
	}
	return Key{}, ErrUnknownKey
}

// Trusted returns nil while the key of that thumbprint is published,
// [ErrUnknownKey] once it is not, and [ErrUnavailable] when nobody can tell.
func (i *Issuer) Trusted(thumbprint string) error {
	set, err := i.current()
	if err != nil {
		return err
	}
	if !set.thumbprints[thumbprint] {
		return ErrUnknownKey
	}
	return nil
}

// Ready returns nil when tokens of this issuer can be decided, else why not.
func (i *Issuer) Ready() error {
	if _, err := i.Metadata(); err != nil {
		return err
	}
	if i.cfg.NeedKeys {
		if _, err := i.current(); err != nil {
			return err
		}
	}
	if i.cfg.NeedIntrospection && !i.cfg.discovers() && !i.reached.Load() {
		return i.unavailable("introspection endpoint")
	}
	return nil
}

// Failing says whether the last fetch of anything failed: what is not ready then
// is not just slow.
func (i *Issuer) Failing() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, err := range i.problems {
		if err != nil {
			return true
		}
	}
	return false
}

// current returns the keys in use. Those of a file do not grow too old: who wrote it
// said what holds until it says otherwise (docs/contract.md §4).
func (i *Issuer) current() (*keySet, error) {
	set := i.keys.Load()
	if set == nil || i.file == nil && i.now().Sub(set.fetched) > i.cfg.MaxStale {
		return nil, i.unavailable("keys")
	}
	return set, nil
}

// fetchUnknown fetches the keys, unless unknown key IDs had that done too often
// of late (J-27, L-05). Then the keys in use decide, if the last fetch brought
// them: while they cannot be fetched, nobody can tell a new key from none. A file
// is looked at often enough.
func (i *Issuer) fetchUnknown(ctx context.Context) (any, error) {
	if i.file != nil || !i.unknown.AllowN(i.now(), 1) {
		return nil, i.problem("keys")
	}
	_, err := i.refreshKeys(ctx)
	return nil, err
}

// problem returns why the last try to get what failed.
func (i *Issuer) problem(what string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.problems[what]
}

// remember keeps how the last try to get what ended, and returns how the one before
// did.
func (i *Issuer) remember(what string, err error) (before error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	before = i.problems[what]
	i.problems[what] = err
	if err != nil {
		i.failure = &Failure{What: what, Err: err, At: i.now()}
	}
	return before
}

// note remembers how the last try to fetch what ended, and logs the changes.
func (i *Issuer) note(what string, err error) {
	before := i.remember(what, err)
	switch {
	case err != nil:
		i.log.Error("cannot fetch "+what, "error", err)
	case before != nil:
		i.log.Info("fetched " + what + " again")
	}
}

func (i *Issuer) unavailable(what string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.problems[what]; err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, what, err)
	}
	return fmt.Errorf("%w: %s not fetched yet", ErrUnavailable, what)
}

// repeat calls fetch until ctx ends: again after the pause that it returns,
// sooner after an error, at once when again says so.
func repeat(ctx context.Context, again <-chan struct{}, fetch func(context.Context) (time.Duration, error)) {
	retry := firstRetry
	for ctx.Err() == nil {
		pause, err := recovered.Call(func() (time.Duration, error) { return fetch(ctx) })
		if err != nil {
			pause = retry
			retry = min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(jitter(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-again:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// jitter takes up to a fifth off, so that replicas spread out; it never adds,
// since the refresh interval is a promise.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/5+1)) //nolint:gosec // spreads load, keeps no secret
}
