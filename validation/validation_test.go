package validation_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/validation"
)

// bench is one issuer in front of a real authorization server.
type bench struct {
	*validation.Validator

	as     *devissuer.Issuer
	server *discovery.Issuer
	mu     sync.Mutex
	skip   time.Duration
	cache  map[string]int // "cache result": times
	result map[string]int // of introspections
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.skip)
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.skip += d
}

func (b *bench) count(counts map[string]int, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts[what]++
}

func newBench(t testing.TB, change func(*validation.Config)) *bench {
	t.Helper()
	return newBenchWith(t, change, func(*bench, *validation.Options) {})
}

// newBenchWith has more options.
func newBenchWith(
	t testing.TB, change func(*validation.Config), more func(*bench, *validation.Options),
) *bench {
	t.Helper()
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret&%:é"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	url := as.URL()
	b := &bench{as: as, cache: map[string]int{}, result: map[string]int{}}
	cfg := validation.Config{
		Issuer: url, Strategy: validation.StrategyBoth, ClientID: "gate", ClientSecret: "s3cret&%:é",
		ClientAuthMethod: validation.AuthBasic, IntrospectionResponse: validation.ResponseJSON,
		Algorithms: []string{"ES256"}, AccessTokenType: validation.TypeCompatible,
		ClockSkew: 30 * time.Second, RequestTimeout: 2 * time.Second, InsecureHTTP: true,
		Cache: validation.CacheConfig{MaxEntries: 1000, MaxBytes: 16 << 20, TTL: time.Minute, NegativeTTL: 5 * time.Second},
	}
	if change != nil {
		change(&cfg)
	}
	log := slog.New(slog.DiscardHandler)
	client, err := safehttp.New(safehttp.Options{Timeout: cfg.RequestTimeout, InsecureHTTP: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	b.server, err = discovery.New(discovery.Config{
		Issuer: url, NeedKeys: true, NeedIntrospection: true, NeedToken: true,
		InsecureHTTP: true, RequestTimeout: time.Second,
		Intervals: discovery.Intervals{
			RefreshInterval: time.Hour, MinRefreshInterval: time.Minute, MaxStale: 24 * time.Hour,
		},
	}, discovery.Options{Client: client, Log: log, Now: b.now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	o := validation.Options{
		Source: b.server, Client: client, Log: log, Now: b.now,
		Events: validation.Observer{Ended: func(_ context.Context, e validation.Event) {
			switch e.Operation {
			case validation.OperationCache:
				b.count(b.cache, e.Cache+" "+e.Result)
			case validation.OperationIntrospection:
				b.count(b.result, e.Result)
			}
		}},
	}
	more(b, &o)
	b.Validator, err = validation.NewValidator(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for deadline := time.Now().Add(10 * time.Second); b.server.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(b.server.Ready())
		}
	}
	return b
}

type claims = devissuer.Claims

func (b *bench) want(t *testing.T, token string, want error) *validation.Token {
	t.Helper()
	got, err := b.Validate(t.Context(), token)
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("got %v, want %v", err, want)
	}
	if (got == nil) != (err != nil) {
		t.Fatalf("got token %v and error %v, want one of them", got, err)
	}
	return got
}

func TestJWT(t *testing.T) {
	b := newBench(t, nil)
	token := b.want(t, b.as.JWT(claims{"sub": "alice", "aud": "api", "azp": "app", "scope": "read write"}), nil)
	if token.Subject != "alice" || token.ClientID != "app" || strings.Join(token.Scopes, ",") != "read,write" ||
		!token.JWT || token.Audience[0] != "api" {
		t.Errorf("got %+v", token)
	}
}

func TestWhatIsWrongWithAJWT(t *testing.T) {
	b := newBench(t, nil)
	now := time.Now().Unix()
	sign := func(header map[string]any, change claims) string {
		all := claims{"iss": b.as.URL(), "sub": "alice", "exp": now + 60, "iat": now}
		for name, value := range change {
			all[name] = value
			if value == nil {
				delete(all, name)
			}
		}
		return devissuer.Sign(b.as.Key(), header, all)
	}
	at := map[string]any{"typ": "at+jwt"}
	raw := func(payload string) string { return devissuer.SignRaw(b.as.Key(), at, []byte(payload)) }
	iss := `"iss":"` + b.as.URL() + `",`
	good := sign(at, nil)
	for name, tc := range map[string]struct {
		token string
		want  error
	}{
		"good":                      {good, nil},
		"typ JWT":                   {sign(map[string]any{"typ": "JWT"}, nil), nil},
		"typ application/at+JWT":    {sign(map[string]any{"typ": "application/at+JWT"}, nil), nil},
		"no typ":                    {sign(nil, nil), nil},
		"bad signature":             {good[:len(good)-6] + "AAAAAA", validation.ErrSignature},
		"another payload":           {swapPayload(good, sign(at, claims{"sub": "mallory"})), validation.ErrSignature},
		"expired (J-22)":            {sign(at, claims{"exp": now - 60}), validation.ErrExpired},
		"expired within skew":       {sign(at, claims{"exp": now - 10}), nil},
		"no exp (J-22)":             {sign(at, claims{"exp": nil}), validation.ErrMalformed},
		"exp as text (J-20)":        {sign(at, claims{"exp": "99999999999"}), validation.ErrMalformed},
		"exp for ever (J-22)":       {raw(`{` + iss + `"exp":1e30}`), validation.ErrMalformed},
		"exp MaxInt64 (J-22)":       {raw(`{` + iss + `"exp":9223372036854775807}`), validation.ErrMalformed},
		"exp negative (J-22)":       {sign(at, claims{"exp": -1}), validation.ErrMalformed},
		"EXP is not exp (J-20)":     {sign(at, claims{"exp": now - 60, "EXP": now + 60}), validation.ErrExpired},
		"exp twice (J-20)":          {raw(`{` + iss + `"exp":1,"exp":99999999999}`), validation.ErrMalformed},
		"not yet (J-22)":            {sign(at, claims{"nbf": now + 60}), validation.ErrNotYetValid},
		"from the future (J-22)":    {sign(at, claims{"iat": now + 600}), validation.ErrNotYetValid},
		"another issuer (J-21)":     {sign(at, claims{"iss": "https://evil.example"}), validation.ErrIssuer},
		"issuer with a slash":       {sign(at, claims{"iss": b.as.URL() + "/"}), validation.ErrIssuer},
		"no issuer":                 {sign(at, claims{"iss": nil}), validation.ErrIssuer},
		"ISS is not iss (J-20)":     {sign(at, claims{"iss": nil, "ISS": b.as.URL()}), validation.ErrIssuer},
		"aud with a number (J-21)":  {sign(at, claims{"aud": []any{"api", 5}}), validation.ErrMalformed},
		"aud empty":                 {sign(at, claims{"aud": []any{}}), nil}, // no audience: for the room above to miss
		"sub of a number":           {sign(at, claims{"sub": 5}), validation.ErrMalformed},
		"scope of two spaces":       {sign(at, claims{"scope": "a  b"}), validation.ErrMalformed},
		"scope with a quote (I-07)": {sign(at, claims{"scope": []any{`a"b`}}), validation.ErrMalformed},
		"invalid UTF-8":             {raw("{" + iss + "\"exp\":99999999999,\"sub\":\"\xff\"}"), validation.ErrMalformed},
		"payload is a list":         {raw(`[]`), validation.ErrMalformed},
		"payload is null":           {raw(`null`), validation.ErrMalformed},
		"trailing bytes":            {raw(`{` + iss + `"exp":99999999999}{}`), validation.ErrMalformed},
		"logout token (J-04)":       {sign(map[string]any{"typ": "logout+jwt"}, nil), validation.ErrWrongType},
		"DPoP proof (J-04)":         {sign(map[string]any{"typ": "dpop+jwt"}, nil), validation.ErrWrongType},
		"introspection (J-04)":      {sign(map[string]any{"typ": "token-introspection+jwt"}, nil), validation.ErrWrongType},
		"ID token by nonce (J-24)":  {sign(map[string]any{"typ": "JWT"}, claims{"nonce": "n"}), validation.ErrWrongType},
		"ID token by hash (J-24)":   {sign(nil, claims{"at_hash": "h"}), validation.ErrWrongType},
		"ID token by aud (J-24)":    {sign(nil, claims{"aud": "app", "azp": "app"}), validation.ErrWrongType},
		"client_id is no excuse":    {sign(nil, claims{"aud": "app", "client_id": "app"}), validation.ErrWrongType},
		"access token to itself":    {sign(nil, claims{"aud": "app", "client_id": "app", "scope": "read"}), nil},
		"token_use id (J-24)":       {sign(at, claims{"token_use": "id"}), validation.ErrWrongType},
		"token_use id_token":        {sign(at, claims{"token_use": "id_token"}), validation.ErrWrongType},
		"token_use refresh_token":   {sign(at, claims{"token_use": "refresh_token"}), validation.ErrWrongType},
		"token_use access":          {sign(at, claims{"token_use": "access"}), nil},
		"token_type refresh":        {sign(nil, claims{"token_type": "refresh_token"}), validation.ErrWrongType},
		"typ of payload":            {sign(nil, claims{"typ": "Bearer"}), nil},
		"refresh token (A-17)":      {sign(nil, claims{"typ": "Refresh"}), validation.ErrWrongType},
		"crit (J-05)":               {sign(map[string]any{"crit": []string{"exp"}, "exp": 1}, nil), validation.ErrMalformed},
		"empty crit (J-05)":         {sign(map[string]any{"crit": []string{}}, nil), validation.ErrMalformed},
		"zip (J-06)":                {sign(map[string]any{"zip": "DEF"}, nil), validation.ErrMalformed},
		"nested (J-06)":             {sign(map[string]any{"cty": "JWT"}, nil), validation.ErrMalformed},
		"long kid (J-07)":           {sign(map[string]any{"kid": strings.Repeat("k", 257)}, nil), validation.ErrMalformed},
		"unknown kid":               {sign(map[string]any{"kid": "unknown"}, nil), validation.ErrUnknownKey},
		"HS256 (J-03)":              {part(`{"alg":"HS256"}`) + good[strings.Index(good, "."):], validation.ErrUnsupportedAlgorithm},
		"none (J-03)":               {part(`{"alg":"none"}`) + "." + strings.Split(good, ".")[1] + ".", validation.ErrUnsupportedAlgorithm},
		"nOnE (J-03)":               {part(`{"alg":"nOnE"}`) + "." + strings.Split(good, ".")[1] + ".AA", validation.ErrUnsupportedAlgorithm},
		"alg twice (J-03)":          {part(`{"alg":"none","alg":"ES256"}`) + good[strings.Index(good, "."):], validation.ErrMalformed},
		"padding (J-02)":            {strings.Split(good, ".")[0] + "=" + good[strings.Index(good, "."):], validation.ErrMalformed},
		"too long (A-16)":           {strings.Repeat("a", validation.MaxTokenBytes+1), validation.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) { b.want(t, tc.token, tc.want) })
	}
	if b.as.Calls(devissuer.PathIntrospection) != 0 {
		t.Error("a JWT was introspected: its local verdict is final (I-27)")
	}
	if calls := b.as.Calls(devissuer.PathJWKS); calls != 2 {
		t.Errorf("got %d fetches of the keys, want the first and one for the unknown key ID", calls)
	}
}

func part(s string) string { return strings.TrimRight(base64URL(s), "=") }

func swapPayload(token, other string) string {
	a, b := strings.Split(token, "."), strings.Split(other, ".")
	return a[0] + "." + b[1] + "." + a[2]
}

func TestRFC9068Profile(t *testing.T) { // J-23
	b := newBench(t, func(c *validation.Config) { c.AccessTokenType = validation.TypeRFC9068 })
	full := claims{"sub": "alice", "aud": "api", "client_id": "app"}
	b.want(t, b.as.JWT(full), nil)
	for _, name := range []string{"sub", "aud", "client_id", "iat", "jti", "exp"} {
		less := claims{name: nil}
		for n, v := range full {
			if n != name {
				less[n] = v
			}
		}
		b.want(t, b.as.JWT(less), validation.ErrMalformed)
	}
	full["iss"], full["exp"], full["iat"], full["jti"] = b.as.URL(), time.Now().Unix()+60, time.Now().Unix(), "j"
	b.want(t, devissuer.Sign(b.as.Key(), map[string]any{"typ": "JWT"}, full), validation.ErrWrongType)
}

func TestIntrospection(t *testing.T) {
	b := newBench(t, nil)
	opaque := b.as.Opaque("", claims{"sub": "alice", "scope": "read", "aud": []string{"api"}, "client_id": "app"})
	token := b.want(t, opaque, nil)
	if token.Subject != "alice" || token.JWT || token.Issuer != b.as.URL() {
		t.Errorf("got %+v", token)
	}
	for range 10 {
		b.want(t, opaque, nil)
	}
	b.want(t, "never-issued", validation.ErrInactive)
	b.want(t, "never-issued", validation.ErrInactive)
	if calls := b.as.Calls(devissuer.PathIntrospection); calls != 2 {
		t.Errorf("got %d calls, want 2", calls)
	}
	b.as.Revoke(opaque) // I-13: refused within the TTL
	b.pass(61 * time.Second)
	b.want(t, opaque, validation.ErrInactive)
	if b.cache["introspection hit"] != 10 || b.cache["negative hit"] != 1 || b.result["active"] != 1 ||
		b.result["inactive"] != 2 {
		t.Errorf("got %v %v", b.cache, b.result)
	}
}

func TestWhatTheEndpointAnswers(t *testing.T) { // I-03…I-10, A-03
	for name, tc := range map[string]struct {
		status     int
		kind, body string
		want       error
	}{
		"active":             {200, "", `{"active":true}`, nil},
		"charset":            {200, "application/json; charset=UTF-8", `{"active":true}`, nil},
		"inactive":           {200, "", `{"active":false,"exp":"nonsense"}`, validation.ErrInactive},
		"string":             {200, "", `{"active":"true"}`, validation.ErrUnavailable},
		"number":             {200, "", `{"active":1}`, validation.ErrUnavailable},
		"null":               {200, "", `{"active":null}`, validation.ErrUnavailable},
		"missing":            {200, "", `{}`, validation.ErrUnavailable},
		"other case":         {200, "", `{"Active":true}`, validation.ErrUnavailable},
		"both cases":         {200, "", `{"active":false,"Active":true}`, validation.ErrInactive},
		"twice":              {200, "", `{"active":false,"active":true}`, validation.ErrUnavailable},
		"list":               {200, "", `[{"active":true}]`, validation.ErrUnavailable},
		"null document":      {200, "", `null`, validation.ErrUnavailable},
		"empty":              {200, "", ``, validation.ErrUnavailable},
		"HTML":               {200, "text/html", `{"active":true}`, validation.ErrUnavailable},
		"201":                {201, "", `{"active":true}`, validation.ErrUnavailable},
		"redirect":           {302, "", `{"active":true}`, validation.ErrUnavailable},
		"400":                {400, "", `{"error":"unsupported_token_type"}`, validation.ErrInactive},
		"401":                {401, "", `{"active":true}`, validation.ErrUnavailable},
		"403":                {403, "", `{"active":true}`, validation.ErrUnavailable},
		"404":                {404, "", `{"active":true}`, validation.ErrUnavailable},
		"500":                {500, "", `{"active":true}`, validation.ErrUnavailable},
		"too large":          {200, "", `{"active":true,"x":"` + strings.Repeat("x", 64<<10) + `"}`, validation.ErrUnavailable},
		"expired":            {200, "", `{"active":true,"exp":1}`, validation.ErrExpired},
		"integral float":     {200, "", `{"active":true,"exp":99999999999.0,"iat":1.7e9}`, nil},
		"not yet":            {200, "", `{"active":true,"nbf":99999999999}`, validation.ErrNotYetValid},
		"another issuer":     {200, "", `{"active":true,"iss":"https://evil.example"}`, validation.ErrIssuer},
		"exp as text":        {200, "", `{"active":true,"exp":"99999999999"}`, validation.ErrMalformed},
		"aud of an object":   {200, "", `{"active":true,"aud":{}}`, validation.ErrMalformed},
		"token type bearer":  {200, "", `{"active":true,"token_type":"bearer"}`, nil},
		"token type refresh": {200, "", `{"active":true,"token_type":"refresh_token"}`, validation.ErrWrongType},
		"token type N_A":     {200, "", `{"active":true,"token_type":"N_A"}`, validation.ErrWrongType},
		"token type DPoP":    {200, "", `{"active":true,"token_type":"DPoP"}`, validation.ErrBinding},
		"token use id":       {200, "", `{"active":true,"token_use":"id"}`, validation.ErrWrongType},
		"use refresh_token":  {200, "", `{"active":true,"token_use":"refresh_token"}`, validation.ErrWrongType},
		"use access_token":   {200, "", `{"active":true,"token_use":"access_token"}`, nil},
		"charset cut off":    {200, "application/json; charset", `{"active":true}`, nil},
		"400 of our client":  {400, "", `{"error":"invalid_client"}`, validation.ErrUnavailable},
		"400 of an outage":   {400, "", `{"error":"temporarily_unavailable"}`, validation.ErrUnavailable},
		"400 without words":  {400, "", ``, validation.ErrInactive},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *validation.Config) { c.Cache = validation.CacheConfig{} })
			b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{
				Status: tc.status, Kind: tc.kind, Body: tc.body,
				Header: map[string]string{"Location": b.as.URL() + "/elsewhere"},
			})
			b.want(t, "token", tc.want)
		})
	}
}

