package admin

import (
	"maps"
	"net/url"
	"runtime"
	"slices"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/service"
)

// State is everything that the status page shows, as /status.json has it.
type State struct {
	Time      time.Time `json:"time"`
	Version   string    `json:"version"`
	Commit    string    `json:"commit"`
	GoVersion string    `json:"go_version"`
	Started   time.Time `json:"started"`

	Ready    bool     `json:"ready"`
	Reasons  []string `json:"reasons"` // why not
	Draining bool     `json:"draining"`
	Pending  string   `json:"pending,omitempty"` // what a new configuration waits for

	Revocations *Revocations  `json:"revocations,omitempty"` // nil: switched off
	Store       *Store        `json:"store,omitempty"`       // nil: this replica is alone
	Issuers     []Issuer      `json:"issuers"`
	DPoP        *DPoP         `json:"dpop,omitempty"` // null: it is off
	MTLS        *MTLS         `json:"mtls,omitempty"` // likewise
	Caches      []Cache       `json:"caches"`
	Decisions   Counts        `json:"decisions"`
	Refusals    []Refusal     `json:"refusals"` // the newest first
	ShadowRules []string      `json:"shadow_rules,omitempty"`
	Config      Configuration `json:"configuration"`
}

// Revocations are how many are remembered, and how they are told.
type Revocations struct {
	Entries int                       `json:"entries"`
	Issuers map[string]map[string]int `json:"issuers"` // by issuer and kind
	Streams []Stream                  `json:"streams"`
}

// Stream is how the events of one transmitter flow.
type Stream struct {
	Transmitter string    `json:"transmitter"`
	Alive       time.Time `json:"alive"` // the last sign of life
	Problem     string    `json:"problem,omitempty"`
}

// Store is what all replicas share.
type Store struct {
	Addresses []string `json:"addresses"`
	Up        bool     `json:"up"`
	Lag       float64  `json:"lag_seconds"`
}

// Issuer is how one authorization server is.
type Issuer struct {
	Issuer   string `json:"issuer"`
	Strategy string `json:"token_validation"`
	Ready    bool   `json:"ready"`
	Problem  string `json:"problem,omitempty"`

	Metadata  *Metadata  `json:"metadata,omitempty"`
	KeyFile   string     `json:"jwks_file,omitempty"` // that they are read from
	Keys      []Key      `json:"keys"`
	Breaker   string     `json:"breaker,omitempty"` // open, closed; empty: nothing is introspected
	Retry     float64    `json:"breaker_retry_seconds,omitempty"`
	Exchange  *Exchange  `json:"token_exchange,omitempty"` // null: no rule wants a token for its upstream
	LastError *LastError `json:"last_error,omitempty"`
}

// Exchange is how tokens for upstreams are had.
type Exchange struct {
	Entries   int        `json:"entries"`
	Breaker   string     `json:"breaker"` // open, closed
	Retry     float64    `json:"breaker_retry_seconds,omitempty"`
	LastError *LastError `json:"last_error,omitempty"`
}

// DPoP is how full the memory of proofs is.
type DPoP struct {
	Proofs int    `json:"proofs"`
	Most   int    `json:"replay_entries"`
	Nonce  string `json:"nonce"`
}

// MTLS is where client certificates come from.
type MTLS struct {
	Header string `json:"client_certificate_header,omitempty"` // empty: Envoy
}

// Metadata is what an authorization server publishes, as it is used.
type Metadata struct {
	Source        string    `json:"source"` // URL, or configured
	Fetched       time.Time `json:"fetched,omitzero"`
	JWKS          string    `json:"jwks_uri,omitempty"`
	Introspection string    `json:"introspection_endpoint,omitempty"`
	Token         string    `json:"token_endpoint,omitempty"`
}

// Key is a published key.
type Key struct {
	ID         string    `json:"kid"`
	Algorithm  string    `json:"alg,omitempty"` // empty: any that fits the key
	Thumbprint string    `json:"thumbprint"`
	Fetched    time.Time `json:"fetched"`
}

