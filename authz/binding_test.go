package authz_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/binding"
)

// judge is a judge of proofs who has made up their mind.
type judge struct {
	err   error
	next  string
	asked []binding.Proof
}

func (j *judge) Accept(_ context.Context, p binding.Proof) (string, error) {
	j.asked = append(j.asked, p)
	return j.next, j.err
}

func (j *judge) Nonce() string { return "fresh" }

// The sections of a configuration.
const (
	neither = iota
	onlyDPoP
	onlyMTLS
	bothKinds
)

func sections(c *authz.Config, which int) {
	if which == onlyDPoP || which == bothKinds {
		c.DPoP = &binding.DPoP{
			Algorithms: []string{"ES256", "EdDSA"}, MaxAge: time.Minute, Nonce: binding.NonceOff, ReplayEntries: 1000,
		}
	}
	if which == onlyMTLS || which == bothKinds {
		c.MTLS = &binding.MTLS{}
	}
}

// bound is a policy of one rule for /ruled, and one for each that is configured.
func (b *bench) bound(t testing.TB, which int, ofIssuer, ofRule string, change func(*authz.Config)) *authz.Policy {
	t.Helper()
	return b.with(t, func(c *authz.Config) {
		sections(c, which)
		c.Headers = map[string]string{"x-auth-sub": "sub"}
		c.Issuers = slices.Clone(c.Issuers)
		for n := range c.Issuers {
			c.Issuers[n].TokenBinding = ofIssuer
		}
		c.Rules = []authz.Rule{{Name: "r", Match: &authz.Match{Paths: []string{"/x"}}, TokenBinding: ofRule}}
		if change != nil {
			change(c)
		}
	})
}

// kindsOfCNF are what a token can be bound to, by the names of the table below.
func kindsOfCNF(certificate string) map[string]claims {
	return map[string]claims{
		"none": nil, "jkt": {"jkt": "k"}, "x5t": {"x5t#S256": certificate}, "both": {"jkt": "k", "x5t#S256": certificate},
		"unknown": {"kid": "1"}, "jkt and unknown": {"jkt": "k", "jwk": claims{"kty": "EC"}}, "malformed": {},
	}
}

// TestBindingMatrix holds every kind of cnf, with either scheme, under every
// token_binding and every set of sections, to what docs/contract.md §9 says in words
// (P-02, P-11). The proof and the certificate are good ones.
func TestBindingMatrix(t *testing.T) {
	b := newBench(t)
	certificate, thumbprint := clientCertificate(t)
	for which, name := range map[int]string{neither: "neither", onlyDPoP: "dpop", onlyMTLS: "mtls", bothKinds: "both"} {
		for _, demand := range []string{"accept", "required", "dpop", "mtls"} {
			dpop, mtls := which == onlyDPoP || which == bothKinds, which == onlyMTLS || which == bothKinds
			if demand == "required" && which == neither || demand == "dpop" && !dpop || demand == "mtls" && !mtls {
				continue // refused at load
			}
			for where, p := range map[string]*authz.Policy{
				"issuer": b.bound(t, which, demand, "", nil), "rule": b.bound(t, which, "accept", demand, nil),
			} {
				p.SetProofs(&judge{})
				for kind, cnf := range kindsOfCNF(thumbprint) {
					for _, scheme := range []string{"Bearer", "DPoP", "dpop"} {
						got := decideBound(t, b, p, scheme, cnf, certificate)
						want := wantBound(kind, demand, scheme != "Bearer", dpop, mtls)
						if got.Reason != want {
							t.Errorf("sections %s, token_binding %s of the %s, cnf %s, scheme %s: got %s (%v), want %s",
								name, demand, where, kind, scheme, got.Reason, got.Err, want)
						}
					}
				}
			}
		}
	}
}

// wantBound is the contract's text, sentence by sentence.
func wantBound(kind, demand string, underDPoP, dpop, mtls bool) authz.Reason {
	if underDPoP && !dpop {
		return authz.NoToken // the scheme counts as no token
	}
	if kind == "unknown" || kind == "jkt and unknown" || kind == "malformed" {
		return authz.WrongBinding
	}
	jkt, x5t := kind == "jkt" || kind == "both", kind == "x5t" || kind == "both"
	if jkt && !dpop || x5t && !mtls { // not switched on
		return authz.WrongBinding
	}
	if jkt != underDPoP { // a bound token under Bearer, an unbound one under DPoP
		return authz.WrongBinding
	}
	switch demand {
	case "required":
		if !jkt && !x5t {
			return authz.WrongBinding
		}
	case "dpop":
		if !jkt {
			return authz.WrongBinding
		}
	case "mtls":
		if !x5t {
			return authz.WrongBinding
		}
	}
	return authz.Allowed
}

