package binding

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"testing"
	"time"
)

// TestProofsOfAnother has proofs that a library for clients made, recorded with its
// clock standing still.
func TestProofsOfAnother(t *testing.T) {
	content, err := os.ReadFile("testdata/dpop.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Maker  string
		Now    int64
		Proofs []struct{ Alg, Method, URL, Nonce, Token, JKT, Proof string }
	}
	if err := json.Unmarshal(content, &recorded); err != nil {
		t.Fatal(err)
	}
	if len(recorded.Proofs) < 8 {
		t.Fatalf("got %d proofs", len(recorded.Proofs))
	}
	now := time.Unix(recorded.Now, 0)
	p := newProofs(t, section(), func(o *Options) { o.Now = func() time.Time { return now } })
	for _, tc := range recorded.Proofs {
		u, err := url.Parse(tc.URL)
		if err != nil {
			t.Fatal(err)
		}
		r := Proof{
			Field: tc.Proof, Method: tc.Method, Scheme: u.Scheme, Host: u.Host, Path: u.EscapedPath() + "?a=b", Token: tc.Token, JKT: tc.JKT,
		}
		another := r
		another.Method = "PUT"
		if _, err := p.Accept(t.Context(), another); !errors.Is(err, ErrProof) {
			t.Errorf("%s, %s: for another method: got %v", recorded.Maker, tc.Alg, err)
		}
		if _, err := p.Accept(t.Context(), r); err != nil {
			t.Errorf("%s, %s: %v", recorded.Maker, tc.Alg, err)
		}
		if _, err := p.Accept(t.Context(), r); !errors.Is(err, ErrProof) {
			t.Errorf("%s, %s: the second time: got %v", recorded.Maker, tc.Alg, err)
		}
	}
}
