package validation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// TestClaimsSurviveTheCache: what is kept once for several tokens is told of each of
// them as it came, and of none that does not have it.
func TestClaimsSurviveTheCache(t *testing.T) {
	c := newCache(CacheConfig{MaxEntries: 1000, MaxBytes: 1 << 20, TTL: time.Hour}, digest{})
	many := make([]string, maxTemplate+6)
	for i := range many {
		many[i] = fmt.Sprintf(`"m%d":%d`, i, i)
	}
	texts := []string{
		`{"sub":"a","tenant":"acme","exp":4000000000,"groups":["x","y"]}`,
		`{"sub":"a","tenant":"acme","exp":4000000000,"groups":["x","y"]}`, // makes the template
		`{"sub":"a","tenant":"acme","exp":4000000000,"groups":["x","y"]}`, // has nothing of its own
		`{"sub":"b","tenant":"acme","exp":4.0e9,"groups":["x"]}`,          // the same date, other digits
		`{"groups":["x","y"],"sub":"c"}`,
		`{"tenant":null,"sub":"d","aud":[ ],"groups":["x","y"]}`,
		`{"ten\u0061nt":"acme","sub":"\u00e9\"","x":{"tenant":"acme"}}`,
		`{"sub":"}"}`,
		`{"sub":"","tenant":"acme"}`,
		`{"sub":"acme","tenant":"acme"}`,
		`{}`,
		` { "tenant" : "acme" , "a\"b\\" : [ null , { } ] } `,
		"{" + strings.Join(many, ",") + "}",
		`{"sub":"a","text":"` + strings.Repeat("x", 3000) + `"}`,
	}
	now := time.Now()
	want := make([]*Token, len(texts))
	for n, text := range texts {
		claims, err := parseObject([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if want[n], err = tokenFromClaims(claims); err != nil {
			t.Fatal(err)
		}
		c.add(id(n), want[n], "", now)
	}
	for n, text := range texts {
		known, _ := c.positive(id(n))
		got := known.token()
		if diff := cmp.Diff(ClaimsOf(text).Map(), got.Claims.Map()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if got.Subject != want[n].Subject || !got.Expiry.Equal(want[n].Expiry) {
			t.Errorf("%s: got %+v, want %+v", text, got, want[n])
		}
	}
	if p, _ := c.positive(id(2)); p.claims() != "{}" {
		t.Errorf("got %s of its own, want nothing: the template has it all", p.claims())
	}
}

// TestTokensThatAreNotAlike: facts are kept once only where they are the same.
func TestTokensThatAreNotAlike(t *testing.T) {
	var l likenesses
	base := Token{Issuer: "i", ClientID: "c", ACR: "a", Scopes: []string{"r", "w"}, Audience: []string{"x"}}
	first, _ := l.of(&base, "key")
	for name, change := range map[string]func(*Token){
		"issuer":   func(t *Token) { t.Issuer = "j" },
		"client":   func(t *Token) { t.ClientID = "" },
		"acr":      func(t *Token) { t.ACR = "b" },
		"shifted":  func(t *Token) { t.ACR, t.ClientID = "", "ca" },
		"scopes":   func(t *Token) { t.Scopes = []string{"r w"} },
		"none":     func(t *Token) { t.Scopes = nil },
		"audience": func(t *Token) { t.Scopes, t.Audience = []string{"r"}, []string{"w", "x"} },
		"jwt":      func(t *Token) { t.JWT = true },
	} {
		other := base
		change(&other)
		if a, _ := l.of(&other, "key"); a == first {
			t.Errorf("%s: two tokens that differ count as alike", name)
		}
	}
	if a, _ := l.of(&base, "other key"); a == first {
		t.Error("tokens of two keys count as alike")
	}
	if a, _ := l.of(&base, "key"); a != first {
		t.Error("two tokens that do not differ are kept apart")
	}
	for n := range 3 * maxAlike {
		l.of(&Token{ClientID: fmt.Sprint(n)}, "")
	}
	l.of(&Token{ClientID: strings.Repeat("x", 2*maxAlikeBytes)}, "")
	if len(l.known) > maxAlike {
		t.Errorf("got %d, want at most %d", len(l.known), maxAlike)
	}
}

// TestSubjectBehindTheClaims: a subject that no claim of its own holds is kept behind
// them, also where it looks like their end.
func TestSubjectBehindTheClaims(t *testing.T) {
	for _, subject := range []string{"}", `"}`, `"y"}`, "a", ""} {
		c := newCache(CacheConfig{MaxEntries: 1000, MaxBytes: 1 << 20, TTL: time.Hour}, digest{})
		for n := range 3 { // the second makes the template, and the third has little of its own
			quoted, err := jsontext.AppendQuote(nil, subject)
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf(`{"sub":%s,"n":%d,"x":"y"}`, quoted, n)
			if n == 2 {
				text = fmt.Sprintf(`{"x":"y","sub":%s}`, quoted)
			}
			claims, err := parseObject([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			token, err := tokenFromClaims(claims)
			if err != nil {
				t.Fatal(err)
			}
			c.add(id(n), token, "", time.Now())
			known, _ := c.positive(id(n))
			got := known.token()
			if diff := cmp.Diff(ClaimsOf(text).Map(), got.Claims.Map()); diff != "" || got.Subject != subject {
				t.Errorf("%s: got subject %q, and claims that differ: %s", text, got.Subject, diff)
			}
		}
	}
}