func decideBound(
	t testing.TB, b *bench, p *authz.Policy, scheme string, cnf claims, certificate string,
) authz.Decision {
	t.Helper()
	all := claims{"sub": "alice", "aud": "api", "scope": "base"}
	if cnf != nil {
		all["cnf"] = cnf
	}
	return p.Decide(t.Context(), &authz.Request{
		Method: "GET", Scheme: "https", Host: "api.example.com", Path: "/x?q", PeerCertificate: certificate,
		Authorization: []string{scheme + " " + b.first.JWT(all)}, Header: header("dpop", "proof"),
	})
}

func header(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// TestRuleComesBeforeIssuer: token_binding of a rule counts instead of the issuer's, and
// can ask for less.
func TestRuleComesBeforeIssuer(t *testing.T) {
	b := newBench(t)
	p := b.bound(t, onlyDPoP, "dpop", "accept", nil)
	p.SetProofs(&judge{})
	if d := decideBound(t, b, p, "Bearer", nil, ""); d.Reason != authz.Allowed {
		t.Errorf("got %s (%v), want the rule's accept to count", d.Reason, d.Err)
	}
}

// TestWhatAJudgeOfProofsSays becomes the reason, and the nonce that goes with it.
func TestWhatAJudgeOfProofsSays(t *testing.T) {
	b := newBench(t)
	for name, tc := range map[string]struct {
		judge *judge
		want  authz.Reason
		nonce string
	}{
		"good":           {&judge{}, authz.Allowed, ""},
		"renewed":        {&judge{next: "next"}, authz.Allowed, "next"},
		"wrong":          {&judge{err: fmt.Errorf("%w: htm", binding.ErrProof)}, authz.InvalidProof, ""},
		"wrong, renewed": {&judge{err: binding.ErrProof, next: "next"}, authz.InvalidProof, ""},
		"other key":      {&judge{err: binding.ErrKey}, authz.WrongBinding, ""},
		"no nonce":       {&judge{err: binding.ErrNonce}, authz.UseNonce, "fresh"},
		"full":           {&judge{err: binding.ErrUnavailable}, authz.Unavailable, ""},
		"broken":         {&judge{err: errors.New("?")}, authz.Internal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.bound(t, onlyDPoP, "accept", "", nil)
			p.SetProofs(tc.judge)
			d := decideBound(t, b, p, "DPoP", claims{"jkt": "k"}, "")
			if d.Reason != tc.want || d.Nonce != tc.nonce {
				t.Errorf("got %s, nonce %q (%v); want %s, %q", d.Reason, d.Nonce, d.Err, tc.want, tc.nonce)
			}
			asked := tc.judge.asked[0]
			if asked.Token == "" {
				t.Error("the judge was not told of the token")
			}
			asked.Token = ""
			want := binding.Proof{
				Field: "proof", Method: "GET", Scheme: "https", Host: "api.example.com", Path: "/x?q", JKT: "k",
				ClockSkew: 30 * time.Second,
			}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Error(diff)
			}
		})
	}
	p := b.bound(t, onlyDPoP, "accept", "", nil)
	if d := decideBound(t, b, p, "DPoP", claims{"jkt": "k"}, ""); d.Reason != authz.Unavailable {
		t.Errorf("without a judge: got %s, want unavailable", d.Reason)
	}
}

