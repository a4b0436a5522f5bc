package revocation

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
)

func subject(format string, members ...string) claims {
	all := claims{"format": format}
	for n := 0; n < len(members); n += 2 {
		all[members[n]] = members[n+1]
	}
	return all
}

// TestWhatEventsDo has every type of event, and every format of subject.
func TestWhatEventsDo(t *testing.T) {
	user := subject("iss_sub", "iss", here, "sub", "alice")
	session := subject("opaque", "id", "s1")
	hers := Revocation{Kind: KindSub, Value: "alice"}
	for name, tc := range map[string]struct {
		event   string
		subject claims
		result  string
		r       Revocation // that must be there; without a kind: none is
	}{
		"session revoked":    {caep + "session-revoked", user, ResultRevoked, hers},
		"credential change":  {caep + "credential-change", user, ResultRevoked, hers},
		"account disabled":   {risc + "account-disabled", user, ResultRevoked, hers},
		"account purged":     {risc + "account-purged", user, ResultRevoked, hers},
		"sessions revoked":   {risc + "sessions-revoked", user, ResultRevoked, hers},
		"change required":    {risc + "account-credential-change-required", user, ResultRevoked, hers},
		"claims change":      {caep + "token-claims-change", user, ResultDropped, Revocation{Kind: KindSub, Value: "alice", Facts: true}},
		"assurance change":   {caep + "assurance-level-change", user, ResultDropped, Revocation{Kind: KindSub, Value: "alice", Facts: true}},
		"compliance change":  {caep + "device-compliance-change", user, ResultDropped, Revocation{Kind: KindSub, Value: "alice", Facts: true}},
		"verification":       {ssf + "verification", subject("opaque", "id", "stream"), ResultAnswered, Revocation{}},
		"stream updated":     {ssf + "stream-updated", subject("opaque", "id", "stream"), ResultAnswered, Revocation{}},
		"account enabled":    {risc + "account-enabled", user, ResultIgnored, Revocation{}},
		"session presented":  {caep + "session-presented", user, ResultIgnored, Revocation{}},
		"another's event":    {"https://example.com/event", nil, ResultIgnored, Revocation{}},
		"almost known":       {caep + "session-revoked/", user, ResultIgnored, Revocation{}},
		"opaque":             {caep + "session-revoked", subject("opaque", "id", "alice"), ResultRevoked, hers},
		"jwt_id":             {caep + "session-revoked", subject("jwt_id", "iss", here, "jti", "j1"), ResultRevoked, Revocation{Kind: KindJTI, Value: "j1"}},
		"email":              {caep + "session-revoked", subject("email", "email", "Alice@Example.com"), ResultRevoked, Revocation{Kind: KindEmail, Value: "alice@example.com"}},
		"complex user":       {caep + "session-revoked", claims{"format": "complex", "user": user}, ResultRevoked, hers},
		"complex session":    {caep + "session-revoked", claims{"format": "complex", "session": session}, ResultRevoked, Revocation{Kind: KindSID, Value: "s1"}},
		"session of a user":  {caep + "session-revoked", claims{"format": "complex", "session": session, "user": user}, ResultRevoked, Revocation{Kind: KindSession, Value: "s1", And: "alice"}},
		"session of a mail":  {caep + "session-revoked", claims{"format": "complex", "session": session, "user": subject("email", "email", "a@b.c")}, ResultRevoked, Revocation{Kind: KindEmailSession, Value: "s1", And: "a@b.c"}},
		"user on a device":   {caep + "session-revoked", claims{"format": "complex", "user": user, "device": subject("opaque", "id", "d"), "tenant": 1}, ResultRevoked, hers},
		"as it was before":   {risc + "account-disabled", claims{"subject_type": "iss-sub", "iss": here, "sub": "alice"}, ResultRevoked, hers},
		"opaque in a user":   {caep + "session-revoked", claims{"format": "complex", "user": subject("opaque", "id", "alice")}, ResultRevoked, hers},
		"facts of a session": {caep + "token-claims-change", claims{"format": "complex", "session": session}, ResultDropped, Revocation{Kind: KindSID, Value: "s1", Facts: true}},
	} {
		for _, where := range []string{"sub_id", "subject", "both"} {
			t.Run(name+", "+where, func(t *testing.T) {
				r := newRig(t)
				payload := claims{"status": "paused"}
				change := claims{"sub_id": nil, "events": claims{tc.event: payload}}
				if tc.subject != nil && where != "subject" {
					change["sub_id"] = tc.subject
				}
				if tc.subject != nil && where != "sub_id" {
					payload["subject"] = tc.subject
				}
				want(t, r.push(r.as.set(change)), "")
				if got := r.results(); !slices.Equal(got, []string{tc.result}) {
					t.Errorf("got %v, want %s", got, tc.result)
				}
				table, kind := &r.set.revoked, tc.r.Kind
				if tc.r.Facts {
					table = &r.set.facts
				}
				tc.r.Issuer = here
				if n := r.set.revoked.len() + r.set.facts.len(); kind == 0 && n != 0 || kind != 0 && n != 1 {
					t.Errorf("got %d entries", n)
				}
				if kind != 0 && table.find(tc.r.digest()) == nil {
					t.Errorf("%+v is not there", tc.r)
				}
			})
		}
	}
}

