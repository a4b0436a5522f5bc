package admin_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/validation"
)

// revoking is a world whose revocations are on, with clocks that may differ by 30 s.
func revoking() *world {
	return &world{
		fleet: service.FleetState{
			On: true, Entries: 3, Counts: map[string]map[string]int{one: {"sub": 2, "token": 1}},
			Store: &service.StoreState{Addresses: []string{"redis://cache:6379"}, Up: true, Lag: 20 * time.Millisecond},
		},
		cfg: &config.Config{Issuers: []config.Issuer{
			{Validation: validation.Config{Issuer: one, ClockSkew: 30 * time.Second}},
		}},
	}
}

type wish struct{ method, credentials, kind, body string }

func order(t *testing.T, url string, a wish) (int, string) {
	t.Helper()
	req, err := http.NewRequest(a.method, url+"/revocations", strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if a.credentials != "" {
		req.Header.Set("Authorization", a.credentials)
	}
	if a.kind != "" {
		req.Header.Set("Content-Type", a.kind)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// TestRevoke: who has the token revokes, and what is wrong is said without a value.
func TestRevoke(t *testing.T) {
	const bearer, kind = "Bearer " + token, "application/json"
	body := func(more string) string { return `{"issuer":"` + one + `"` + more + `}` }
	at := func(d time.Duration) string {
		return `,"sub":"s3cret","before":"` + time.Now().Add(d).Format(time.RFC3339) + `"`
	}
	for name, tc := range map[string]struct {
		wish
		status int
		part   string
	}{
		"sub":          {wish{"POST", bearer, kind, body(`,"sub":"s3cret"`)}, 202, `{"shared":true}`},
		"sid":          {wish{"POST", bearer, kind + "; charset=utf-8", body(`,"sid":"s3cret"`)}, 202, ""},
		"jti":          {wish{"POST", bearer, kind, body(`,"jti":"s3cret"`)}, 202, ""},
		"client_id":    {wish{"POST", bearer, kind, body(`,"client_id":"s3cret"`)}, 202, ""},
		"token":        {wish{"POST", bearer, kind, body(`,"token":"s3cret"`)}, 202, ""},
		"before":       {wish{"POST", bearer, kind, body(at(-time.Hour))}, 202, ""},
		"a little ago": {wish{"POST", bearer, kind, body(at(20 * time.Second))}, 202, ""},

		"no token":           {wish{"POST", "", kind, body(`,"sub":"s3cret"`)}, 401, ""},
		"another token":      {wish{"POST", bearer + "x", kind, body(`,"sub":"s3cret"`)}, 401, ""},
		"as a browser does":  {wish{"POST", "Basic eDowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==", kind, body(`,"sub":"s3cret"`)}, 401, ""},
		"unknown issuer":     {wish{"POST", bearer, kind, `{"issuer":"` + two + `","sub":"s3cret"}`}, 404, "not a configured issuer"},
		"unknown, in a day":  {wish{"POST", bearer, kind, `{"issuer":"` + two + `"` + at(24*time.Hour) + `}`}, 404, "not a configured issuer"},
		"no content type":    {wish{"POST", bearer, "", body(`,"sub":"s3cret"`)}, 400, "application/json"},
		"a form":             {wish{"POST", bearer, "application/x-www-form-urlencoded", "issuer=x"}, 400, "application/json"},
		"not JSON":           {wish{"POST", bearer, kind, "s3cret"}, 400, "no JSON object"},
		"twice":              {wish{"POST", bearer, kind, body(`,"sub":"s3cret","sub":"b"`)}, 400, "twice"},
		"two":                {wish{"POST", bearer, kind, body(`,"sub":"s3cret","sid":"b"`)}, 400, "one of them"},
		"none":               {wish{"POST", bearer, kind, body("")}, 400, "want one of"},
		"empty":              {wish{"POST", bearer, kind, body(`,"sub":""`)}, 400, "empty"},
		"a number":           {wish{"POST", bearer, kind, body(`,"sub":1`)}, 400, "no text"},
		"null":               {wish{"POST", bearer, kind, body(`,"sub":null`)}, 400, "no text"},
		"no issuer":          {wish{"POST", bearer, kind, `{"sub":"s3cret"}`}, 400, "issuer is missing"},
		"unknown member":     {wish{"POST", bearer, kind, body(`,"sub":"s3cret","subject":"b"`)}, 400, "not known"},
		"no time":            {wish{"POST", bearer, kind, body(`,"sub":"s3cret","before":"yesterday"`)}, 400, "RFC 3339"},
		"the future":         {wish{"POST", bearer, kind, body(at(2 * time.Minute))}, 400, "clock_skew"},
		"a token of no kind": {wish{"POST", bearer, kind, body(`,"token":"s3 cret"`)}, 400, "visible ASCII"},
		"too much":           {wish{"POST", bearer, kind, body(`,"sub":"` + strings.Repeat("s3cret", 20_000) + `"`)}, 400, "more than"},
		"too long":           {wish{"POST", bearer, kind, body(`,"sub":"` + strings.Repeat("s3cret", 3_000) + `"`)}, 400, "more than"},
		"another method":     {wish{"DELETE", bearer, "", ""}, 404, ""},
		"how many":           {wish{"GET", bearer, "", ""}, 200, `{"entries":3,"issuers":{"` + one + `":{"sub":2,"token":1}}}`},
		"how many, no token": {wish{"GET", "", "", ""}, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := revoking()
			status, said := order(t, serve(t, w, settings{file: tokenFile(t)}), tc.wish)
			if status != tc.status && (tc.status != 404 || status != 405) || !strings.Contains(said, tc.part) || strings.Contains(said, "s3cret") {
				t.Errorf("got %d %s, want %d with %q", status, said, tc.status, tc.part)
			}
			if revoked := len(w.revoked) == 1; revoked != (tc.status == 202) {
				t.Errorf("got revoked: %t", revoked)
			}
			if len(w.revoked) == 1 && (w.revoked[0].Value != "s3cret" || w.revoked[0].Source != revocation.SourceAdmin ||
				name != "before" && name != "a little ago" && w.revoked[0].Kind.String() != name) {
				t.Errorf("got %+v", w.revoked[0])
			}
		})
	}
}

// TestRevokeNeedsAToken: on loopback, too; and where revocation is off, or the store is
// away, the answer says so.
func TestRevokeNeedsAToken(t *testing.T) {
	wanted := wish{"POST", "Bearer " + token, "application/json", `{"issuer":"` + one + `","sub":"a"}`}
	w := revoking()
	if status, said := order(t, serve(t, w, settings{}), wanted); status != 403 || !strings.Contains(said, "admin_token_file") {
		t.Errorf("got %d %s, want 403", status, said)
	}
	if status, _ := order(t, serve(t, w, settings{}), wish{method: "GET"}); status != 403 {
		t.Errorf("got %d, want 403", status)
	}
	w.fleet.Store.Up = false
	if status, said := order(t, serve(t, w, settings{file: tokenFile(t)}), wanted); status != 202 || said != `{"shared":false}` {
		t.Errorf("got %d %s", status, said)
	}
	w.fleet.On = false
	if status, said := order(t, serve(t, w, settings{file: tokenFile(t)}), wanted); status != 404 || !strings.Contains(said, "switched off") {
		t.Errorf("got %d %s", status, said)
	}
}

// TestFleetIsShown: how many are revoked, and how the store is; and who is not ready
// says why.
func TestFleetIsShown(t *testing.T) {
	w := revoking()
	w.fleet.Streams = []revocation.Stream{{Transmitter: two, Alive: time.Now(), Err: io.ErrUnexpectedEOF}}
	w.fleet.Problem = io.ErrClosedPipe
	url := serve(t, w, settings{})
	for path, parts := range map[string][]string{
		"/":            {"3 remembered", "redis://cache:6379", "Event streams", two, "unexpected EOF", "0.020 s"},
		"/status.json": {`"entries": 3`, `"lag_seconds": 0.02`, `"transmitter": "` + two + `"`},
		"/readyz":      {io.ErrClosedPipe.Error()},
	} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if !strings.Contains(string(body), part) {
				t.Errorf("%s: got no %q in %s", path, part, body)
			}
		}
	}
}
