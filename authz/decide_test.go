package authz_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

type claims = devissuer.Claims

// bench is a policy over two real issuers: the first verifies JWTs and
// introspects, the second verifies only.
type bench struct {
	first, second *devissuer.Issuer
	set           *validation.Set
	issuers       []authz.IssuerConfig
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{}
	var issuers []*validation.Validator
	for _, strategy := range []validation.Strategy{validation.StrategyBoth, validation.StrategyJWT} {
		as, issuer := newIssuer(t, strategy)
		issuers = append(issuers, issuer)
		b.issuers = append(b.issuers, authz.IssuerConfig{
			Issuer: as.URL(), Audience: []string{"api"}, ClockSkew: 30 * time.Second,
			Introspects: strategy == validation.StrategyBoth,
		})
		b.first, b.second = b.second, as
	}
	b.issuers[0].RequiredScopes = []string{"base"}
	var err error
	if b.set, err = validation.NewSet(issuers...); err != nil {
		t.Fatal(err)
	}
	return b
}

func newIssuer(t testing.TB, strategy validation.Strategy) (*devissuer.Issuer, *validation.Validator) {
	t.Helper()
	as, stop, err := devissuer.Start(map[string]string{"gate": ""})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	log := slog.New(slog.DiscardHandler)
	client, err := safehttp.New(safehttp.Options{Timeout: time.Second, InsecureHTTP: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	server, err := discovery.New(discovery.Config{
		Issuer: as.URL(), NeedKeys: true, NeedIntrospection: true, InsecureHTTP: true, RequestTimeout: time.Second,
		Intervals: discovery.Intervals{RefreshInterval: time.Hour, MinRefreshInterval: time.Minute, MaxStale: time.Hour},
	}, discovery.Options{Client: client, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := validation.NewValidator(validation.Config{
		Issuer: as.URL(), Strategy: strategy, ClientID: "gate", ClientAuthMethod: validation.AuthNone,
		IntrospectionResponse: validation.ResponseJSON, Algorithms: []string{"ES256"},
		AccessTokenType: validation.TypeCompatible, RequestTimeout: time.Second, InsecureHTTP: true,
		Cache: validation.CacheConfig{MaxEntries: 100, MaxBytes: 1 << 20, TTL: time.Minute},
	}, validation.Options{Source: server, Client: client, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; issuer.Close(); client.CloseIdleConnections() })
	for deadline := time.Now().Add(10 * time.Second); server.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(server.Ready())
		}
	}
	return as, issuer
}

func (b *bench) policy(t testing.TB) *authz.Policy {
	t.Helper()
	p, err := authz.New(authz.Config{
		Realm: "bearergate", DefaultAccess: "token", Issuers: b.issuers,
		Headers: map[string]string{"x-auth-sub": "sub", "x-auth-scope": "scope", "x-auth-client-id": "client_id"},
		Rules: []authz.Rule{
			{Name: "health", Match: &authz.Match{Paths: []string{"/healthz", "/public/**"}, Methods: []string{"GET"}, Hosts: []string{"api.example.com"}}, Access: "public"},
			{Name: "closed", Match: &authz.Match{Paths: []string{"/closed/**"}}, Access: "deny"},
			{Name: "maybe", Match: &authz.Match{Paths: []string{"/maybe"}}, Access: "optional"},
			{Name: "write", Match: &authz.Match{Paths: []string{"/write"}}, Scopes: []string{"orders:write"}},
			{Name: "second", Match: &authz.Match{Paths: []string{"/second"}}, Issuers: []string{b.second.URL()}},
			{Name: "other", Match: &authz.Match{Paths: []string{"/other"}}, Audience: []string{"other", "another"}},
			{Name: "tenant", Match: &authz.Match{Paths: []string{"/tenant"}}, When: `claims.tenant == "acme"`},
			{Name: "acr", Match: &authz.Match{Paths: []string{"/acr"}}, ACRValues: []string{"phr", "mfa"}},
			{Name: "recent", Match: &authz.Match{Paths: []string{"/recent"}}, MaxAge: time.Hour},
			{Name: "folded", Match: &authz.Match{Paths: []string{"/Staff/**"}, IgnoreCase: true}, Access: "deny"},
			{Name: "one", Match: &authz.Match{Paths: []string{"/one/*"}}, Access: "deny"},
			{Name: "named", Access: "public"},
			{Name: "strong", Match: &authz.Match{Paths: []string{"/strong"}}, ACRValues: []string{"phr", "mfa"}, MaxAge: time.Hour},
			{Name: "tied", Match: &authz.Match{Paths: []string{"/tied"}}, Resource: "https://mcp.example.com/mcp"},
		},
		Resources: []authz.Resource{
			{Resource: "https://mcp.example.com/mcp", ScopesSupported: []string{"mcp:read", "offline_access"}},
			{Resource: "https://mcp.example.com/mcp/deep"},
		},
		ScopeImplies: map[string][]string{"admin": {"base", "orders:write"}},
	}, b.set)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecide(t *testing.T) {
	b := newBench(t)
	p := b.policy(t)
	jwt := func(change claims) string {
		all := claims{"sub": "alice", "aud": "api", "scope": "base", "client_id": "app"}
		for name, value := range change {
			all[name] = value
		}
		return "Bearer " + b.first.JWT(all)
	}
	good := jwt(nil)
	opaque := "Bearer " + b.first.Opaque("", claims{"sub": "bob", "aud": "api", "scope": "base"})
	second := "Bearer " + b.second.JWT(claims{"aud": "api"})
	strong := func(acr string, at time.Time) string { return jwt(claims{"acr": acr, "auth_time": at.Unix()}) }
	metadata := `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
	for name, tc := range map[string]struct {
		method, host, path, authorization string
		route                             authz.Route
		want                              authz.Reason
		challenge                         string // in WWW-Authenticate
	}{
		"JWT":                      {authorization: good, want: authz.Allowed},
		"opaque":                   {authorization: opaque, want: authz.Allowed},
		"second issuer":            {authorization: second, want: authz.Allowed},
		"no token":                 {want: authz.NoToken, challenge: `Bearer realm="bearergate"`},
		"two credentials":          {authorization: good + ",Bearer x", want: authz.BadRequest, challenge: `error="invalid_request"`},
		"unknown opaque":           {authorization: "Bearer junk", want: authz.Inactive, challenge: `error="invalid_token"`},
		"wrong audience":           {authorization: jwt(claims{"aud": "apis"}), want: authz.WrongAudience},
		"no audience":              {authorization: jwt(claims{"aud": nil}), want: authz.WrongAudience},
		"several audiences":        {authorization: jwt(claims{"aud": []string{"x", "api"}}), want: authz.Allowed},
		"lacks the issuer's scope": {authorization: jwt(claims{"scope": "write"}), want: authz.InsufficientScope, challenge: `scope="base"`},
		"bound (P-02)":             {authorization: jwt(claims{"cnf": claims{"jkt": "x"}}), want: authz.WrongBinding},
		"bound to nothing":         {authorization: jwt(claims{"cnf": claims{}}), want: authz.WrongBinding},
		"bound to no object":       {authorization: jwt(claims{"cnf": "x"}), want: authz.WrongBinding},
		"pathless (E-11)":          {path: "-", authorization: good, want: authz.BadRequest},
		"ambiguous path":           {path: "/public/../write", authorization: good, want: authz.BadRequest},
		"encoded dots":             {path: "/public/%2e%2e/write", authorization: good, want: authz.BadRequest},

		"public":                   {path: "/public/x?y", want: authz.Public},
		"public, bad token":        {path: "/healthz", authorization: "Bearer junk", want: authz.Public},
		"public for GET only":      {path: "/healthz", method: "POST", want: authz.NoToken},
		"public on its host only":  {path: "/healthz", host: "evil.example.com", want: authz.NoToken},
		"host with a dot":          {path: "/healthz", host: "api.example.com.", want: authz.BadRequest},
		"public with port":         {path: "/healthz", host: "API.example.com:8443", want: authz.Public},
		"not public, query (A-14)": {path: "/x?/public/", want: authz.NoToken},
		"deny":                     {path: "/closed/x", authorization: good, want: authz.Forbidden},
		"optional, none":           {path: "/maybe", want: authz.Public},
		"optional, other scheme":   {path: "/maybe", authorization: "Basic dTpw", want: authz.Public},
		"optional, bad":            {path: "/maybe", authorization: "Bearer junk", want: authz.Inactive},
		"optional, good":           {path: "/maybe", authorization: good, want: authz.Allowed},
		"lacks the rule's scope":   {path: "/write", authorization: good, want: authz.InsufficientScope, challenge: `scope="base orders:write"`},
		"has the rule's scope":     {path: "/write", authorization: jwt(claims{"scope": "base orders:write"}), want: authz.Allowed},
		"implied (M-14)":           {path: "/write", authorization: jwt(claims{"scope": "admin"}), want: authz.Allowed},
		"rule wants the second":    {path: "/second", authorization: good, want: authz.WrongIssuer},
		"rule gets the second":     {path: "/second", authorization: second, want: authz.Allowed},
		"rule's audience":          {path: "/other", authorization: good, want: authz.WrongAudience},
		"rule's audience met":      {path: "/other", authorization: jwt(claims{"aud": "another"}), want: authz.Allowed},
		"when true":                {path: "/tenant", authorization: jwt(claims{"tenant": "acme"}), want: authz.Allowed},
		"when false":               {path: "/tenant", authorization: jwt(claims{"tenant": "evil"}), want: authz.Forbidden},
		"when without the claim":   {path: "/tenant", authorization: good, want: authz.Forbidden},
		"strong enough (M-06)":     {path: "/strong", authorization: strong("mfa", time.Now()), want: authz.Allowed},
		"weak":                     {path: "/strong", authorization: strong("pwd", time.Now()), want: authz.InsufficientAuthentication, challenge: `acr_values="phr mfa", max_age="3600"`},
		"too long ago":             {path: "/strong", authorization: strong("mfa", time.Now().Add(-2*time.Hour)), want: authz.InsufficientAuthentication},
		"acr alone":                {path: "/acr", authorization: jwt(claims{"acr": "mfa"}), want: authz.Allowed},
		"acr alone, weak":          {path: "/acr", authorization: strong("pwd", time.Now()), want: authz.InsufficientAuthentication, challenge: `acr_values="phr mfa"`},
		"acr alone, none":          {path: "/acr", authorization: good, want: authz.InsufficientAuthentication},
		"max_age alone":            {path: "/recent", authorization: jwt(claims{"auth_time": time.Now().Unix()}), want: authz.Allowed},
		"max_age alone, old":       {path: "/recent", authorization: strong("mfa", time.Now().Add(-2*time.Hour)), want: authz.InsufficientAuthentication, challenge: `max_age="3600"`},
		"max_age alone, none":      {path: "/recent", authorization: jwt(claims{"acr": "mfa"}), want: authz.InsufficientAuthentication},
		"auth_time within skew":    {path: "/recent", authorization: strong("mfa", time.Now().Add(20*time.Second)), want: authz.Allowed},
		"auth_time in the future":  {path: "/recent", authorization: strong("mfa", time.Now().Add(2*time.Minute)), want: authz.InsufficientAuthentication},
		"ignore_case":              {path: "/sTAFF/x", authorization: good, want: authz.Forbidden},
		"a final slash":            {path: "/one/1/", authorization: good, want: authz.Forbidden},
		"no match, no name":        {path: "/x", want: authz.NoToken},
		"Salesforce's token":       {authorization: "Bearer 00D!AQ8", want: authz.Inactive},
		"no auth_time":             {path: "/strong", authorization: jwt(claims{"acr": "mfa"}), want: authz.InsufficientAuthentication},

		"route: rule without match": {route: authz.Route{HasRule: true, Rule: "named"}, want: authz.Public},
		"route: empty scopes":       {route: authz.Route{HasScopes: true}, authorization: good, want: authz.Misconfigured},
		"route: empty issuer":       {route: authz.Route{HasIssuer: true}, authorization: good, want: authz.Misconfigured},
		"route: audience on public": {route: authz.Route{HasAudience: true, Audience: "x"}, path: "/public/x", want: authz.NoToken},
		"route: issuer on public":   {route: authz.Route{HasIssuer: true, Issuer: b.first.URL()}, path: "/public/x", want: authz.NoToken},
		"route: issuer on optional": {route: authz.Route{HasIssuer: true, Issuer: b.first.URL()}, path: "/maybe", want: authz.NoToken},
		"route: ambiguous path":     {route: authz.Route{HasRule: true, Rule: "named"}, path: "/public/%2e%2e;/x", want: authz.BadRequest},

		"route: rule":           {route: authz.Route{HasRule: true, Rule: "health"}, want: authz.Public},
		"route: unknown rule":   {route: authz.Route{HasRule: true, Rule: "helth"}, authorization: good, want: authz.Misconfigured},
		"route: empty rule":     {route: authz.Route{HasRule: true}, authorization: good, want: authz.Misconfigured},
		"route: unknown key":    {route: authz.Route{Unknown: "bearergate.scope"}, authorization: good, want: authz.Misconfigured},
		"route: unknown issuer": {route: authz.Route{HasIssuer: true, Issuer: "https://x"}, authorization: good, want: authz.Misconfigured},
		"route: empty audience": {route: authz.Route{HasAudience: true}, authorization: good, want: authz.Misconfigured},
		"route: broken scopes":  {route: authz.Route{HasScopes: true, Scopes: []string{`a"`}}, authorization: good, want: authz.Misconfigured},
		"route: scopes":         {route: authz.Route{HasScopes: true, Scopes: []string{"x"}}, authorization: good, want: authz.InsufficientScope, challenge: `scope="base x"`},
		"route: audience":       {route: authz.Route{HasAudience: true, Audience: "x"}, authorization: good, want: authz.WrongAudience},
		"route: audience met":   {route: authz.Route{HasAudience: true, Audience: "x"}, authorization: jwt(claims{"aud": "x"}), want: authz.Allowed},
		"route: issuer":         {route: authz.Route{HasIssuer: true, Issuer: b.second.URL()}, authorization: good, want: authz.WrongIssuer},
		"route: over public":    {route: authz.Route{HasScopes: true, Scopes: []string{"x"}}, path: "/public/x", want: authz.NoToken},
		"route: not over deny":  {route: authz.Route{HasScopes: true, Scopes: []string{"x"}}, path: "/closed/x", authorization: good, want: authz.Forbidden},

		"resource: no token":         {host: "mcp.example.com", path: "/mcp", want: authz.NoToken, challenge: `scope="mcp:read", ` + metadata},
		"resource: below":            {host: "mcp.example.com", path: "/mcp/x", want: authz.NoToken, challenge: metadata},
		"resource: beside":           {host: "mcp.example.com", path: "/mcpx", authorization: good, want: authz.Allowed},
		"resource: the longest":      {host: "mcp.example.com", path: "/mcp/deep/x", want: authz.NoToken, challenge: "oauth-protected-resource/mcp/deep"},
		"resource: audience":         {host: "mcp.example.com", path: "/mcp", authorization: good, want: authz.WrongAudience, challenge: metadata},
		"resource: audience met":     {host: "mcp.example.com", path: "/mcp", authorization: jwt(claims{"aud": "https://mcp.example.com/mcp"}), want: authz.Allowed},
		"resource: tied":             {path: "/tied", authorization: good, want: authz.WrongAudience, challenge: metadata},
		"resource: a final slash":    {host: "mcp.example.com", path: "/mcp/", authorization: good, want: authz.WrongAudience},
		"resource: its host's dot":   {host: "mcp.example.com.", path: "/mcp", authorization: good, want: authz.BadRequest},
		"resource: document/":        {host: "mcp.example.com", path: "/.well-known/oauth-protected-resource/mcp/?x", want: authz.Metadata},
		"resource: no document":      {host: "mcp.example.com.", path: "/.well-known/oauth-protected-resource/mcp", want: authz.BadRequest},
		"resource: document":         {host: "MCP.example.com:443", path: "/.well-known/oauth-protected-resource/mcp", want: authz.Metadata},
		"resource: its OPTIONS":      {method: "OPTIONS", host: "mcp.example.com", path: "/.well-known/oauth-protected-resource/mcp", want: authz.Metadata},
		"resource: its POST":         {method: "POST", host: "mcp.example.com", path: "/.well-known/oauth-protected-resource/mcp", want: authz.NoToken},
		"resource: elsewhere (M-03)": {host: "evil.example.com", path: "/.well-known/oauth-protected-resource/mcp", want: authz.NoToken},
	} {
		t.Run(name, func(t *testing.T) {
			r := authz.Request{Method: "GET", Host: "api.example.com", Path: "/x", Route: tc.route}
			if tc.method != "" {
				r.Method = tc.method
			}
			if tc.host != "" {
				r.Host = tc.host
			}
			if tc.path != "" {
				r.Path = strings.TrimPrefix(tc.path, "-")
			}
			if tc.authorization != "" {
				r.Authorization = []string{tc.authorization}
			}
			ctx, recorder := walk.With(t.Context())
			d := p.Decide(ctx, &r)
			checkWalk(t, d.Reason, recorder.Steps())
			if d.Reason != tc.want || !strings.Contains(strings.Join(d.Challenges, "\n"), tc.challenge) {
				t.Fatalf("got %s, %s (%v); want %s, %s", d.Reason, d.Challenges, d.Err, tc.want, tc.challenge)
			}
			check(t, d)
		})
	}
}

// stepsOf names, for each reason that denies, the checks that may have failed: an
// explanation that blames another one lies.
var stepsOf = map[authz.Reason][]string{
	authz.NoToken:                    {"credential"},
	authz.BadRequest:                 {"path", "host", "credential"},
	authz.MalformedToken:             {"header", "claims", "exp", "issuer", "introspection"},
	authz.UnsupportedAlgorithm:       {"header"},
	authz.WrongType:                  {"type"},
	authz.UnknownKey:                 {"key"},
	authz.BadSignature:               {"signature"},
	authz.WrongIssuer:                {"issuer", "iss"},
	authz.WrongAudience:              {"aud"},
	authz.Expired:                    {"exp"},
	authz.NotYetValid:                {"nbf", "iat"},
	authz.Inactive:                   {"introspection", "cache"},
	authz.WrongBinding:               {"cnf", "type"},
	authz.InsufficientScope:          {"scope"},
	authz.InsufficientAuthentication: {"acr", "auth_time"},
	authz.Forbidden:                  {"access", "when"},
	authz.Unavailable:                {"introspection", "key", "cache", "deadline"},
	authz.Misconfigured:              {"context_extensions"},
}

// checkWalk holds the explanation to the decision: it ends in the reason, and one
// check failed, which is one that leads to it.
func checkWalk(t *testing.T, reason authz.Reason, steps []walk.Step) {
	t.Helper()
	if len(steps) == 0 || steps[len(steps)-1].Name != "decision: "+reason.String() {
		t.Fatalf("the walk does not end in %s: %+v", reason, steps)
	}
	var failed []string
	for _, s := range steps[:len(steps)-1] {
		if s.Result == walk.Failed {
			failed = append(failed, s.Name)
		}
	}
	last := steps[len(steps)-1].Result
	if reason.Outcome() != authz.Deny {
		if len(failed) > 0 || last != walk.Passed {
			t.Errorf("%s: %q failed, the decision %s", reason, failed, last)
		}
		return
	}
	if last != walk.Failed || len(failed) != 1 || !slices.Contains(stepsOf[reason], failed[0]) {
		t.Errorf("%s: %q failed, want one of %q; the decision %s", reason, failed, stepsOf[reason], last)
	}
}

// check holds every decision to what is true of all.
func check(t *testing.T, d authz.Decision) {
	t.Helper()
	managed := []string{"x-auth-sub", "x-auth-scope", "x-auth-client-id"}
	if d.Reason.Outcome() != authz.Allow {
		if d.Set != nil || d.Token != nil {
			t.Errorf("a deny carries identity: %+v", d)
		}
		return
	}
	for _, name := range managed {
		set := slices.ContainsFunc(d.Set, func(h authz.HeaderValue) bool { return h.Name == name })
		if set == slices.Contains(d.Remove, name) {
			t.Errorf("%s: want it either set or removed, got %v and %v", name, d.Set, d.Remove)
		}
		if !slices.Contains(d.Remove, strings.ReplaceAll(name, "-", "_")) {
			t.Errorf("%s: underscores are not removed", name)
		}
	}
	if !slices.Contains(d.Remove, "authorization") {
		t.Error("authorization is not removed (M-11)")
	}
}

// TestConditionsOnPathsRefuseAmbiguousOnes: a `when` that reads the path matches
// on it too (E-10).
func TestConditionsOnPathsRefuseAmbiguousOnes(t *testing.T) {
	b := newBench(t)
	p, err := authz.New(authz.Config{
		Realm: "bearergate", DefaultAccess: "token", Issuers: b.issuers,
		Rules: []authz.Rule{{Name: "public", Match: &authz.Match{Methods: []string{"GET"}}, Access: "public", When: `request.path.startsWith("/public/")`}},
	}, b.set)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]authz.Reason{
		"/public/x": authz.Public, "/x": authz.Forbidden, "/public/../x": authz.BadRequest, "/public/%2e%2e/x": authz.BadRequest, "/public/..;/x": authz.BadRequest,
	} {
		if d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: path}); d.Reason != want {
			t.Errorf("%s: got %s, want %s", path, d.Reason, want)
		}
	}
}

