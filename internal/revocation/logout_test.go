package revocation

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
)

// logoutClaims are those of a good logout token, changed.
func logoutClaims(changes ...claims) claims {
	return changed(claims{
		"iss": here, "aud": "app", "jti": "jti-1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"sub": "alice", "sid": "s1", "events": claims{eventLogout: claims{}},
	}, changes...)
}

func (r *rig) logoutToken(changes ...claims) string {
	return devissuer.Sign(r.issuer, claims{"typ": "logout+jwt"}, logoutClaims(changes...))
}

func (r *rig) postLogout(body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, PathLogout, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, f := range change {
		f(req)
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func form(tokens ...string) string { return url.Values{"logout_token": tokens}.Encode() }

func wantLogout(t *testing.T, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d, Cache-Control %q, %s, want %d, no-store", w.Code, w.Header().Get("Cache-Control"), w.Body, status)
	}
	var got struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if status != http.StatusBadRequest {
		return
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Error != "invalid_request" || got.Description == "" {
		t.Errorf("got %s, want an error", w.Body)
	}
}

func TestLogoutTokens(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	session := Revocation{Issuer: here, Kind: KindSession, Value: "s1", And: "alice"}
	typed := func(typ string) func(*rig) string {
		return func(r *rig) string { return devissuer.Sign(r.issuer, claims{"typ": typ}, logoutClaims()) }
	}
	with := func(change claims) func(*rig) string {
		return func(r *rig) string { return r.logoutToken(change) }
	}
	for name, tc := range map[string]struct {
		token func(*rig) string
		want  Revocation
	}{
		"sub and sid":              {with(nil), session},
		"sub":                      {with(claims{"sid": nil}), Revocation{Issuer: here, Kind: KindSub, Value: "alice"}},
		"sid":                      {with(claims{"sub": nil}), Revocation{Issuer: here, Kind: KindSID, Value: "s1"}},
		"typ JWT":                  {typed("JWT"), session},
		"typ with application/":    {typed("application/logout+jwt"), session},
		"no exp":                   {with(claims{"exp": nil}), session},
		"almost five minutes old":  {with(claims{"iat": at(-295e9)}), session},
		"a clock a little ahead":   {with(claims{"iat": at(25e9)}), session},
		"exp a little in the past": {with(claims{"exp": at(-20e9)}), session},
		"aud a list":               {with(claims{"aud": []string{"x", "app"}}), session},
		"another event, too":       {with(claims{"events": claims{eventLogout: claims{"x": 1}, "x": 1}}), session},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			wantLogout(t, r.postLogout(form(tc.token(r))), http.StatusOK)
			if r.set.Len() != 1 || r.set.revoked.find(tc.want.digest()) == nil {
				t.Errorf("got %v, want %+v", r.set.Counts(), tc.want)
			}
			if want := (Event{Operation: OperationRevocation, Issuer: here, Source: SourceLogout}); !slices.Contains(r.events, want) {
				t.Errorf("got %v, want %v", r.events, want)
			}
		})
	}
}

func TestLogoutRevokesWhatWasIssuedBefore(t *testing.T) {
	r := newRig(t)
	iat := time.Now().Add(-time.Minute)
	wantLogout(t, r.postLogout(form(r.logoutToken(claims{"sid": nil, "iat": iat.Unix()}))), http.StatusOK)
	for issued, want := range map[time.Time]Verdict{iat.Add(-time.Second): Revoked, iat.Add(time.Second): Good} {
		if got := r.set.Judge(Subject{Issuer: here, Sub: "alice", IssuedAt: issued}); got != want {
			t.Errorf("issued %s: got %s, want %s", issued, got, want)
		}
	}
}