// TestAttacks has what must be refused, and how; nothing of it may do anything.
func TestAttacks(t *testing.T) {
	r2, idle := newTransmitter(t, ""), newTransmitter(t, "")
	r := newRig(t, func(c *Config) {
		two := c.Events[0]
		two.Transmitter, two.PushTokenFile, two.Issuer = r2.name(), file(t, "another-token"), elsewhere
		c.Events = append(c.Events, two)
		polled := Transmitter{
			Transmitter: idle.name(), Issuer: here, Audience: gate, Delivery: DeliveryPoll, PollEndpoint: idle.url + "/poll",
		}
		c.Events = append(c.Events, polled)
	})
	other := newKey("1")
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	secret := jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "1", Algorithm: "HS256"}
	typ := claims{"typ": "secevent+jwt"}
	good := r.as.set()
	parts := strings.Split(good, ".")
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	user := subject("iss_sub", "iss", here, "sub", "alice")
	event := func(payload any) claims { return claims{"events": claims{caep + "session-revoked": payload}} }
	of := func(sub any) string { return r.as.set(claims{"sub_id": sub}) }
	authorization := func(values ...string) func(*http.Request) {
		return func(req *http.Request) { req.Header["Authorization"] = values }
	}
	contentType := func(kind string) func(*http.Request) {
		return func(req *http.Request) { req.Header.Set("Content-Type", kind) }
	}
	for name, tc := range map[string]struct {
		raw    string
		code   string
		change func(*http.Request)
	}{
		"no token":             {"", codeRequest, nil},
		"no JWT":               {"hello", codeRequest, nil},
		"an array":             {"[]", codeRequest, nil},
		"a line break":         {good + "\n", codeRequest, nil},
		"no signature":         {parts[0] + "." + parts[1] + ".", codeKey, nil},
		"cut signature":        {good[:len(good)-2], codeKey, nil},
		"another payload":      {parts[0] + "." + strings.Split(r.as.set(claims{"jti": "other"}), ".")[1] + "." + parts[2], codeKey, nil},
		"padding":              {parts[0] + "." + parts[1] + "." + parts[2] + "==", codeRequest, nil},
		"alg none":             {header(`{"alg":"none","typ":"secevent+jwt"}`) + "." + parts[1] + ".", codeKey, nil},
		"alg HS256":            {devissuer.Sign(secret, typ, r.as.claims()), codeKey, nil},
		"critical header":      {header(`{"alg":"ES256","kid":"1","typ":"secevent+jwt","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2], codeRequest, nil},
		"own key":              {devissuer.Sign(other, typ, r.as.claims()), codeKey, nil},
		"unknown key":          {devissuer.Sign(newKey("2"), typ, r.as.claims()), codeKey, nil},
		"another kind of key":  {devissuer.Sign(jose.JSONWebKey{Key: strong, KeyID: "1", Algorithm: "RS256"}, typ, r.as.claims()), codeKey, nil},
		"another transmitter":  {devissuer.Sign(r2.key, typ, r.as.claims()), codeKey, nil},
		"no typ":               {devissuer.Sign(r.as.key, nil, r.as.claims()), codeRequest, nil},
		"typ JWT":              {devissuer.Sign(r.as.key, claims{"typ": "JWT"}, r.as.claims()), codeRequest, nil},
		"typ logout":           {devissuer.Sign(r.as.key, claims{"typ": "logout+jwt"}, r.as.claims()), codeRequest, nil},
		"typ of another shape": {devissuer.Sign(r.as.key, claims{"typ": "text/secevent+jwt"}, r.as.claims()), codeRequest, nil},
		"no iss":               {r.as.set(claims{"iss": nil}), codeIssuer, nil},
		"iss a list":           {r.as.set(claims{"iss": []string{r.as.name()}}), codeIssuer, nil},
		"unknown iss":          {r.as.set(claims{"iss": "https://evil.example.com"}), codeIssuer, nil},
		"iss with a slash":     {r.as.set(claims{"iss": r.as.name() + "/"}), codeIssuer, nil},
		"iss that is polled":   {idle.set(), codeIssuer, nil},
		"another's iss":        {r2.set(), codeDenied, nil},
		"no aud":               {r.as.set(claims{"aud": nil}), codeAudience, nil},
		"another aud":          {r.as.set(claims{"aud": "https://other.example.com"}), codeAudience, nil},
		"other auds":           {r.as.set(claims{"aud": []string{"a", "b"}}), codeAudience, nil},
		"aud with more":        {r.as.set(claims{"aud": []any{gate, 1}}), codeAudience, nil},
		"aud a number":         {r.as.set(claims{"aud": 1}), codeAudience, nil},
		"aud null":             {devissuer.SignRaw(r.as.key, typ, []byte(`{"iss":"`+r.as.name()+`","aud":null}`)), codeAudience, nil},
		"sub":                  {r.as.set(claims{"sub": "alice"}), codeRequest, nil},
		"exp":                  {r.as.set(claims{"exp": time.Now().Add(time.Hour).Unix()}), codeRequest, nil},
		"sub null":             {devissuer.SignRaw(r.as.key, typ, []byte(`{"iss":"`+r.as.name()+`","sub":null}`)), codeRequest, nil},
		"no jti":               {r.as.set(claims{"jti": nil}), codeRequest, nil},
		"empty jti":            {r.as.set(claims{"jti": ""}), codeRequest, nil},
		"jti a number":         {r.as.set(claims{"jti": 1}), codeRequest, nil},
		"no iat":               {r.as.set(claims{"iat": nil}), codeRequest, nil},
		"iat a text":           {r.as.set(claims{"iat": "1"}), codeRequest, nil},
		"iat no date":          {r.as.set(claims{"iat": 1e30}), codeRequest, nil},
		"no events":            {r.as.set(claims{"events": nil}), codeRequest, nil},
		"empty events":         {r.as.set(claims{"events": claims{}}), codeRequest, nil},
		"events a list":        {r.as.set(claims{"events": []string{caep + "session-revoked"}}), codeRequest, nil},
		"an event no object":   {r.as.set(event("yes")), codeRequest, nil},
		"two events":           {r.as.set(claims{"events": claims{caep + "session-revoked": claims{}, caep + "credential-change": claims{}}}), codeRequest, nil},
		"an event and another": {r.as.set(claims{"events": claims{caep + "session-revoked": claims{}, "https://example.com/x": claims{}}}), codeRequest, nil},
		"the same event twice": {devissuer.SignRaw(r.as.key, typ, []byte(`{"iss":"`+r.as.name()+`","aud":"`+gate+`","jti":"x","iat":1,"events":{"`+caep+`session-revoked":{},"`+caep+`session-revoked":{}}}`)), codeRequest, nil},
		"a claim twice":        {devissuer.SignRaw(r.as.key, typ, []byte(`{"iss":"`+r.as.name()+`","aud":"`+gate+`","aud":"x"}`)), codeRequest, nil},
		"bad event_timestamp":  {r.as.set(event(claims{"event_timestamp": "soon"})), codeRequest, nil},

		"no subject":                {of(nil), codeRequest, nil},
		"subject a text":            {of("alice"), codeRequest, nil},
		"subject without format":    {of(claims{"iss": here, "sub": "alice"}), codeRequest, nil},
		"subject of another issuer": {of(subject("iss_sub", "iss", elsewhere, "sub", "alice")), codeDenied, nil},
		"subject of the sender":     {of(subject("iss_sub", "iss", r.as.name(), "sub", "alice")), codeDenied, nil},
		"token of another issuer":   {of(subject("jwt_id", "iss", elsewhere, "jti", "j1")), codeDenied, nil},
		"subject without iss":       {of(subject("iss_sub", "sub", "alice")), codeRequest, nil},
		"subject without sub":       {of(subject("iss_sub", "iss", here)), codeRequest, nil},
		"subject with empty sub":    {of(subject("iss_sub", "iss", here, "sub", "")), codeRequest, nil},
		"subject with sub a number": {of(claims{"format": "iss_sub", "iss": here, "sub": 1}), codeRequest, nil},
		"format of another case":    {of(subject("ISS_SUB", "iss", here, "sub", "alice")), codeRequest, nil},
		"format a list":             {of(claims{"format": []string{"opaque"}, "subject_type": "opaque", "id": "x"}), codeRequest, nil},
		"phone number":              {of(subject("phone_number", "phone_number", "+12065550100")), codeRequest, nil},
		"account":                   {of(subject("account", "uri", "acct:alice@example.com")), codeRequest, nil},
		"aliases":                   {of(claims{"format": "aliases", "identifiers": []claims{user}}), codeRequest, nil},
		"device only":               {of(claims{"format": "complex", "device": subject("opaque", "id", "d")}), codeRequest, nil},
		"complex in complex":        {of(claims{"format": "complex", "user": claims{"format": "complex", "user": user}}), codeRequest, nil},
		"session of iss_sub":        {of(claims{"format": "complex", "session": user}), codeRequest, nil},
		"user by a token":           {of(claims{"format": "complex", "user": subject("jwt_id", "iss", here, "jti", "j")}), codeRequest, nil},
		"user of another issuer":    {of(claims{"format": "complex", "user": subject("iss_sub", "iss", elsewhere, "sub", "alice")}), codeDenied, nil},
		"user null":                 {of(claims{"format": "complex", "user": nil, "session": subject("opaque", "id", "s")}), codeRequest, nil},
		"a good user, no session":   {of(claims{"format": "complex", "user": user, "session": subject("opaque")}), codeRequest, nil},
		"two subjects":              {r.as.set(event(claims{"subject": subject("iss_sub", "iss", here, "sub", "bob")})), codeRequest, nil},

		"a large body":            {strings.Repeat("x", 10<<20), codeRequest, nil},
		"no authorization":        {good, codeAuthentication, func(req *http.Request) { req.Header.Del("Authorization") }},
		"wrong authorization":     {good, codeAuthentication, authorization("Bearer " + pushToken + "x")},
		"part of it":              {good, codeAuthentication, authorization("Bearer " + pushToken[1:])},
		"empty authorization":     {good, codeAuthentication, authorization("")},
		"two authorizations":      {good, codeAuthentication, authorization("Bearer "+pushToken, "Bearer "+pushToken)},
		"another's authorization": {good, codeDenied, authorization("Bearer another-token")},
		"no content type":         {good, codeRequest, contentType("")},
		"another content type":    {good, codeRequest, contentType("application/json")},
		"another kind of token":   {good, codeRequest, contentType("application/jwt")},
		"a form":                  {"token=" + good, codeRequest, contentType("application/x-www-form-urlencoded")},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.results())
			change := tc.change
			if change == nil {
				change = func(*http.Request) {}
			}
			want(t, r.push(tc.raw, change), tc.code)
			if got := r.results()[before:]; !slices.Equal(got, []string{ResultRefused}) {
				t.Errorf("got %v, want refused", got)
			}
		})
	}
	if r.set.Generation() != 0 || r.set.accepted.len() != 0 {
		t.Errorf("an attack did something: %v", r.set.Counts())
	}
	want(t, r.push(good), "") // what was refused is not remembered
	if r.set.Len() != 1 {
		t.Error("the good one did nothing")
	}
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		if w := r.push(good, func(req *http.Request) { req.Method = method }); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %d, want 405", method, w.Code)
		}
	}
	if w := r.push(good, func(req *http.Request) { req.URL.Path = "/" }); w.Code != http.StatusNotFound {
		t.Errorf("elsewhere: got %d, want 404", w.Code)
	}
}

func TestAcceptedAlike(t *testing.T) {
	for name, tc := range map[string]func(*rig) (string, func(*http.Request)){
		"typ with application/": func(r *rig) (string, func(*http.Request)) {
			return devissuer.Sign(r.as.key, claims{"typ": "application/secevent+jwt"}, r.as.claims()), nil
		},
		"typ in capitals": func(r *rig) (string, func(*http.Request)) {
			return devissuer.Sign(r.as.key, claims{"typ": "SECEVENT+JWT"}, r.as.claims()), nil
		},
		"aud a list": func(r *rig) (string, func(*http.Request)) {
			return r.as.set(claims{"aud": []string{"x", gate}}), nil
		},
		"txn and others": func(r *rig) (string, func(*http.Request)) {
			return r.as.set(claims{"txn": "8675309", "toe": 1, "x": claims{"y": 1}}), nil
		},
		"iat with a fraction": func(r *rig) (string, func(*http.Request)) { return r.as.set(claims{"iat": 1600975810.5}), nil },
		"iat long ago":        func(r *rig) (string, func(*http.Request)) { return r.as.set(claims{"iat": 1}), nil },
		"content type with a parameter": func(r *rig) (string, func(*http.Request)) {
			return r.as.set(), func(req *http.Request) { req.Header.Set("Content-Type", "Application/SecEvent+JWT; charset=utf-8") }
		},
		"bearer in lower case": func(r *rig) (string, func(*http.Request)) {
			return r.as.set(), func(req *http.Request) { req.Header.Set("Authorization", "bearer "+pushToken) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			raw, change := tc(r)
			if change == nil {
				change = func(*http.Request) {}
			}
			want(t, r.push(raw, change), "")
			if r.set.Len() != 1 {
				t.Error("it did nothing")
			}
		})
	}
}

func TestReplayedEventsDoNothing(t *testing.T) {
	r := newRig(t)
	raw := r.as.set()
	want(t, r.push(raw), "")
	generation := r.set.Generation()
	want(t, r.push(raw), "")
	want(t, r.push(r.as.set(claims{"sub_id": subject("opaque", "id", "bob")})), "") // the same jti
	if r.set.Generation() != generation || r.set.Len() != 1 {
		t.Error("a replayed event did something")
	}
	if got, want := r.results(), []string{ResultRevoked, ResultDuplicate, ResultDuplicate}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestCriticalMembers has those that a transmitter wants understood.
func TestCriticalMembers(t *testing.T) {
	user := subject("opaque", "id", "alice")
	for _, tc := range []struct {
		critical any
		subject  claims
		code     string
	}{
		{[]string{"tenant", "user"}, claims{"format": "complex", "user": user}, ""},
		{[]string{"tenant"}, claims{"format": "complex", "user": user, "tenant": subject("opaque", "id", "t")}, codeRequest},
		{[]string{"tenant"}, claims{"format": "complex", "user": user, "device": subject("opaque", "id", "d")}, ""},
		{[]string{"user", "session"}, claims{"format": "complex", "user": user, "session": user}, ""},
		{nil, claims{"format": "complex", "user": user, "tenant": subject("opaque", "id", "t")}, ""},
	} {
		as := newTransmitter(t, "")
		as.critical = tc.critical
		r := &rig{as: as, lines: &lockedBuffer{}}
		r.start(t)
		want(t, r.push(r.as.set(claims{"sub_id": tc.subject})), tc.code)
		if alarm := strings.Contains(r.lines.String(), "level=ERROR"); alarm != (tc.code != "") {
			t.Errorf("%v and %v: got an alarm %t", tc.critical, tc.subject, alarm)
		}
	}
}

func TestTheTimeOfAnEvent(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, tc := range map[string]struct {
		iat    int64
		change claims
		issued time.Duration // of the token, from now
		want   Verdict
	}{
		"before iat":             {at(-60e9), claims{}, -70 * time.Second, Revoked},
		"after iat":              {at(-60e9), claims{}, -50 * time.Second, Good},
		"event_timestamp counts": {at(-10e9), claims{"event_timestamp": at(-60e9)}, -50 * time.Second, Good},
		"before event_timestamp": {at(-10e9), claims{"event_timestamp": at(-60e9)}, -70 * time.Second, Revoked},
		"a clock ahead":          {at(20e9), claims{}, 10 * time.Second, Revoked},
		"the future":             {at(0), claims{"event_timestamp": at(3600e9)}, 60 * time.Second, Good},
		"milliseconds":           {at(0), claims{"event_timestamp": now.UnixMilli()}, 60 * time.Second, Good},
		"milliseconds, before":   {at(0), claims{"event_timestamp": now.UnixMilli()}, 0, Revoked},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			want(t, r.push(r.as.set(claims{"iat": tc.iat, "events": claims{caep + "session-revoked": tc.change}})), "")
			if got := r.set.Judge(Subject{Issuer: here, Sub: "alice", IssuedAt: now.Add(tc.issued)}); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
	t.Run("facts, learnt between event and now", func(t *testing.T) {
		r := newRig(t)
		want(t, r.push(r.as.set(claims{"iat": at(-60e9), "events": claims{caep + "token-claims-change": claims{}}})), "")
		for learnt, want := range map[time.Time]Verdict{now: Outdated, time.Now().Add(1e9): Good} {
			if got := r.set.Judge(Subject{Issuer: here, Sub: "alice", IssuedAt: now.Add(-1e12), Learnt: learnt}); got != want {
				t.Errorf("learnt %s: got %s, want %s", learnt, got, want)
			}
		}
	})
}

func TestMetadataOfAnIssuerWithAPath(t *testing.T) {
	for _, path := range []string{"/realms/a", "/realms/a/"} {
		as := newTransmitter(t, path)
		r := &rig{as: as, lines: &lockedBuffer{}}
		r.start(t)
		if as.asked[0] != "/.well-known/ssf-configuration/realms/a" {
			t.Errorf("%s: asked %v", path, as.asked)
		}
		want(t, r.push(r.as.set()), "")
	}
}

func TestMetadataBelowThePath(t *testing.T) {
	as := newTransmitter(t, "/realms/a")
	as.appended = true
	r := &rig{as: as, lines: &lockedBuffer{}}
	r.start(t)
	if want := []string{"/.well-known/ssf-configuration/realms/a", "/realms/a/.well-known/ssf-configuration"}; !slices.Equal(as.asked[:2], want) {
		t.Errorf("asked %v, want %v", as.asked, want)
	}
	want(t, r.push(r.as.set()), "")
}

func TestCriticalMembersThatCannotBeReadCountForNothing(t *testing.T) {
	for _, critical := range []any{"tenant", []any{"tenant", 1}, claims{}} {
		as := newTransmitter(t, "")
		as.critical, as.issuer = critical, as.url // start does not wait for it
		r := &rig{as: as, lines: &lockedBuffer{}}
		r.start(t)
		for deadline := time.Now().Add(5 * time.Second); !strings.Contains(r.lines.String(), "critical_subject_members"); {
			if time.Now().After(deadline) {
				t.Fatal("no word of it")
			}
			time.Sleep(time.Millisecond)
		}
		if w := r.push(as.set()); w.Code != http.StatusServiceUnavailable {
			t.Errorf("%v: got %d, want 503", critical, w.Code)
		}
	}
}

func TestNoKeysIsNoRefusal(t *testing.T) {
	as := newTransmitter(t, "")
	as.down = true
	r := &rig{as: as, lines: &lockedBuffer{}}
	r.start(t)
	raw := as.set()
	if w := r.push(raw); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d, want 503: it is to come again", w.Code)
	}
	if got := r.results(); len(got) != 0 {
		t.Errorf("got %v, want nothing counted", got)
	}
	if streams := r.Streams(); streams[0].Err == nil {
		t.Error("the stream has no problem")
	}
	as.mu.Lock()
	as.down = false
	as.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); r.push(raw).Code != http.StatusAccepted; {
		if time.Now().After(deadline) {
			t.Fatal("not accepted when the keys are there")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if streams := r.Streams(); streams[0].Err != nil || time.Since(streams[0].Alive) > time.Minute {
		t.Errorf("got %+v, want a stream that is well", streams[0])
	}
}

func TestMetadataOfAnotherIssuerCountsForNothing(t *testing.T) {
	as := newTransmitter(t, "")
	as.issuer = "https://evil.example.com"
	r := &rig{as: as, lines: &lockedBuffer{}}
	r.start(t)
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(r.lines.String(), "got issuer"); {
		if time.Now().After(deadline) {
			t.Fatal("no word of it")
		}
		time.Sleep(time.Millisecond)
	}
	if w := r.push(as.set()); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d, want 503", w.Code)
	}
}

func TestKeysRotate(t *testing.T) {
	r := newRig(t)
	want(t, r.push(r.as.set()), "")
	r.as.mu.Lock()
	r.as.key = newKey("2")
	r.as.mu.Unlock()
	want(t, r.push(r.as.set(claims{"jti": "2"})), "")
}

func TestPushTokenIsReRead(t *testing.T) {
	t.Parallel()
	var name string
	r := newRig(t, func(c *Config) { name = c.Events[0].PushTokenFile })
	if err := os.WriteFile(name, []byte("a-new-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for r.push(r.as.set(), func(req *http.Request) {
		req.Header.Set("Authorization", "Bearer a-new-token")
	}).Code != http.StatusAccepted {
		if time.Now().After(deadline) {
			t.Fatal("the new token is not taken")
		}
		time.Sleep(50 * time.Millisecond)
	}
	want(t, r.push(r.as.set()), codeAuthentication)
}

func TestWithoutAPushTokenTheSignatureCounts(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Events[0].PushTokenFile = "" })
	for jti, value := range map[string]string{"1": "", "2": "Bearer whatever"} {
		want(t, r.push(r.as.set(claims{"jti": jti}), func(req *http.Request) { req.Header.Set("Authorization", value) }), "")
	}
}

func TestAReloadKeepsKeys(t *testing.T) {
	r := newRig(t)
	before := r.Receiver
	next := &rig{as: r.as, issuer: r.issuer, lines: &lockedBuffer{}}
	r.as.mu.Lock()
	r.as.down = true
	r.as.mu.Unlock()
	c := Config{Keep: time.Hour, ReceiverAddress: ":0", Events: []Transmitter{before.senders[0].Transmitter}}
	var err error
	next.Receiver, err = NewReceiver(c, ReceiverOptions{Set: NewSet(Options{}), Issuers: issuers()})
	if err != nil {
		t.Fatal(err)
	}
	next.Inherit(before)
	want(t, next.push(r.as.set()), "")
	if w := next.push("", func(req *http.Request) { req.URL.Path = PathLogout }); w.Code != http.StatusNotFound {
		t.Errorf("logout tokens that nobody wants: got %d, want 404", w.Code)
	}
}

func TestStreamUpdatesAreTold(t *testing.T) {
	r := newRig(t)
	for n, status := range []string{"enabled", "paused\nlevel=x"} {
		payload := claims{ssf + "stream-updated": claims{"status": status}}
		want(t, r.push(r.as.set(claims{"jti": fmt.Sprint(n), "events": payload})), "")
		alarm := strings.Contains(r.lines.String(), "level=ERROR")
		if alarm != (n == 1) {
			t.Errorf("%s: got an alarm %t:\n%s", status, alarm, r.lines)
		}
	}
}

func TestNothingThatCameIsLogged(t *testing.T) {
	r := newRig(t)
	r.push(r.as.set())
	r.push(r.as.set(claims{"sub_id": subject("phone_number", "phone_number", "alice")}))
	r.push(r.as.set(claims{"aud": "alice"}))
	if text := r.lines.String(); strings.Contains(text, "alice") || strings.Contains(text, pushToken) {
		t.Errorf("the log tells whom it is about: %s", text)
	}
}