// TestOrderOfBinding (docs/contract.md §9): the binding before the proof, and both before
// audience, scope and condition.
func TestOrderOfBinding(t *testing.T) {
	b := newBench(t)
	_, thumbprint := clientCertificate(t)
	asked := &judge{err: binding.ErrProof}
	p := b.bound(t, bothKinds, "accept", "", func(c *authz.Config) {
		c.Rules[0].Scopes, c.Rules[0].Audience, c.Rules[0].When = []string{"more"}, []string{"other"}, "false"
	})
	p.SetProofs(asked)
	if d := decideBound(t, b, p, "DPoP", claims{"jkt": "k", "x5t#S256": thumbprint}, ""); d.Reason != authz.WrongBinding {
		t.Errorf("no certificate: got %s, want wrong_binding", d.Reason)
	}
	if len(asked.asked) > 0 {
		t.Error("a proof was judged that could not help")
	}
	if d := decideBound(t, b, p, "DPoP", claims{"jkt": "k"}, ""); d.Reason != authz.InvalidProof {
		t.Errorf("got %s, want invalid_proof before what else is wrong", d.Reason)
	}
	asked.err = nil
	if d := decideBound(t, b, p, "DPoP", claims{"jkt": "k"}, ""); d.Reason != authz.WrongAudience {
		t.Errorf("got %s, want wrong_audience after a good proof", d.Reason)
	}
}

// TestUnboundTokenIgnoresItsProof (P-11): nobody looks at it, and it does not go upstream.
func TestUnboundTokenIgnoresItsProof(t *testing.T) {
	b := newBench(t)
	asked := &judge{err: binding.ErrProof}
	p := b.bound(t, onlyDPoP, "accept", "", nil)
	p.SetProofs(asked)
	d := decideBound(t, b, p, "Bearer", nil, "")
	if d.Reason != authz.Allowed || len(asked.asked) > 0 || !slices.Contains(d.Remove, "dpop") {
		t.Errorf("got %s, %d proofs judged, removed %v", d.Reason, len(asked.asked), d.Remove)
	}
}

// TestCertificates (P-01): Envoy's word, or the header where that is configured, and then
// nothing else.
func TestCertificates(t *testing.T) {
	b := newBench(t)
	certificate, thumbprint := clientCertificate(t)
	_, other := clientCertificate(t)
	inHeader := headerOf(t, certificate)
	for name, tc := range map[string]struct {
		configured string // client_certificate_header
		peer       string
		header     func(string) (string, bool)
		boundTo    string
		want       authz.Reason
	}{
		"Envoy's":                 {"", certificate, nil, thumbprint, authz.Allowed},
		"another":                 {"", certificate, nil, other, authz.WrongBinding},
		"none":                    {"", "", nil, thumbprint, authz.WrongBinding},
		"unreadable":              {"", "-----BEGIN", nil, thumbprint, authz.WrongBinding},
		"a header nobody asked":   {"", "", header("client-cert", inHeader), thumbprint, authz.WrongBinding},
		"the header":              {"Client-Cert", "", header("client-cert", inHeader), thumbprint, authz.Allowed},
		"the header counts alone": {"client-cert", certificate, header(), thumbprint, authz.WrongBinding},
		"no headers at all":       {"client-cert", certificate, nil, thumbprint, authz.WrongBinding},
		"two fields": {
			"client-cert", "", header("client-cert", inHeader+","+inHeader), thumbprint, authz.WrongBinding,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.bound(t, onlyMTLS, "accept", "", func(c *authz.Config) {
				c.MTLS.ClientCertificateHeader = tc.configured
			})
			d := p.Decide(t.Context(), &authz.Request{
				Method: "GET", Host: "h", Path: "/x", PeerCertificate: tc.peer, Header: tc.header,
				Authorization: []string{"Bearer " + b.first.JWT(claims{
					"aud": "api", "scope": "base", "cnf": claims{"x5t#S256": tc.boundTo},
				})},
			})
			if d.Reason != tc.want {
				t.Errorf("got %s (%v), want %s", d.Reason, d.Err, tc.want)
			}
		})
	}
}

