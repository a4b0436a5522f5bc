package revocation

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// FuzzSET reads what a transmitter has signed, whatever it is: it never panics, and
// what it revokes is always of the configured issuer, and complete.
func FuzzSET(f *testing.F) {
	tr := &transmitter{url: "https://transmitter.example.com", key: newKey("1")}
	iss := `{"iss":"` + tr.url + `","aud":"` + gate + `","jti":"1","iat":1,`
	for _, rest := range []string{
		`"sub_id":{"format":"opaque","id":"x"},"events":{"` + caep + `session-revoked":{"event_timestamp":1}}}`,
		`"sub_id":{"format":"complex","user":{"format":"email","email":"a"},"session":{"format":"opaque","id":"s"}},"events":{"` +
			caep + `token-claims-change":{}}}`,
		`"events":{"` + risc + `account-disabled":{"subject":{"subject_type":"iss-sub","iss":"` + here + `","sub":"x"}}}}`,
		`"events":{"` + ssf + `verification":{}}}`, `"events":{}}`, `"events":null}`,
	} {
		f.Add([]byte(iss + rest))
	}
	reader := setReader{
		Transmitter: Transmitter{Transmitter: tr.url, Issuer: here, Audience: gate}, issuer: issuers()[0],
		keys: oneKey{JSONWebKey: tr.key}, critical: func() ([]string, error) { return []string{"tenant"}, nil }, now: time.Now,
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw := devissuer.SignRaw(tr.key, claims{"typ": "secevent+jwt"}, payload)
		found, err := reader.read(t.Context(), raw)
		if err != nil {
			var wrong *refusal
			if !errors.As(err, &wrong) || wrong.code == "" || wrong.description == "" {
				t.Errorf("got %v, want a refusal", err)
			}
			return
		}
		acts := found.effect == effectRevoke || found.effect == effectDrop
		if found.jti == "" || acts != (len(found.all) == 1) {
			t.Errorf("got %+v", found)
		}
		for _, r := range found.all {
			if r.Check() != nil || r.Issuer != here || r.Before.After(time.Now().Add(time.Minute)) {
				t.Errorf("got %+v", r)
			}
		}
		if other := strings.Replace(raw, ".", ".e", 1); other != raw {
			if _, err := reader.read(t.Context(), other); err == nil {
				t.Error("another content has the same signature")
			}
		}
	})
}

// FuzzLogoutToken is the same of logout tokens.
func FuzzLogoutToken(f *testing.F) {
	key := newKey("logout")
	now := time.Unix(1_700_000_000, 0)
	begin := `{"iss":"` + here + `","aud":"app","jti":"1","iat":1700000000,`
	for _, rest := range []string{
		`"sub":"alice","events":{"` + eventLogout + `":{}}}`, `"sid":"s","exp":1700000001,"events":{"` + eventLogout + `":{}}}`,
		`"sub":"a","sid":"s","nonce":null,"events":{"` + eventLogout + `":{}}}`, `"events":[]}`,
	} {
		f.Add([]byte(begin + rest))
	}
	reader := logoutReader{
		issuer: issuers()[0], keys: func() Keys { return oneKey{JSONWebKey: key} }, now: func() time.Time { return now },
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		found, err := reader.read(t.Context(), devissuer.SignRaw(key, claims{"typ": "logout+jwt"}, payload))
		if err != nil {
			return
		}
		r := found.revokes
		if found.jti == "" || r.Check() != nil || r.Issuer != here || bytes.Contains(payload, []byte(`"nonce":"`)) ||
			r.Before.Before(now.Add(-maxLogoutAge)) || r.Before.After(now.Add(time.Minute)) {
			t.Errorf("got %+v", found)
		}
	})
}

// FuzzEntry takes whatever stands in the log: what is taken is written as it was read.
func FuzzEntry(f *testing.F) {
	s := NewSet(Options{})
	f.Add(record{entry: entry{kind: KindSub, told: 1, before: -1}, issuer: here, facts: true}.marshal())
	f.Add(record{entry: entry{kind: kindEvent}, issuer: ""}.marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		s.Take(content, time.Now())
		r, err := unmarshal(content)
		if err == nil && !bytes.Equal(r.marshal(), content) {
			t.Errorf("%x is written as %x", content, r.marshal())
		}
	})
}

// FuzzPushed reads what strangers send, who have no key.
func FuzzPushed(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJFUzI1NiJ9.e30.")
	reader := setReader{issuer: issuers()[0], keys: oneKey{}, now: time.Now}
	f.Fuzz(func(t *testing.T, raw string) {
		_, _ = unverifiedIssuer(raw)
		if _, err := reader.read(t.Context(), raw); err == nil {
			t.Error("accepted without a signature")
		}
	})
}