func TestRejectionsDoNotOpenTheBreaker(t *testing.T) { // I-10
	b := newBench(t, func(c *validation.Config) { c.Cache = validation.CacheConfig{} })
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 400, Body: `{"error":"invalid_request"}`})
	for range 100 {
		b.want(t, "junk", validation.ErrInactive)
	}
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	b.want(t, b.as.Opaque("", nil), nil)
}

func TestBreaker(t *testing.T) {
	b := newBench(t, func(c *validation.Config) { c.Cache = validation.CacheConfig{} })
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	for range 100 {
		b.want(t, "token", validation.ErrUnavailable)
	}
	if calls := b.as.Calls(devissuer.PathIntrospection); calls > 20 {
		t.Errorf("got %d calls to a failing endpoint, want it spared", calls)
	}
	_, err := b.Validate(t.Context(), "token")
	var unavailable *validation.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.RetryAfter <= 0 {
		t.Errorf("got %v, want a time to retry", err)
	}
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	good := b.as.Opaque("", nil)
	deadline := time.Now().Add(15 * time.Second) // docs/contract.md §4
	for {
		if _, err := b.Validate(t.Context(), good); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the breaker did not try again within 15 seconds")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestConcurrentMissesMakeOneCall(t *testing.T) { // I-24
	b := newBench(t, nil)
	token := b.as.Opaque("", claims{"sub": "alice"})
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 100 * time.Millisecond})
	var right atomic.Int32
	var callers sync.WaitGroup
	for range 500 {
		callers.Go(func() {
			if got, err := b.Validate(t.Context(), token); err == nil && got.Subject == "alice" {
				right.Add(1)
			}
		})
	}
	callers.Wait()
	if calls := b.as.Calls(devissuer.PathIntrospection); calls != 1 || right.Load() != 500 {
		t.Errorf("got %d calls and %d right answers, want 1 and 500", calls, right.Load())
	}
}