// TestChallengesOfBothSchemes holds the fields of every refusal to docs/contract.md §9:
// which schemes, in which order, and which of them has the error.
func TestChallengesOfBothSchemes(t *testing.T) {
	b := newBench(t)
	good := b.first.JWT(claims{"aud": "api", "scope": "base"})
	key := b.first.JWT(claims{"aud": "api", "scope": "base", "cnf": claims{"jkt": "k"}})
	narrow := b.first.JWT(claims{"aud": "api", "scope": "", "cnf": claims{"jkt": "k"}})
	const bearer, dpop = `Bearer realm="r"`, `DPoP realm="r"`
	for name, tc := range map[string]struct {
		which         int
		demand        string
		authorization string
		path          string
		err           error
		reason        authz.Reason
		want          []string // each begins with, up to the first ~, and holds what is behind
	}{
		"off":                      {neither, "accept", "", "", nil, authz.NoToken, []string{bearer}},
		"off, DPoP":                {neither, "accept", "DPoP " + key, "", nil, authz.NoToken, []string{bearer}},
		"off, mtls on":             {onlyMTLS, "mtls", "", "", nil, authz.NoToken, []string{bearer}},
		"no token":                 {onlyDPoP, "accept", "", "", nil, authz.NoToken, []string{bearer, dpop + `, algs=`}},
		"another scheme":           {onlyDPoP, "accept", "Basic dTpw", "", nil, authz.NoToken, []string{bearer, dpop + `, algs=`}},
		"no token, dpop wanted":    {onlyDPoP, "dpop", "", "", nil, authz.NoToken, []string{dpop + `, algs=`}},
		"no token, bound wanted":   {onlyDPoP, "required", "", "", nil, authz.NoToken, []string{dpop + `, algs=`}},
		"no token, either will do": {bothKinds, "required", "", "", nil, authz.NoToken, []string{bearer, dpop}},
		"no token, mtls wanted":    {bothKinds, "mtls", "", "", nil, authz.NoToken, []string{bearer, dpop}},
		"bearer, bad":              {onlyDPoP, "accept", "Bearer junk", "", nil, authz.Inactive, []string{bearer + `, error="invalid_token"`, dpop + `, algs=`}},
		"dpop, bad":                {onlyDPoP, "accept", "DPoP junk", "", nil, authz.Inactive, []string{dpop + `, error="invalid_token"`, bearer}},
		"bound under Bearer":       {onlyDPoP, "accept", "Bearer " + key, "", nil, authz.WrongBinding, []string{bearer + `, error="invalid_token"`, dpop + `, algs=`}},
		"unbound under DPoP":       {onlyDPoP, "accept", "dpop " + good, "", nil, authz.WrongBinding, []string{dpop + `, error="invalid_token"`, bearer}},
		"Bearer is not offered":    {onlyDPoP, "dpop", "Bearer " + good, "", nil, authz.WrongBinding, []string{dpop + `, error="invalid_token"`}},
		"Bearer is not offered, 2": {onlyDPoP, "required", "Bearer junk", "", nil, authz.Inactive, []string{dpop + `, error="invalid_token"`}},
		"no proof":                 {onlyDPoP, "accept", "DPoP " + key, "", binding.ErrProof, authz.InvalidProof, []string{dpop + `, error="invalid_dpop_proof"`, bearer}},
		"other key":                {onlyDPoP, "accept", "DPoP " + key, "", binding.ErrKey, authz.WrongBinding, []string{dpop + `, error="invalid_token"`, bearer}},
		"nonce":                    {onlyDPoP, "dpop", "DPoP " + key, "", binding.ErrNonce, authz.UseNonce, []string{dpop + `, error="use_dpop_nonce"`}},
		"400, bearer":              {onlyDPoP, "accept", "Bearer a b", "", nil, authz.BadRequest, []string{bearer + `, error="invalid_request"`}},
		"400, dpop":                {onlyDPoP, "accept", "DPoP a b", "", nil, authz.BadRequest, []string{dpop + `, error="invalid_request"`}},
		"400, dpop, the path":      {onlyDPoP, "accept", "DPoP a", "/a//b", nil, authz.BadRequest, []string{dpop + `, error="invalid_request"`}},
		"400, no token":            {onlyDPoP, "accept", "", "/a//b", nil, authz.BadRequest, []string{bearer + `, error="invalid_request"`}},
		"400, no token, dpop only": {onlyDPoP, "dpop", "", "/a//b", nil, authz.BadRequest, []string{dpop + `, error="invalid_request"`}},
		"scope, dpop":              {onlyDPoP, "accept", "DPoP " + narrow, "", nil, authz.InsufficientScope, []string{dpop + `, error="insufficient_scope"`}},
		"scope, bearer":            {onlyDPoP, "accept", "Bearer " + b.first.JWT(claims{"aud": "api"}), "", nil, authz.InsufficientScope, []string{bearer + `, error="insufficient_scope"`}},
		"unavailable":              {onlyDPoP, "accept", "DPoP " + key, "", binding.ErrUnavailable, authz.Unavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.bound(t, tc.which, tc.demand, "", nil)
			p.SetProofs(&judge{err: tc.err})
			r := authz.Request{Method: "GET", Host: "h", Path: "/x", Header: header()}
			if tc.path != "" {
				r.Path = tc.path
			}
			if tc.authorization != "" {
				r.Authorization = []string{tc.authorization}
			}
			d := p.Decide(t.Context(), &r)
			if d.Reason != tc.reason || len(d.Challenges) != len(tc.want) {
				t.Fatalf("got %s (%v), %q; want %s, %q", d.Reason, d.Err, d.Challenges, tc.reason, tc.want)
			}
			for n, got := range d.Challenges {
				if !strings.HasPrefix(got, tc.want[n]) {
					t.Errorf("got %s, want it to begin with %s", got, tc.want[n])
				}
				if strings.HasPrefix(got, "DPoP ") != strings.HasSuffix(got, `, algs="ES256 EdDSA"`) {
					t.Errorf("got %s, want algs at the end of DPoP challenges, and only there", got)
				}
				if n > 0 && strings.Contains(got, "error") {
					t.Errorf("got %s, want an error in the first only", got)
				}
			}
		})
	}
}

