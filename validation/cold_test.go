package validation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	stdjson "encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/strictjws"
)

const coldIssuer = "https://as.example.com"

// published is a server that has one key.
type published struct{ key discovery.Key }

func (published) Metadata() (discovery.Metadata, error) { return discovery.Metadata{}, nil }
func (p published) Key(context.Context, string, string) (discovery.Key, error) {
	return p.key, nil
}
func (published) Trusted(string) error { return nil }

// typicalClaims are those of an access token as an enterprise's authorization
// server makes them (RFC 9068): with ES256 a token of about 780 bytes.
func typicalClaims(n int) devissuer.Claims {
	now := time.Now().Unix()
	return devissuer.Claims{
		"iss": coldIssuer, "aud": "api", "iat": now, "nbf": now, "exp": now + 86_400,
		"sub":       fmt.Sprintf("f3b1c0de-5a6b-4c7d-8e9f-%012d", n),
		"client_id": "orders-web-frontend", "scope": "openid profile orders:read orders:write invoices:read",
		"jti": rand.Text(), "sid": fmt.Sprintf("session-%026d", n), "auth_time": now - 60, "acr": "urn:example:silver",
		"groups": []string{"staff", "sales-emea", "orders"}, "tenant": "acme",
	}
}

// coldValidator has the public half of key, and a clock.
func coldValidator(tb testing.TB, key crypto.Signer, cache CacheConfig, now func() time.Time) *Validator {
	tb.Helper()
	v, err := NewValidator(Config{
		Issuer: coldIssuer, Strategy: StrategyJWT, Algorithms: Algorithms(), AccessTokenType: TypeCompatible,
		ClientAuthMethod: AuthBasic, IntrospectionResponse: ResponseJSON, RequestTimeout: time.Second, Cache: cache,
	}, Options{
		Source: published{discovery.Key{Public: key.Public(), Thumbprint: "t"}}, Slots: NewSlots(), Now: now,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return v
}

// BenchmarkVerify is what a token costs that nobody has seen, from its text to its
// entry in the cache: time goes by faster than the cache remembers.
func BenchmarkVerify(b *testing.B) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for _, signer := range []struct {
		alg string
		key crypto.Signer
	}{{"RS256", rsaKey}, {"ES256", ecKey}, {"EdDSA", edKey}} {
		b.Run(signer.alg, func(b *testing.B) {
			now := time.Now()
			cache := CacheConfig{MaxEntries: 100, MaxBytes: 1 << 20, TTL: time.Microsecond}
			v := coldValidator(b, signer.key, cache, func() time.Time { return now })
			key := jose.JSONWebKey{Key: signer.key, KeyID: "k", Algorithm: signer.alg}
			token := devissuer.Sign(key, map[string]any{"typ": "at+jwt"}, typicalClaims(1))
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Microsecond)
				if _, err := v.Validate(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkKnownUnderFlood is how late a known token is answered at most, but for one
// in a hundred, in peace and while 32 senders have new ones verified without a pause;
// with slots, and as it would be without.
func BenchmarkKnownUnderFlood(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	token := devissuer.Sign(jose.JSONWebKey{Key: key, KeyID: "k", Algorithm: "ES256"}, nil, typicalClaims(1))
	known := coldValidator(b, key, CacheConfig{MaxEntries: 100, MaxBytes: 1 << 20, TTL: time.Hour}, nil)
	for _, senders := range []int{0, 32} {
		for _, slots := range []Slots{NewSlots(), {}} {
			b.Run(fmt.Sprintf("senders=%d/slots=%d", senders, cap(slots.taken)), func(b *testing.B) {
				flood := coldValidator(b, key, CacheConfig{}, nil)
				flood.verifier.slots = slots
				ctx, stop := context.WithCancel(b.Context())
				var flooding sync.WaitGroup
				for range senders {
					flooding.Go(func() {
						for ctx.Err() == nil {
							_, _ = flood.Validate(ctx, token)
						}
					})
				}
				var late []time.Duration
				for b.Loop() {
					due := time.Now().Add(200 * time.Microsecond)
					time.Sleep(time.Until(due))
					if _, err := known.Validate(b.Context(), token); err != nil {
						b.Fatal(err)
					}
					late = append(late, time.Since(due))
				}
				stop()
				flooding.Wait()
				slices.Sort(late)
				b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "p99-µs")
			})
		}
	}
}

// TestATypicalEntryIsSmall fills the cache, at its default size, with tokens of
// typical claims. The collector lets the heap grow to twice what lives, so that an
// entry of 512 bytes takes 1 KiB of the machine's memory.
func TestATypicalEntryIsSmall(t *testing.T) {
	const tokens, limit = 100_000, 512
	c := newCache(CacheConfig{MaxEntries: 100_000, MaxBytes: 256 << 20, TTL: time.Hour}, digest{})
	encode := base64.RawURLEncoding.EncodeToString
	header := encode([]byte(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`)) + "."
	length := 0
	before := heap()
	for n := range tokens {
		payload, err := stdjson.Marshal(typicalClaims(n))
		if err != nil {
			t.Fatal(err)
		}
		length = len(payload)
		jws, err := strictjws.Parse(header+encode(payload)+".AAAA", strictjws.Options{Algorithms: []string{"ES256"}})
		if err != nil {
			t.Fatal(err)
		}
		token, err := tokenFromClaims(members{jws.Claims})
		if err != nil {
			t.Fatal(err)
		}
		c.add(id(n), token, "t", time.Now())
	}
	taken := heap() - before
	entries := uint64(c.entries()[cacheIntrospection]) //nolint:gosec // not negative
	estimate := uint64(c.positives.Bytes())            //nolint:gosec // not negative
	t.Logf("%d entries of %d bytes of claims take %d bytes each, by estimate %d", entries, length, taken/entries, estimate/entries)
	if entries < 80_000 || taken > entries*limit {
		t.Errorf("%d entries take %d bytes each, want at most %d", entries, taken/entries, limit)
	}
	if estimate < taken || estimate > 2*taken {
		t.Errorf("%d bytes are estimated at %d", taken, estimate)
	}
	runtime.KeepAlive(c)
}
