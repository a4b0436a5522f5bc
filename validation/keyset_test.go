package validation

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/strictjws"
)

// TestWhatIsVerifiedIsWhatWasRead: a library that asked about another text would
// have the keys answer for a token that nobody checked.
func TestWhatIsVerifiedIsWhatWasRead(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	raw := encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(`{}`)) + ".AAAA"
	jws, err := strictjws.Parse(raw, strictjws.Options{Algorithms: []string{"ES256"}})
	if err != nil {
		t.Fatal(err)
	}
	keys := &keySet{verifier: &verifier{source: nothing{}}, jws: jws, asked: jws.Detached()}
	if _, err := keys.VerifySignature(t.Context(), keys.asked+"AAAA"); !errors.Is(err, ErrMalformed) || keys.verified {
		t.Errorf("another text: got %v, want ErrMalformed", err)
	}
	if _, err := keys.VerifySignature(t.Context(), keys.asked); !errors.Is(err, ErrUnknownKey) || keys.verified {
		t.Errorf("got %v, want ErrUnknownKey", err)
	}
}

// TestLibraryGetsNoContent: the content is detached from what go-oidc gets, and is
// verified all the same, and go-oidc still judges the header that the signer wrote.
func TestLibraryGetsNoContent(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := coldValidator(t, key, CacheConfig{}, time.Now)
	signer := jose.JSONWebKey{Key: key, KeyID: "k", Algorithm: "EdDSA"}
	good := devissuer.Sign(signer, map[string]any{"typ": "at+jwt"}, typicalClaims(1))
	other := devissuer.Sign(signer, map[string]any{"typ": "at+jwt"}, typicalClaims(2))
	private, err := signer.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	leaking := devissuer.Sign(signer, map[string]any{"jwk": stdjson.RawMessage(private)}, typicalClaims(1))
	a, b := strings.Split(good, "."), strings.Split(other, ".")
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"as it was signed", good, nil},
		{"content of another", a[0] + "." + b[1] + "." + a[2], ErrSignature},
		{"signature of another", a[0] + "." + a[1] + "." + b[2], ErrSignature},
		{"header of another", strings.Split(leaking, ".")[0] + "." + a[1] + "." + a[2], ErrMalformed},
		{"private key in the header", leaking, ErrMalformed}, // only go-oidc looks at jwk
	} {
		if _, err := v.Validate(t.Context(), tt.token); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}