// TestEachIssuerHasItsOwnBinding: what is offered depends on whose token it could be.
func TestEachIssuerHasItsOwnBinding(t *testing.T) {
	b := newBench(t)
	p := b.bound(t, onlyDPoP, "accept", "", func(c *authz.Config) {
		c.Issuers[0].TokenBinding = "dpop"
		c.Rules = []authz.Rule{
			{Name: "first", Match: &authz.Match{Paths: []string{"/first"}}, Issuers: []string{c.Issuers[0].Issuer}},
			{Name: "any", Match: &authz.Match{Paths: []string{"/any"}}},
		}
	})
	for path, want := range map[string]int{"/first": 1, "/any": 2, "/elsewhere": 2} {
		if d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: path}); len(d.Challenges) != want {
			t.Errorf("%s: got %q, want %d", path, d.Challenges, want)
		}
	}
	d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: "/any", Route: authz.Route{
		HasIssuer: true, Issuer: b.issuers[0].Issuer,
	}})
	if len(d.Challenges) != 1 {
		t.Errorf("named by the route: got %q, want DPoP only", d.Challenges)
	}
}

// TestProofsAndCertificatesStayHere on every allow: also of public and shadow rules.
func TestProofsAndCertificatesStayHere(t *testing.T) {
	b := newBench(t)
	off := false
	rules := []authz.Rule{
		{Name: "public", Match: &authz.Match{Paths: []string{"/public"}}, Access: "public"},
		{Name: "shadow", Match: &authz.Match{Paths: []string{"/shadow"}}, Enforce: &off},
		{Name: "token", Match: &authz.Match{Paths: []string{"/token"}}},
	}
	for name, tc := range map[string]struct {
		which   int
		forward bool
		header  string
		gone    []string
		stays   []string
	}{
		"off":      {neither, false, "", []string{"authorization"}, []string{"dpop"}},
		"dpop":     {onlyDPoP, false, "", []string{"authorization", "dpop"}, nil},
		"forward":  {onlyDPoP, true, "", nil, []string{"authorization", "dpop"}},
		"mtls":     {onlyMTLS, true, "", nil, []string{"client-cert"}},
		"a header": {onlyMTLS, true, "Client-Cert", []string{"client-cert", "client_cert"}, []string{"authorization"}},
	} {
		p := b.bound(t, tc.which, "accept", "", func(c *authz.Config) {
			c.Rules, c.ForwardToken = rules, tc.forward
			if c.MTLS != nil {
				c.MTLS.ClientCertificateHeader = tc.header
			}
		})
		for _, path := range []string{"/public", "/shadow", "/token"} {
			d := p.Decide(t.Context(), &authz.Request{
				Method: "GET", Host: "h", Path: path,
				Authorization: []string{"Bearer " + b.first.JWT(claims{"aud": "api", "scope": "base"})},
			})
			if d.Outcome() != authz.Allow {
				t.Fatalf("%s, %s: got %s (%v)", name, path, d.Reason, d.Err)
			}
			for _, header := range tc.gone {
				if !slices.Contains(d.Remove, header) {
					t.Errorf("%s, %s: removes %q, want %s too", name, path, d.Remove, header)
				}
			}
			for _, header := range tc.stays {
				if slices.Contains(d.Remove, header) {
					t.Errorf("%s, %s: removes %s", name, path, header)
				}
			}
		}
	}
}

