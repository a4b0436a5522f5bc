package validation

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// TestNewTokensWaitForEachOther: while every slot is taken, what is known is answered
// at once, and what is new waits as long as its sender does, and is no bad token
// (J-27, I-11).
func TestNewTokensWaitForEachOther(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(n int) string {
		key := jose.JSONWebKey{Key: private, KeyID: "k", Algorithm: "EdDSA"}
		return devissuer.Sign(key, map[string]any{"typ": "at+jwt"}, typicalClaims(n))
	}
	synctest.Test(t, func(t *testing.T) {
		v := coldValidator(t, private, CacheConfig{MaxEntries: 100, MaxBytes: 1 << 20, TTL: time.Hour}, time.Now)
		defer v.Close()
		known, fresh := sign(1), sign(2)
		if _, err := v.Validate(t.Context(), known); err != nil {
			t.Fatal(err)
		}
		slots := v.verifier.slots
		for range cap(slots.taken) {
			if err := slots.acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := v.Validate(t.Context(), known); err != nil {
			t.Errorf("a known token: got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Validate(ctx, fresh); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrSignature) {
			t.Errorf("a new token: got %v, want ErrUnavailable", err)
		}
		time.AfterFunc(time.Second, slots.release)
		if _, err := v.Validate(t.Context(), fresh); err != nil {
			t.Errorf("a new token, once a slot is free: got %v", err)
		}
	})
}

// TestSlotsAreGivenBack, whatever becomes of the signature.
func TestSlotsAreGivenBack(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := coldValidator(t, private, CacheConfig{}, time.Now)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 * runtime.GOMAXPROCS(0) {
		for _, key := range []ed25519.PrivateKey{private, other} {
			token := devissuer.Sign(jose.JSONWebKey{Key: key, KeyID: "k", Algorithm: "EdDSA"}, nil, typicalClaims(n))
			if _, err := v.Validate(t.Context(), token); err != nil && !errors.Is(err, ErrSignature) {
				t.Fatal(err)
			}
		}
	}
	if n := len(v.verifier.slots.taken); n != 0 {
		t.Errorf("%d slots are still taken", n)
	}
}
