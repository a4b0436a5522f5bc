package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/bench/load"
	"github.com/bearergate/bearergate/test/bench/mint"
	"github.com/bearergate/bearergate/test/bench/process"
)

// sample is one measurement of one program.
type sample struct {
	load.Result

	CPU           float64 `json:"server_cpu_us_per_check"`
	Before        int64   `json:"resident_bytes_before"`
	Resident      int64   `json:"resident_bytes"`
	Peak          int64   `json:"peak_bytes"`
	PerToken      float64 `json:"resident_bytes_per_token,omitempty"`
	Introspection int     `json:"introspection_calls,omitempty"`
}

// bench is what all rows share.
type bench struct {
	dir     string
	issuer  *mint.Issuer
	seconds float64
	small   bool // few tokens, to see that it works
	minted  map[string][]string
}

// Bounds of how many tokens a second a server may see for the first time; a row
// whose tokens are used up ends early. RS256 takes a millisecond to mint.
const (
	newPerSecond      = 30_000
	newRS256PerSecond = 6_000
)

// fewTokens are enough to see that a row works.
const fewTokens = 1000

// warmUp is what a server sees before it is measured.
const (
	warmUp       = 300 * time.Millisecond
	warmUpChecks = 500
)

func (b *bench) duration() time.Duration { return time.Duration(b.seconds * float64(time.Second)) }

// tokens returns those of a row, minted once: each measurement has a server of
// its own, to which they are new.
func (b *bench) tokens(r row) ([]string, error) {
	n := r.tokens
	switch {
	case n == 0 && r.kind == mint.RS256:
		n = int(newRS256PerSecond*b.seconds) + warmUpChecks
	case n == 0:
		n = int(newPerSecond*b.seconds) + warmUpChecks
	}
	if b.small {
		n = min(n, fewTokens)
	}
	if r.special == stampede {
		return b.issuer.Mint(r.kind, n) // calls are counted: no token may have been seen
	}
	if have := b.minted[r.kind]; len(have) < n {
		more, err := b.issuer.Mint(r.kind, n-len(have))
		if err != nil {
			return nil, err
		}
		b.minted[r.kind] = append(have, more...)
	}
	return b.minted[r.kind][:n], nil
}

// measure starts the program, loads it and stops it.
func (b *bench) measure(ctx context.Context, p program, r row) (sample, error) {
	tokens, err := b.tokens(r)
	if err != nil {
		return sample{}, err
	}
	s, err := p.start(ctx, b.dir, b.issuer, r)
	if err != nil {
		return sample{}, err
	}
	defer s.Stop()
	measured, err := b.loaded(ctx, p, s, r, tokens)
	if err != nil {
		return sample{}, fmt.Errorf("%s, %s: %w\n%s", r.name, p.name, err, s.Log())
	}
	return measured, nil
}

func (b *bench) loaded(ctx context.Context, p program, s *server, r row, tokens []string) (sample, error) {
	config := load.Config{
		Address: s.address, TLS: r.clientTLS(), Connections: r.connections, InFlight: r.inFlight,
		Tokens: tokens, Choice: r.choice, Shape: r.shape,
	}
	if r.kind == mint.Bound {
		config.Shape.Proof = b.issuer.Proof
	}
	if p.noop && r.choice == load.Once && r.special != memory {
		config.Choice = load.Uniform // nothing is new to it, and it would be through in no time
	}
	if r.special == stampede {
		return b.stampede(ctx, s, config)
	}
	client, err := load.Dial(config)
	if err != nil {
		return sample{}, err
	}
	defer client.Close()
	// What connections take is there before what tokens take is measured.
	if err := client.With(tokens[0]).Count(ctx, warmUpChecks).Allowed(); err != nil {
		return sample{}, err
	}
	var m sample
	if m.Before, _, err = process.Memory(s.PID()); err != nil {
		return sample{}, err
	}
	if err := b.warm(ctx, p, client, r, config.Choice); err != nil {
		return sample{}, err
	}
	err = m.timed(s.PID(), func() load.Result {
		if r.special == memory {
			return client.Each(ctx)
		}
		return client.For(ctx, b.duration())
	})
	if r.special == memory || len(tokens) >= 100_000 && r.choice != load.Once {
		m.PerToken = float64(m.Resident-m.Before) / float64(len(tokens))
	}
	return m, err
}

// warm lets the server see what it may know when it is measured.
func (b *bench) warm(ctx context.Context, p program, client *load.Client, r row, choice load.Choice) error {
	switch {
	case r.special == memory:
		return nil
	case choice == load.Once:
		return client.Count(ctx, warmUpChecks).Allowed()
	case !p.noop:
		if err := client.Each(ctx).Allowed(); err != nil {
			return err
		}
	}
	return client.For(ctx, min(warmUp, b.duration())).Allowed()
}

// timed runs a load and reads what the server took for it.
func (m *sample) timed(pid int, run func() load.Result) error {
	before, err := process.CPU(pid)
	if err != nil {
		return err
	}
	m.Result = run()
	after, err := process.CPU(pid)
	if err != nil {
		return err
	}
	if err := m.Allowed(); err != nil {
		return err
	}
	m.CPU = float64((after - before).Nanoseconds()) / 1000 / float64(m.Requests)
	m.Resident, m.Peak, err = process.Memory(pid)
	return err
}

// introspectionDelay is that of an authorization server near by: without it the
// first answer would be there before the last request.
const introspectionDelay = 10 * time.Millisecond

// stampede sends all requests at once with one new token, and then with the next.
// Latencies are those of the last token.
func (b *bench) stampede(ctx context.Context, s *server, c load.Config) (sample, error) {
	b.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: introspectionDelay})
	defer b.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	tokens := c.Tokens
	c.Tokens, c.Choice = tokens[:1], load.Uniform
	client, err := load.Dial(c)
	if err != nil {
		return sample{}, err
	}
	defer client.Close()
	if err := client.Count(ctx, warmUpChecks).Allowed(); err != nil { // connects
		return sample{}, err
	}
	m, calls := sample{}, b.issuer.Calls(devissuer.PathIntrospection)
	err = m.timed(s.PID(), func() load.Result {
		var all load.Result
		for _, token := range tokens[1:] {
			all = all.Plus(client.With(token).Count(ctx, c.InFlight))
		}
		return all
	})
	m.Introspection = b.issuer.Calls(devissuer.PathIntrospection) - calls
	if len(tokens) < 2 {
		return m, errors.New("got one token, want more")
	}
	return m, err
}
