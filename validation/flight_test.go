package validation

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// TestWhoComesAfterTheFlightAsksNobody: between a look-up that found nothing and the
// flight, another flight may have ended (I-24). The Validator has no endpoint to ask.
func TestWhoComesAfterTheFlightAsksNobody(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := CacheConfig{MaxEntries: 100, MaxBytes: 1 << 20, TTL: time.Hour, NegativeTTL: time.Minute}
	v := coldValidator(t, private, cfg, time.Now)
	defer v.Close()
	key := jose.JSONWebKey{Key: private, KeyID: "k", Algorithm: "EdDSA"}
	token := devissuer.Sign(key, map[string]any{"typ": "at+jwt"}, typicalClaims(1))
	want, err := v.Validate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	d := v.cache.digest(token)
	if got, err := v.ask(t.Context(), d, token, false); err != nil || got.Subject != want.Subject {
		t.Errorf("got %+v, %v, want what is known", got, err)
	}
	v.cache.refuse(d, ErrInactive, time.Now())
	if got, err := v.ask(t.Context(), d, token, false); !errors.Is(err, ErrInactive) {
		t.Errorf("got %+v, %v, want %v", got, err, ErrInactive)
	}
}