// LastError is what went wrong last.
type LastError struct {
	What  string    `json:"what"`
	Error string    `json:"error"`
	Time  time.Time `json:"time"`
	Over  bool      `json:"over"` // it went well since
}

// Cache is how full a cache is, and how often it had what was looked for.
type Cache struct {
	Name    string   `json:"name"`
	Entries int      `json:"entries"`
	Hits    uint64   `json:"hits"`
	Stale   uint64   `json:"stale"`
	Misses  uint64   `json:"misses"`
	HitRate *float64 `json:"hit_rate,omitempty"` // 0 to 1; null: nothing was looked for
}

// Counts is what was decided in the last minutes.
type Counts struct {
	Total   uint64            `json:"total"`
	Reasons map[string]uint64 `json:"by_reason"`
	Minutes []Minute          `json:"per_minute"` // the oldest first; the last one is not over
}

// Minute is what was decided in one minute.
type Minute struct {
	Ago     int               `json:"minutes_ago"`
	Allowed uint64            `json:"allowed"` // or answered with a document
	Denied  uint64            `json:"denied"`
	Failed  uint64            `json:"failed"` // 5xx: not the client's fault
	Reasons map[string]uint64 `json:"by_reason"`
}

func (p *Pages) state() State {
	issuers := p.o.Service.States()
	reasons := p.unready(issuers)
	s := State{
		Time: time.Now().UTC().Truncate(time.Second), Started: p.began.UTC().Truncate(time.Second),
		Version: p.o.Version, Commit: p.o.Commit, GoVersion: runtime.Version(),
		Ready: len(reasons) == 0, Reasons: []string{}, Draining: p.o.Draining(),
		Caches: p.caches(), Decisions: counts(p.o.Decisions.Minutes()), Refusals: p.o.Decisions.Refusals(),
		Issuers: []Issuer{}, Config: p.configuration(),
	}
	for _, reason := range reasons {
		s.Reasons = append(s.Reasons, printable(reason))
	}
	if err := p.o.Service.Pending(); err != nil {
		s.Pending = printable(err.Error())
	}
	for _, i := range issuers {
		s.Issuers = append(s.Issuers, issuerOf(i))
	}
	s.ShadowRules = s.Config.shadowRules()
	s.Revocations, s.Store = fleetOf(p.o.Service.Fleet())
	s.DPoP, s.MTLS = p.bindings()
	return s
}

// bindings says what tokens may be bound to; nil: not to that.
func (p *Pages) bindings() (dpop *DPoP, mtls *MTLS) {
	cfg, _ := p.o.Service.InUse()
	if cfg == nil {
		return nil, nil
	}
	if c := cfg.Authz.DPoP; c != nil {
		dpop = &DPoP{Proofs: p.o.Service.Proofs(), Most: c.ReplayEntries, Nonce: c.Nonce}
	}
	if c := cfg.Authz.MTLS; c != nil {
		mtls = &MTLS{Header: printable(c.Header())}
	}
	return dpop, mtls
}

func fleetOf(f service.FleetState) (*Revocations, *Store) {
	var store *Store
	if f.Store != nil {
		store = &Store{Addresses: []string{}, Up: f.Store.Up, Lag: f.Store.Lag.Seconds()}
		for _, address := range f.Store.Addresses {
			store.Addresses = append(store.Addresses, withoutQuery(address))
		}
	}
	if !f.On && f.Entries == 0 {
		return nil, store
	}
	shown := &Revocations{Entries: f.Entries, Issuers: map[string]map[string]int{}, Streams: []Stream{}}
	for issuer, kinds := range f.Counts {
		shown.Issuers[printable(issuer)] = kinds
	}
	for _, s := range f.Streams {
		stream := Stream{Transmitter: printable(s.Transmitter), Alive: s.Alive.UTC().Truncate(time.Second)}
		if s.Err != nil {
			stream.Problem = printable(s.Err.Error())
		}
		shown.Streams = append(shown.Streams, stream)
	}
	return shown, store
}