func TestOutageIsUnavailable(t *testing.T) { // I-11
	b := newBench(t)
	p := b.policy(t)
	b.first.Behave(devissuer.PathIntrospection, devissuer.Behaviour{
		Status: 503, Header: map[string]string{"Retry-After": "7"},
	})
	d := p.Decide(t.Context(), &authz.Request{Method: "GET", Path: "/x", Authorization: []string{"Bearer opaque"}})
	if d.Reason != authz.Unavailable || len(d.Challenges) > 0 || d.RetryAfter != 7*time.Second {
		t.Errorf("got %+v", d)
	}
}

func TestDeadContextAllowsNothing(t *testing.T) {
	b := newBench(t)
	p := b.policy(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, path := range []string{"/x", "/healthz"} {
		d := p.Decide(ctx, &authz.Request{
			Method: "GET", Host: "api.example.com", Path: path,
			Authorization: []string{"Bearer " + b.first.JWT(claims{"aud": "api", "scope": "base"})},
		})
		if d.Reason != authz.Unavailable {
			t.Errorf("%s: got %s, want unavailable", path, d.Reason)
		}
	}
}

func TestDocument(t *testing.T) { // M-01…M-04
	b := newBench(t)
	d := b.policy(t).Decide(t.Context(), &authz.Request{
		Method: "GET", Host: "mcp.example.com", Path: "/.well-known/oauth-protected-resource/mcp",
	})
	want := `{"resource":"https://mcp.example.com/mcp","authorization_servers":["` + b.first.URL() + `","` + b.second.URL() + `"],"scopes_supported":["mcp:read","offline_access"],"bearer_methods_supported":["header"]}`
	if string(d.Document) != want || d.Header.Get("Access-Control-Allow-Origin") != "*" || d.Reason.Status() != 200 {
		t.Errorf("got %s %v", d.Document, d.Header)
	}
}
