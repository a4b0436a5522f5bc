package binding

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearergate/bearergate/internal/livefile"
)

func keyFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func required(path string) func(*DPoP) {
	return func(c *DPoP) { c.Nonce, c.NonceKeyFile = "required", path }
}

// nonceAt is a check of proofs whose clock is t.
func nonceAt(t *testing.T, path string, now *time.Time) *Proofs {
	t.Helper()
	clock := func() time.Time { return *now }
	return newProofs(t, section(required(path)), func(o *Options) { o.Now, o.Replays = clock, NewMemory(1000, clock) })
}

// TestAgeOfNonces: a nonce is good for 5 to 10 minutes, whenever it was made, and
// renewed in the second of two epochs.
func TestAgeOfNonces(t *testing.T) {
	c := newClient(t, "ES256")
	epoch := time.Unix(clock.Unix()/300*300, 0)
	for _, made := range []time.Duration{0, time.Second, 299 * time.Second} {
		for after, want := range map[time.Duration]struct{ ok, renewed bool }{
			0:                                {true, false},
			299*time.Second - made:           {true, false},
			300*time.Second - made:           {true, true},
			599*time.Second - made:           {true, true},
			600*time.Second - made:           {false, false},
			24 * time.Hour:                   {false, false},
			-made - 1*time.Second:            {true, false}, // of another replica, whose clock is ahead
			-made - 300*time.Second:          {true, false},
			-made - 301*time.Second:          {false, false},
			-made - 24*time.Hour - time.Hour: {false, false},
		} {
			now := epoch.Add(made)
			p := nonceAt(t, "", &now)
			nonce := p.Nonce()
			now = now.Add(after)
			r := c.request(c.proof(t, nil, m{"nonce": nonce, "iat": now.Unix()}))
			next, err := p.Accept(t.Context(), r)
			if want.ok != (err == nil) || !want.ok && !errors.Is(err, ErrNonce) {
				t.Errorf("made at %s, %s later: got %v", made, after, err)
			}
			if want.renewed != (next != "") || next != "" && (next == nonce || next != p.Nonce()) {
				t.Errorf("made at %s, %s later: got %q next", made, after, next)
			}
		}
	}
}

func TestNoncesThatAreRefused(t *testing.T) {
	c, thief := newClient(t, "ES256"), newClient(t, "ES256")
	var told []string
	memory := NewMemory(1000, at)
	p := newProofs(t, section(required("")), func(o *Options) {
		o.Replays, o.Told = memory, func(r string) { told = append(told, r) }
	})
	another := newProofs(t, section(required(""))) // has another random key
	for name, nonce := range map[string]any{
		"none": nil, "null": []byte(nil), "empty": "", "a number": 5, "made up": strings.Repeat("A", 43), "padded": p.Nonce() + "=",
		"cut": p.Nonce()[:42], "in lower case": strings.ToLower(p.Nonce()), "of another process": another.Nonce(),
	} {
		told = nil
		_, err := p.Accept(t.Context(), c.request(c.proof(t, nil, m{"nonce": nonce})))
		if !errors.Is(err, ErrNonce) || errors.Is(err, ErrProof) || len(told) != 1 || told[0] != NonceWanted {
			t.Errorf("%s: got %v, told %q", name, err, told)
		}
	}
	// The proof is judged before the nonce, and the key as well.
	if _, err := p.Accept(t.Context(), c.request(c.proof(t, nil, m{"htm": "GET"}))); !errors.Is(err, ErrProof) {
		t.Errorf("got %v, want a wrong proof", err)
	}
	if _, err := p.Accept(t.Context(), c.request(thief.proof(t, nil, nil))); !errors.Is(err, ErrKey) {
		t.Errorf("got %v, want another key", err)
	}
	// Whoever is told to take a nonce may send the same jti again.
	if memory.Len() != 0 {
		t.Errorf("%d proofs without a nonce are remembered", memory.Len())
	}
}