// TestShadowTellsOfTheProof, and lets the request pass.
func TestShadowTellsOfTheProof(t *testing.T) {
	b := newBench(t)
	off := false
	p := b.bound(t, onlyDPoP, "dpop", "", func(c *authz.Config) { c.Rules[0].Enforce = &off })
	p.SetProofs(&judge{err: binding.ErrNonce})
	d := decideBound(t, b, p, "DPoP", claims{"jkt": "k"}, "")
	if d.Outcome() != authz.Allow || d.Reason != authz.UseNonce || d.Nonce != "fresh" || d.Challenges != nil {
		t.Errorf("got %s, %s, nonce %q, %q", d.Outcome(), d.Reason, d.Nonce, d.Challenges)
	}
}

func TestBindingIsConfiguredWhole(t *testing.T) {
	good := func() authz.Config {
		return authz.Config{
			Realm: "r", DefaultAccess: "token", Issuers: []authz.IssuerConfig{{Issuer: "https://a.example.com"}},
			Headers: map[string]string{"x-auth-sub": "sub"}, Rules: []authz.Rule{{Name: "r"}},
		}
	}
	for name, tc := range map[string]struct {
		which  int
		change func(*authz.Config)
		want   string
	}{
		"dpop of a rule":    {onlyMTLS, func(c *authz.Config) { c.Rules[0].TokenBinding = "dpop" }, "rules[0].token_binding: is dpop"},
		"mtls of a rule":    {onlyDPoP, func(c *authz.Config) { c.Rules[0].TokenBinding = "mtls" }, "rules[0].token_binding: is mtls"},
		"dpop of an issuer": {onlyMTLS, func(c *authz.Config) { c.Issuers[0].TokenBinding = "dpop" }, "issuers[0].token_binding: is dpop"},
		"required, nothing": {neither, func(c *authz.Config) { c.Issuers[0].TokenBinding = "required" }, "issuers[0].token_binding: is required"},
		"nonsense":          {onlyDPoP, func(c *authz.Config) { c.Issuers[0].TokenBinding = "DPoP" }, "issuers[0].token_binding: got"},
		"public": {onlyDPoP, func(c *authz.Config) {
			c.Rules[0].TokenBinding, c.Rules[0].Access = "dpop", "public"
		}, "rules[0].token_binding: is never looked at"},
		"a managed header": {onlyMTLS, func(c *authz.Config) {
			c.MTLS.ClientCertificateHeader, c.Headers["client_cert"] = "Client-Cert", "sub"
		}, "mtls.client_certificate_header: is headers.client_cert too"},
		"dpop as a header": {onlyDPoP, func(c *authz.Config) { c.Headers["dpop"] = "sub" }, "headers.dpop"},
		"too many dashes": {onlyMTLS, func(c *authz.Config) {
			c.MTLS.ClientCertificateHeader = strings.Repeat("a-", 40) + "a"
		}, "mtls.client_certificate_header: want at most 5"},
		"good":           {bothKinds, func(c *authz.Config) { c.Rules[0].TokenBinding = "mtls" }, ""},
		"required, dpop": {onlyDPoP, func(c *authz.Config) { c.Rules[0].TokenBinding = "required" }, ""},
	} {
		c := good()
		sections(&c, tc.which)
		tc.change(&c)
		err := c.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	c := good()
	c.MTLS = &binding.MTLS{ClientCertificateHeader: "client-cert"}
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "mtls.client_certificate_header: ") {
		t.Errorf("got warnings %q, want one of the header", w)
	}
}

// clientCertificate returns one as Envoy reports it, and its thumbprint.
func clientCertificate(t testing.TB) (urlEncodedPEM, thumbprint string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	sum := sha256.Sum256(der)
	return url.PathEscape(string(text)), base64.RawURLEncoding.EncodeToString(sum[:])
}

// headerOf writes a certificate as RFC 9440 does.
func headerOf(t testing.TB, urlEncodedPEM string) string {
	t.Helper()
	text, err := url.PathUnescape(urlEncodedPEM)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(text))
	return ":" + base64.StdEncoding.EncodeToString(block.Bytes) + ":"
}
