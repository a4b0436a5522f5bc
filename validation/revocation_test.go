package validation_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/validation"
)

// drawer is a store that anybody may look into and write to.
type drawer struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (d *drawer) Up() bool { return true }

func (d *drawer) Once(ctx context.Context, space string, key [32]byte, bound []byte,
	ask func(ctx context.Context) ([]byte, time.Duration, error),
) (value []byte, own bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := fmt.Sprintf("%s %x %x", space, key, bound)
	if known, ok := d.values[name]; ok {
		return known, false, nil
	}
	value, ttl, err := ask(ctx)
	if err == nil && ttl > 0 {
		d.values[name] = value
	}
	return value, true, err
}

// Drop drops more than it should, which is allowed.
func (d *drawer) Drop(context.Context, string, [32]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.values)
	return nil
}

// change has every value be what it returns.
func (d *drawer) change(what func(value []byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, value := range d.values {
		d.values[name] = what(value)
	}
}

// fleetOf is an issuer with revocations, and replicas of it that share d.
func fleetOf(t *testing.T, d *drawer, change func(*validation.Config)) (*bench, *revocation.Set, *validation.Validator) {
	t.Helper()
	var set *revocation.Set
	var other *validation.Validator
	b := newBenchWith(t, change, func(b *bench, o *validation.Options) {
		set = revocation.NewSet(revocation.Options{Now: b.now})
		o.Revocations = set
		if d != nil {
			o.Shared = func() validation.Shared { return d }
		}
		cfg := validation.Config{
			Issuer: b.as.URL(), Strategy: validation.StrategyBoth, ClientID: "gate", ClientSecret: "s3cret&%:é",
			ClientAuthMethod: validation.AuthBasic, IntrospectionResponse: validation.ResponseJSON,
			Algorithms: []string{"ES256"}, AccessTokenType: validation.TypeCompatible,
			ClockSkew: 30 * time.Second, RequestTimeout: 2 * time.Second, InsecureHTTP: true,
			Cache: validation.CacheConfig{MaxEntries: 1000, MaxBytes: 16 << 20, TTL: time.Minute, NegativeTTL: 5 * time.Second},
		}
		if change != nil {
			change(&cfg)
		}
		var err error
		if other, err = validation.NewValidator(cfg, *o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(other.Close)
	})
	return b, set, other
}

func revoke(t *testing.T, set *revocation.Set, r revocation.Revocation) {
	t.Helper()
	if r.Source == "" {
		r.Source = revocation.SourceAdmin
	}
	if _, err := set.Add(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// TestRevoked: what is revoked is refused from the cache, too, by each name, and
// nothing else is.
func TestRevoked(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"cached": time.Minute, "not cached": 0} {
		t.Run(name, func(t *testing.T) {
			b, set, _ := fleetOf(t, nil, func(c *validation.Config) { c.Cache.TTL = ttl })
			all := claims{
				"sub": "alice", "client_id": "app", "sid": "s1", "jti": "j1", "email": "Alice@example.com", "aud": "api",
			}
			for kind, value := range map[revocation.Kind]string{
				revocation.KindSub: "alice", revocation.KindClientID: "app", revocation.KindSID: "s1",
				revocation.KindJTI: "j1", revocation.KindEmail: "alice@example.com", revocation.KindToken: "",
			} {
				unlike := claims{"sub": "bob", "client_id": "other", "sid": "s2", "jti": "j2", "email": "bob@example.com", "aud": "api"}
				own := claims{}
				for k, v := range all {
					own[k] = fmt.Sprintf("%s-%s", v, kind)
				}
				jwt, opaque, other := b.as.JWT(own), b.as.Opaque("", own), b.as.JWT(unlike)
				for _, token := range []string{jwt, opaque, other, jwt, opaque} {
					b.want(t, token, nil)
				}
				values := []string{value + "-" + kind.String()}
				if kind == revocation.KindToken {
					values = []string{jwt, opaque}
				}
				for _, value := range values {
					revoke(t, set, revocation.Revocation{Issuer: b.as.URL(), Kind: kind, Value: value})
				}
				for range 2 {
					b.want(t, jwt, validation.ErrRevoked)
					b.want(t, opaque, validation.ErrRevoked)
					b.want(t, other, nil)
				}
			}
		})
	}
}

// TestFirstSight stands for a missing iat, and outlives what is cached.
func TestFirstSight(t *testing.T) {
	b, set, _ := fleetOf(t, nil, nil)
	exp := time.Now().Add(24 * time.Hour).Unix()
	token := b.as.JWT(claims{"sub": "alice", "iat": nil, "exp": exp, "aud": "api"})
	if got := b.want(t, token, nil); !got.IssuedAt.IsZero() {
		t.Fatalf("got iat %s, want none", got.IssuedAt)
	}
	b.pass(time.Minute)
	revoke(t, set, revocation.Revocation{Issuer: b.as.URL(), Kind: revocation.KindSub, Value: "alice"})
	b.want(t, token, validation.ErrRevoked)
	b.pass(2 * time.Hour) // nothing is cached any longer
	b.want(t, token, validation.ErrRevoked)
	b.want(t, b.as.JWT(claims{"sub": "alice", "iat": nil, "exp": exp, "aud": "api", "jti": "later"}), nil)
}

// TestOutdatedFactsDoNotServe: not even while the issuer is down.
func TestOutdatedFactsDoNotServe(t *testing.T) {
	b, set, _ := fleetOf(t, nil, func(c *validation.Config) { c.Cache.StaleIfError = time.Hour })
	token := b.as.Opaque("", claims{"sub": "alice", "aud": "api"})
	b.want(t, token, nil)
	b.pass(2 * time.Minute)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	b.want(t, token, nil)
	revoke(t, set, revocation.Revocation{Issuer: b.as.URL(), Kind: revocation.KindSub, Value: "alice", Facts: true})
	b.want(t, token, validation.ErrUnavailable)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	b.want(t, token, nil)
}

// TestNothingIsJudgedBeforeTheRest: what other replicas have revoked is not known yet.
func TestNothingIsJudgedBeforeTheRest(t *testing.T) {
	var set *revocation.Set
	b := newBenchWith(t, nil, func(b *bench, o *validation.Options) {
		set = revocation.NewSet(revocation.Options{Now: b.now, Waits: true})
		o.Revocations = set
	})
	token := b.as.JWT(claims{"aud": "api"})
	b.want(t, token, validation.ErrUnavailable)
	set.CaughtUp(true)
	b.want(t, token, nil)
}

// TestSharedAnswers: another replica asks nobody, and what it reads lives no longer
// than it would where it was asked for.
func TestSharedAnswers(t *testing.T) {
	d := &drawer{values: map[string][]byte{}}
	b, _, other := fleetOf(t, d, nil)
	for token, want := range map[string]error{
		b.as.Opaque("", claims{"sub": "alice", "aud": "api"}):         nil,
		b.as.Opaque("", claims{"scope": 1, "aud": "api"}):             validation.ErrMalformed,
		b.as.Opaque("", claims{"iss": "https://other", "aud": "api"}): validation.ErrIssuer,
		b.as.Opaque("", claims{"token_use": "refresh", "aud": "api"}): validation.ErrWrongType,
		"nobody-issued-it": validation.ErrInactive,
	} {
		before := b.as.Calls(devissuer.PathIntrospection)
		b.want(t, token, want)
		got, err := other.Validate(t.Context(), token)
		if calls := b.as.Calls(devissuer.PathIntrospection) - before; !is(err, want) || calls != 1 {
			t.Errorf("got %+v, %v by %d calls, want %v by one", got, err, calls, want)
		}
	}
	token := b.as.Opaque("", claims{"sub": "bob", "aud": "api"})
	b.want(t, token, nil)
	b.pass(50 * time.Second)
	if _, err := other.Validate(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	b.as.Revoke(token)
	b.pass(15 * time.Second)
	if _, err := other.Validate(t.Context(), token); !is(err, validation.ErrInactive) {
		t.Errorf("got %v, want inactive: the answer is 65 s old", err)
	}
}

func is(err, want error) bool {
	if want == nil {
		return err == nil
	}
	return err != nil && errors.Is(err, want)
}

// TestNothingInTheStoreAllows: values that are not what was written, or that were put
// back, lead to a question, and never to another answer.
func TestNothingInTheStoreAllows(t *testing.T) {
	d := &drawer{values: map[string][]byte{}}
	b, _, other := fleetOf(t, d, nil)
	older := func(value []byte) []byte {
		value = append([]byte(nil), value...)
		at := int64(binary.BigEndian.Uint64(value[1:9])) - int64(2*time.Minute)
		binary.BigEndian.PutUint64(value[1:9], uint64(at))
		return value
	}
	for name, change := range map[string]func([]byte) []byte{
		"nothing":    func([]byte) []byte { return nil },
		"a letter":   func(value []byte) []byte { return value[:1] },
		"no members": func(value []byte) []byte { return value[:9] },
		"cut":        func(value []byte) []byte { return value[:len(value)-3] },
		"unknown":    func(value []byte) []byte { return append([]byte{'?'}, value[1:]...) },
		"old":        older,
	} {
		token := b.as.Opaque("", claims{"sub": "alice", "aud": "api", "name": name})
		b.want(t, token, nil)
		b.as.Revoke(token)
		d.change(change)
		if got, err := other.Validate(t.Context(), token); !is(err, validation.ErrInactive) {
			t.Errorf("%s: got %+v, %v, want what the issuer says", name, got, err)
		}
	}
	outage := b.as.Opaque("", claims{"aud": "api"})
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	b.want(t, outage, validation.ErrUnavailable)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	if _, err := other.Validate(t.Context(), outage); err != nil {
		t.Errorf("got %v: an outage is nobody else's", err)
	}
}

// TestRecheck: only an answer that says so revokes a JWT, and only one that was verified
// is asked about.
func TestRecheck(t *testing.T) {
	b, set, _ := fleetOf(t, nil, func(c *validation.Config) { c.RecheckInterval = time.Minute })
	asked := func() int { return b.as.Calls(devissuer.PathIntrospection) }
	until := func(what string, ok func() bool) {
		t.Helper()
		for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Fatal("never: " + what)
			}
		}
		time.Sleep(50 * time.Millisecond) // until the answer is in place, too
	}
	forged := b.as.JWT(claims{"aud": "api"})
	b.want(t, forged[:len(forged)-8]+"AAAAAAAA", validation.ErrSignature)
	token := b.as.JWT(claims{"sub": "alice", "aud": "api"})
	b.want(t, token, nil)
	until("it is asked about", func() bool { return asked() == 1 })
	for range 5 {
		b.want(t, token, nil)
	}
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 400, Body: `{"error":"invalid_request"}`})
	b.pass(61 * time.Second)
	b.want(t, token, nil)
	until("it is asked about again", func() bool { return asked() == 2 })
	if set.Len() != 0 {
		t.Fatal("a 400 revokes")
	}
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	b.as.Revoke(token)
	b.pass(61 * time.Second)
	b.want(t, token, nil)
	until("it is revoked", func() bool { return set.Len() == 1 })
	b.want(t, token, validation.ErrRevoked)
	b.want(t, b.as.JWT(claims{"sub": "alice", "aud": "api", "jti": "another"}), nil)
}