func TestWhoCannotWaitLeavesTheOthersAlone(t *testing.T) { // I-24, A-15, E-08
	b := newBench(t, nil)
	token := b.as.Opaque("", nil)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 300 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	first := make(chan error, 1)
	go func() { _, err := b.Validate(ctx, token); first <- err }()
	time.Sleep(10 * time.Millisecond)
	b.want(t, token, nil)
	if err := <-first; !errors.Is(err, validation.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if calls := b.as.Calls(devissuer.PathIntrospection); calls != 1 {
		t.Errorf("got %d calls, want 1", calls)
	}
	dead, stop := context.WithCancel(t.Context())
	stop()
	if _, err := b.Validate(dead, token); !errors.Is(err, validation.ErrUnavailable) {
		t.Errorf("dead context: got %v, want ErrUnavailable", err)
	}
}

func TestNothingIsBelievedPastExp(t *testing.T) { // I-20, A-09
	b := newBench(t, func(c *validation.Config) {
		c.ClockSkew = 0
		c.Cache.TTL, c.Cache.StaleIfError = time.Hour, time.Hour
	})
	exp := time.Now().Unix() + 20
	for _, token := range []string{b.as.JWT(claims{"exp": exp}), b.as.Opaque("", claims{"exp": exp})} {
		b.want(t, token, nil)
		b.want(t, token, nil)
		b.pass(25 * time.Second)
		b.want(t, token, validation.ErrExpired)
		b.pass(-25 * time.Second)
	}
}

func TestNothingIsRememberedPastExp(t *testing.T) { // I-20: not even within the clock skew
	b := newBench(t, func(c *validation.Config) { c.Cache.TTL = time.Hour })
	token := b.as.Opaque("", claims{"exp": time.Now().Unix() + 20})
	b.want(t, token, nil)
	b.pass(25 * time.Second)
	b.want(t, token, nil) // the issuer says so, within our clock skew
	if calls := b.as.Calls(devissuer.PathIntrospection); calls != 2 {
		t.Errorf("got %d calls, want 2: after exp the issuer is asked each time", calls)
	}
}

func TestRemovedKeyEndsCachedVerifications(t *testing.T) {
	b := newBench(t, nil)
	token := b.as.JWT(nil)
	b.want(t, token, nil)
	b.want(t, token, nil)
	b.as.Rotate(0)
	b.want(t, b.as.JWT(nil), nil) // has the keys fetched
	b.want(t, token, validation.ErrUnknownKey)
}

func TestStaleIfError(t *testing.T) {
	b := newBench(t, func(c *validation.Config) { c.Cache.StaleIfError, c.Cache.NegativeTTL = time.Minute, 0 })
	token := b.as.Opaque("", nil)
	b.want(t, token, nil)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	b.pass(90 * time.Second)
	b.want(t, token, nil)
	b.want(t, "another", validation.ErrUnavailable)
	b.pass(time.Minute)
	b.want(t, token, validation.ErrUnavailable)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	b.as.Revoke(token)
	b.pass(-time.Minute)
	b.want(t, token, validation.ErrInactive) // the issuer is back: stale is over
}

func TestNegativesEvictNoPositives(t *testing.T) { // I-23
	b := newBench(t, func(c *validation.Config) { c.Cache.MaxEntries = 100 })
	token := b.as.Opaque("", nil)
	b.want(t, token, nil)
	for n := range 500 {
		b.want(t, "junk"+strings.Repeat("x", n), validation.ErrInactive)
	}
	calls := b.as.Calls(devissuer.PathIntrospection)
	b.want(t, token, nil)
	if got := b.as.Calls(devissuer.PathIntrospection); got != calls {
		t.Error("the good token was evicted")
	}
	if entries := b.Entries(); entries["negative"] > 10 || entries["introspection"] != 1 {
		t.Errorf("got %v, want at most 10 negatives and 1 positive", entries)
	}
}

func TestChoose(t *testing.T) { // J-13, A-04
	one := newBench(t, func(c *validation.Config) { c.OpaqueTokenPrefix = "one_" })
	two := newBench(t, func(c *validation.Config) { c.OpaqueTokenPrefix = "one_two_" })
	local := newBench(t, func(c *validation.Config) { c.Strategy = validation.StrategyJWT })
	set, err := validation.NewSet(one.Validator, two.Validator, local.Validator)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		token string
		want  *validation.Validator
		err   error
	}{
		"by iss":          {one.as.JWT(nil), one.Validator, nil},
		"by iss, other":   {local.as.JWT(nil), local.Validator, nil},
		"unknown iss":     {one.as.JWT(claims{"iss": "https://evil.example"}), nil, validation.ErrIssuer},
		"no iss":          {one.as.JWT(claims{"iss": nil}), nil, validation.ErrIssuer},
		"prefix":          {"one_x", one.Validator, nil},
		"longest prefix":  {"one_two_x", two.Validator, nil},
		"no prefix":       {"three_x", nil, validation.ErrIssuer},
		"payload no JSON": {part(`{"alg":"ES256"}`) + ".AA.AA", nil, validation.ErrMalformed},
	} {
		got, err := set.Choose(tc.token)
		if got.Issuer != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %v, %v; want %v, %v", name, got, err, tc.want, tc.err)
		}
	}
	if _, err := validation.NewSet(one.Validator, one.Validator); err == nil {
		t.Error("the same issuer twice was accepted")
	}
	only, err := validation.NewSet(local.Validator)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := only.Choose("opaque"); err != nil || i.Issuer != local.Validator {
		t.Fatal(i, err)
	}
	local.want(t, "opaque", validation.ErrMalformed)
}

func BenchmarkValidate(b *testing.B) {
	bench := newBench(b, nil)
	for name, token := range map[string]string{
		"jwt": bench.as.JWT(claims{"sub": "alice", "scope": "read"}), "opaque": bench.as.Opaque("", nil),
	} {
		b.Run("cached/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bench.Validate(context.Background(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
