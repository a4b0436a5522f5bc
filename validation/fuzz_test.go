package validation

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bearergate/bearergate/discovery"
)

// nothing publishes no key.
type nothing struct{}

func (nothing) Metadata() (discovery.Metadata, error) { return discovery.Metadata{}, nil }
func (nothing) Key(context.Context, string, string) (discovery.Key, error) {
	return discovery.Key{}, discovery.ErrUnknownKey
}
func (nothing) Trusted(string) error { return discovery.ErrUnknownKey }

var sentinels = []error{
	ErrMalformed, ErrUnsupportedAlgorithm, ErrWrongType, ErrUnknownKey, ErrSignature, ErrIssuer,
	ErrExpired, ErrNotYetValid, ErrInactive, ErrBinding, ErrUnavailable,
}

func isSentinel(err error) bool {
	for _, s := range sentinels {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// FuzzJWT: whatever the bytes, the verdict is a sentinel and never a token.
func FuzzJWT(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2FzIiwiZXhwIjo5OTk5OTk5OTk5OX0.AAAA")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	v := &verifier{
		cfg:    Config{Issuer: "https://as", Algorithms: Algorithms(), AccessTokenType: TypeCompatible},
		source: nothing{}, now: time.Now,
	}
	f.Fuzz(func(t *testing.T, raw string) {
		jws, err := v.read(raw)
		if err != nil {
			if err = jwsError(err); !isSentinel(err) {
				t.Errorf("got %v", err)
			}
			return
		}
		got, err := v.verify(t.Context(), jws)
		if got.token != nil || !isSentinel(err) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// FuzzIntrospectionAnswer: an answer is a token only if active is true, exactly.
func FuzzIntrospectionAnswer(f *testing.F) {
	f.Add([]byte(`{"active":true,"scope":"a b","aud":["x"],"exp":99999999999}`))
	f.Add([]byte(`{"active":false,"Active":true}`))
	f.Add([]byte(`{"active":true,"sub":"a","sub":"b"}`))
	f.Add([]byte(`{"active":true,"token_type":"DPoP","cnf":null,"aud":[]}`))
	i := &introspector{cfg: Config{Issuer: "https://as"}, now: time.Now}
	f.Fuzz(func(t *testing.T, body []byte) {
		claims, err := i.members(t.Context(), map[string][]string{"Content-Type": {mediaJSON}}, body)
		if err != nil {
			if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrInactive) {
				t.Errorf("got %v, want ErrUnavailable, ErrMalformed or ErrInactive", err)
			}
			return
		}
		token, err := i.judge(nil, claims)
		if err == nil && (claims.get("active") != "true" || token.Issuer != "https://as") {
			t.Errorf("got %+v of %s", token, body)
		}
		if err != nil && !isSentinel(err) {
			t.Errorf("got %v", err)
		}
	})
}
