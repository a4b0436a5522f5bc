package validation

import (
	"encoding/base64"
	"errors"
	"testing"

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
	keys := &keySet{verifier: &verifier{source: nothing{}}, jws: jws}
	if _, err := keys.VerifySignature(t.Context(), raw+"AAAA"); !errors.Is(err, ErrMalformed) || keys.verified {
		t.Errorf("another text: got %v, want ErrMalformed", err)
	}
	if _, err := keys.VerifySignature(t.Context(), raw); !errors.Is(err, ErrUnknownKey) || keys.verified {
		t.Errorf("got %v, want ErrUnknownKey", err)
	}
}