// TestReplicas: two with the same key file take each other's nonces, and with another
// they do not.
func TestReplicas(t *testing.T) {
	c := newClient(t, "ES256")
	dir := t.TempDir()
	one, two := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	keyFile(t, one, strings.Repeat("k", 32))
	keyFile(t, two, strings.Repeat("l", 32))
	now := clock
	a, b, other := nonceAt(t, one, &now), nonceAt(t, one, &now), nonceAt(t, two, &now)
	if a.Nonce() != b.Nonce() || a.Nonce() == other.Nonce() {
		t.Errorf("got %q, %q and %q", a.Nonce(), b.Nonce(), other.Nonce())
	}
	r := c.request(c.proof(t, nil, m{"nonce": a.Nonce()}))
	if _, err := b.Accept(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, err := other.Accept(t.Context(), r); !errors.Is(err, ErrNonce) {
		t.Errorf("got %v", err)
	}
}

// TestRotatedNonceKey: nonces by the key before are accepted, and renewed; those by the
// one before that are not.
func TestRotatedNonceKey(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, "ES256")
		path := filepath.Join(dir, "key")
		keyFile(t, path, strings.Repeat("a", 32))
		p := newProofs(t, section(required(path)), func(o *Options) { o.Now, o.Replays = nil, NewMemory(1000, nil) })
		accept := func(nonce string) (string, error) {
			return p.Accept(t.Context(), c.request(c.proof(t, nil, m{"nonce": nonce, "iat": time.Now().Unix()})))
		}
		rotate := func(content string) {
			keyFile(t, path, content)
			p.Nonce()
			time.Sleep(livefile.Interval)
			p.Nonce()
			time.Sleep(livefile.Settle)
		}
		first := p.Nonce()
		rotate(strings.Repeat("b", 40))
		second := p.Nonce()
		if second == first {
			t.Fatal("the new key is not in use")
		}
		if next, err := accept(first); err != nil || next != second {
			t.Errorf("by the key before: got %q, %v", next, err)
		}
		if next, err := accept(second); err != nil || next != "" {
			t.Errorf("by the new key: got %q, %v", next, err)
		}
		rotate("short") // is not taken
		if p.Nonce() != second {
			t.Error("a short key is in use")
		}
		if _, err := accept(first); err != nil {
			t.Errorf("by the key before: got %v", err)
		}
		rotate(strings.Repeat("c", 32))
		if _, err := accept(second); err != nil {
			t.Errorf("by the key before: got %v", err)
		}
		if _, err := accept(first); !errors.Is(err, ErrNonce) {
			t.Errorf("by the first of three: got %v", err)
		}
	})
}

func TestNonceKeyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	o := Options{Replays: NewMemory(1000, nil), Log: slog.New(slog.DiscardHandler)}
	if _, err := NewProofs(section(required(path)), o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	keyFile(t, path, strings.Repeat("k", 31))
	if _, err := NewProofs(section(required(path)), o); err == nil || !strings.Contains(err.Error(), "31 bytes") {
		t.Errorf("a short key: got %v", err)
	}
	keyFile(t, path, strings.Repeat("k", 32))
	if _, err := NewProofs(section(required(path)), o); err != nil {
		t.Error(err)
	}
}

// TestNoncesSayNothing: 32 bytes of a digest, without the time or the key in them.
func TestNoncesSayNothing(t *testing.T) {
	now := clock
	p := nonceAt(t, "", &now)
	seen := map[string]bool{}
	for range 100 {
		n := p.Nonce()
		if len(n) != 43 || seen[n] {
			t.Errorf("got %q", n)
		}
		seen[n] = true
		now = now.Add(nonceEpoch)
	}
}

// TestNoncesOfTheChecksBefore stay good when other checks take their place, and so do
// those of the key before in a file that is not another one.
func TestNoncesOfTheChecksBefore(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	keyFile(t, one, strings.Repeat("1", 32))
	keyFile(t, two, strings.Repeat("2", 32))
	for name, paths := range map[string][2]string{
		"random": {"", ""}, "the same file": {one, one}, "another file": {one, two},
		"a file now": {"", one}, "no file any more": {one, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, "ES256")
			before := newProofs(t, section(required(paths[0])))
			change := func(d *DPoP) { d.MaxAge = 2 * time.Minute }
			after := newProofs(t, section(required(paths[1]), change), func(o *Options) { o.Before = before })
			r := c.request(c.proof(t, nil, m{"nonce": before.Nonce()}))
			next, err := after.Accept(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if same := paths[0] == paths[1]; same != (next == "") {
				t.Errorf("got the next nonce %q of the same key: %t", next, same)
			}
		})
	}
}

// TestKeyBeforeOutlivesOtherChecks: a key that was replaced in its file counts on.
func TestKeyBeforeOutlivesOtherChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, path := newClient(t, "ES256"), filepath.Join(t.TempDir(), "key")
		keyFile(t, path, strings.Repeat("1", 32))
		before := newProofs(t, section(required(path)))
		nonce := before.Nonce()
		keyFile(t, path, strings.Repeat("2", 32))
		time.Sleep(livefile.Interval)
		before.Nonce() // looks at the file
		time.Sleep(livefile.Interval)
		if before.Nonce() == nonce {
			t.Fatal("the new key is not in use")
		}
		after := newProofs(t, section(required(path)), func(o *Options) { o.Before = before })
		if _, err := after.Accept(t.Context(), c.request(c.proof(t, nil, m{"nonce": nonce}))); err != nil {
			t.Error(err)
		}
	})
}