func TestLogoutAttacks(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	with := func(change claims) string { return form(r.logoutToken(change)) }
	signed := func(key jose.JSONWebKey, header, all claims) string { return form(devissuer.Sign(key, header, all)) }
	typ := claims{"typ": "logout+jwt"}
	secret := jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "logout", Algorithm: "HS256"}
	for name, body := range map[string]string{
		"nothing":            "",
		"no token":           "x=1",
		"two tokens":         form(r.logoutToken(), r.logoutToken()),
		"no form":            "%zz",
		"no JWT":             form("hello"),
		"another issuer's":   with(claims{"iss": elsewhere}),
		"no iss":             with(claims{"iss": nil}),
		"own key":            signed(newKey("logout"), typ, logoutClaims()),
		"unknown key":        signed(newKey("x"), typ, logoutClaims()),
		"HS256":              signed(secret, typ, logoutClaims()),
		"no typ":             signed(r.issuer, nil, logoutClaims()),
		"typ of an event":    signed(r.issuer, claims{"typ": "secevent+jwt"}, logoutClaims()),
		"typ of a token":     signed(r.issuer, claims{"typ": "at+jwt"}, logoutClaims()),
		"no aud":             with(claims{"aud": nil}),
		"another client's":   with(claims{"aud": "other"}),
		"no events":          with(claims{"events": nil}),
		"events a list":      with(claims{"events": []string{eventLogout}}),
		"another event":      with(claims{"events": claims{"https://example.com/x": claims{}}}),
		"event no object":    with(claims{"events": claims{eventLogout: true}}),
		"nonce":              with(claims{"nonce": "n"}),
		"no sub and no sid":  with(claims{"sub": nil, "sid": nil}),
		"empty sub":          with(claims{"sub": ""}),
		"sid a number":       with(claims{"sid": 1}),
		"no iat":             with(claims{"iat": nil}),
		"too old":            with(claims{"iat": at(-302e9)}),
		"iat ahead":          with(claims{"iat": at(40e9)}),
		"expired":            with(claims{"exp": at(-40e9)}),
		"exp a text":         with(claims{"exp": "x"}),
		"no jti":             with(claims{"jti": nil}),
		"empty jti":          with(claims{"jti": ""}),
		"a large body":       "logout_token=" + strings.Repeat("x", 10<<20),
		"an event":           form(r.as.set()),
		"an ID token":        signed(r.issuer, claims{"typ": "JWT"}, claims{"iss": here, "aud": "app", "sub": "alice", "iat": at(0), "exp": at(1e11), "jti": "x"}),
		"an ID token, nonce": signed(r.issuer, claims{"typ": "JWT"}, logoutClaims(claims{"nonce": "x"})),
	} {
		t.Run(name, func(t *testing.T) { wantLogout(t, r.postLogout(body), http.StatusBadRequest) })
	}
	good := r.logoutToken()
	for name, change := range map[string]func(*http.Request){
		"no content type":  func(req *http.Request) { req.Header.Del("Content-Type") },
		"JSON":             func(req *http.Request) { req.Header.Set("Content-Type", "application/json") },
		"a multipart form": func(req *http.Request) { req.Header.Set("Content-Type", "multipart/form-data; boundary=x") },
	} {
		t.Run(name, func(t *testing.T) { wantLogout(t, r.postLogout(form(good), change), http.StatusBadRequest) })
	}
	wantLogout(t, r.postLogout("", func(req *http.Request) { req.URL.RawQuery = form(good) }), http.StatusBadRequest)
	if r.set.Generation() != 0 || r.set.accepted.len() != 0 {
		t.Error("an attack did something")
	}
	wantLogout(t, r.postLogout(form(good)), http.StatusOK)
	wantLogout(t, r.postLogout(form(good)), http.StatusBadRequest) // once only
	if strings.Contains(r.lines.String(), "alice") {
		t.Error("the log tells whom it is about")
	}
}

func TestLogoutWithoutKeysIsToComeAgain(t *testing.T) {
	r := newRig(t)
	for _, keys := range []Keys{nil, oneKey{err: discovery.ErrUnavailable}, oneKey{err: context.DeadlineExceeded}} {
		r.logouts[here].keys = func() Keys { return keys }
		if w := r.postLogout(form(r.logoutToken())); w.Code != http.StatusServiceUnavailable {
			t.Errorf("got %d, want 503", w.Code)
		}
	}
}