func issuerOf(i service.IssuerState) Issuer {
	shown := Issuer{
		Issuer: printable(i.Issuer), Strategy: string(i.Strategy), Ready: i.Problem == nil,
		Metadata: metadataOf(i.Discovery.Metadata), Keys: []Key{}, LastError: lastError(i),
	}
	if i.Problem != nil {
		shown.Problem = printable(i.Problem.Error())
	}
	for _, k := range i.Discovery.Keys {
		shown.KeyFile = printable(k.File)
		shown.Keys = append(shown.Keys, Key{clip(k.ID, maxName), k.Algorithm, k.Thumbprint, k.Fetched.UTC()})
	}
	if v := i.Validation; v.Introspects {
		shown.Breaker, shown.Retry = breaker(v.Down), v.RetryAfter.Round(time.Second).Seconds()
	}
	if e := i.Exchange; e != nil {
		shown.Exchange = &Exchange{
			Entries: e.Entries, Breaker: breaker(e.Down), Retry: e.RetryAfter.Round(time.Second).Seconds(),
		}
		if f := e.Failure; f != nil {
			shown.Exchange.LastError = &LastError{exchange.Operation, printable(f.Err.Error()), f.At.UTC(), false}
		}
	}
	return shown
}

func breaker(down bool) string {
	if down {
		return "open"
	}
	return "closed"
}

func metadataOf(m *discovery.Metadata) *Metadata {
	if m == nil {
		return nil
	}
	shown := &Metadata{
		Source: "configured", Fetched: m.Fetched.UTC(), JWKS: withoutQuery(m.JWKSURI),
		Introspection: withoutQuery(m.IntrospectionEndpoint), Token: withoutQuery(m.TokenEndpoint),
	}
	if m.Source != "" {
		shown.Source = withoutQuery(m.Source)
	}
	return shown
}

// lastError is the later one of a fetch and of an introspection.
func lastError(i service.IssuerState) *LastError {
	var last *LastError
	if f := i.Discovery.Failure; f != nil {
		last = &LastError{f.What, printable(f.Err.Error()), f.At.UTC(), f.Over}
	}
	if f := i.Validation.Failure; f != nil && (last == nil || last.Over || f.At.After(last.Time)) {
		last = &LastError{"introspection", printable(f.Err.Error()), f.At.UTC(), false}
	}
	return last
}

// withoutQuery is a URL as it may be shown: some servers take an API key in the query.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.RawQuery == "" && u.User == nil {
		return printable(address)
	}
	if u.RawQuery != "" {
		u.RawQuery = ""
		u.ForceQuery = false
		u.User = nil
		return printable(u.String()) + "?" + redacted
	}
	u.User = nil
	return printable(u.String())
}

func (p *Pages) caches() []Cache {
	entries, lookups := p.o.Service.Entries(), p.o.Lookups()
	names := map[string]bool{}
	for name := range entries {
		names[name] = true
	}
	for name := range lookups {
		names[name] = true
	}
	all := []Cache{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		of := lookups[name]
		c := Cache{Name: name, Entries: entries[name], Hits: of["hit"], Stale: of["stale"], Misses: of["miss"]}
		if looked := c.Hits + c.Stale + c.Misses; looked > 0 {
			rate := float64(c.Hits+c.Stale) / float64(looked)
			c.HitRate = &rate
		}
		all = append(all, c)
	}
	return all
}

func counts(minutes [shownMinutes]map[authz.Reason]uint64) Counts {
	c := Counts{Reasons: map[string]uint64{}}
	for i, reasons := range minutes {
		m := Minute{Ago: shownMinutes - 1 - i, Reasons: map[string]uint64{}}
		for reason, n := range reasons {
			m.Reasons[reason.String()] += n
			c.Reasons[reason.String()] += n
			c.Total += n
			switch {
			case reason.Outcome() != authz.Deny:
				m.Allowed += n
			case reason.Status() >= 500:
				m.Failed += n
			default:
				m.Denied += n
			}
		}
		c.Minutes = append(c.Minutes, m)
	}
	return c
}