// nowhere is an issuer that publishes no introspection endpoint.
type nowhere struct{ validation.Source }

func (n nowhere) Metadata() (discovery.Metadata, error) {
	m, err := n.Source.Metadata()
	m.IntrospectionEndpoint = ""
	return m, err
}

// TestRecheckThatCannotBeIsAnAlarm: who wants JWTs to be asked about, and has nobody who
// could be asked, is told so, once; the tokens stay what they are.
func TestRecheckThatCannotBeIsAnAlarm(t *testing.T) {
	var said syncBuffer
	b := newBenchWith(t, func(c *validation.Config) {
		c.Strategy, c.RecheckInterval = validation.StrategyJWT, time.Minute
	}, func(b *bench, o *validation.Options) {
		o.Revocations = revocation.NewSet(revocation.Options{Now: b.now})
		o.Source = nowhere{o.Source}
		o.Log = slog.New(slog.NewTextHandler(&said, nil))
	})
	for n := range 5 {
		b.want(t, b.as.JWT(claims{"aud": "api", "jti": fmt.Sprint(n)}), nil)
	}
	for began := time.Now(); !strings.Contains(said.String(), "level=ERROR"); time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("got no alarm: %s", said.String())
		}
	}
	time.Sleep(50 * time.Millisecond)
	if got := said.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "introspection_endpoint") {
		t.Errorf("got %s, want one line", got)
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
