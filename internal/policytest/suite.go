package policytest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/strictfile"
	"github.com/bearergate/bearergate/validation"
)

// suite is one test file.
type suite struct {
	Now    time.Time        `key:"now"`
	Tokens map[string]token `key:"tokens"`
	Cases  []testCase       `key:"cases"`

	path  string
	lines []int // of the cases
}

// The values of token.Kind.
const (
	kindJWT    = "jwt"
	kindOpaque = "opaque"
)

// The values of token.Break.
const (
	breakSignature  = "signature"   // by a key that is not the issuer's
	breakAlgNone    = "alg_none"    // not signed
	breakUnknownKey = "unknown_key" // by a key that the issuer does not publish
	breakExpired    = "expired"     // an hour ago
	breakInactive   = "inactive"    // as after a revocation
	breakRevoked    = "revoked"     // as after a revocation that we were told of
	breakOutage     = "outage"      // the issuer cannot be reached
)

// token is what an issuer is to issue. A claim that is null is left out.
type token struct {
	Issuer string         `key:"issuer"`
	Kind   string         `key:"kind" default:"jwt" oneof:"jwt|opaque"`
	Claims map[string]any `key:"claims"`
	Bound  []string       `key:"bound,string" oneof:"dpop|mtls"`
	Break  string         `key:"break,empty" oneof:"signature|alg_none|unknown_key|expired|inactive|revoked|outage"`
}

type testCase struct {
	Name    string  `key:"name"`
	Request request `key:"request"`
	Want    want    `key:"want"`
}

// request is what a client sends, and what Envoy's route says of it.
type request struct {
	Method     string            `key:"method" default:"GET"`
	Host       string            `key:"host" default:"localhost"`
	Path       string            `key:"path" default:"/"`
	Headers    map[string]string `key:"headers"`
	Token      string            `key:"token"`
	Extensions map[string]string `key:"context_extensions"`

	Proof       string `key:"proof,empty" oneof:"valid|none|bearer|replayed|wrong_method|wrong_path|expired|other_key|without_nonce"`
	Certificate string `key:"client_certificate,empty" oneof:"own|other|none"`
}

// want is what is compared; what is not given is not looked at. In maps, null is
// for what must not be there.
type want struct {
	Reason    string         `key:"reason"`
	Rule      *string        `key:"rule"` // empty: no rule matched
	Status    int            `key:"status"`
	Headers   map[string]any `key:"headers"`
	Challenge string         `key:"challenge"`
	Metadata  map[string]any `key:"metadata"`
}

// parse reads a test file for the rules of cfg. The error joins every mistake, each
// with its line.
func parse(
	path string, content []byte, lookup func(string) (string, bool), cfg *config.Config,
) (*suite, error) {
	file, err := strictfile.Read(path, content)
	if err != nil {
		return nil, err
	}
	s := &suite{path: path}
	file.Decode(s, lookup)
	if err := file.Mistakes(s.settle(cfg)); err != nil {
		return nil, err
	}
	for n := range s.Cases {
		s.lines = append(s.lines, file.Line(fmt.Sprintf("cases[%d]", n)))
	}
	return s, nil
}

// settle completes the file, and returns every mistake that is not one of form.
func (s *suite) settle(cfg *config.Config) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Tokens)) {
		t := s.Tokens[name]
		if t.Issuer == "" && len(cfg.Issuers) == 1 {
			t.Issuer = cfg.Issuers[0].Discovery.Issuer
		}
		s.Tokens[name] = t
		errs = append(errs, field.Under("tokens."+name, t.check(cfg)))
	}
	if len(s.Cases) == 0 {
		errs = append(errs, field.Errorf("cases", "missing: a file without cases tests nothing"))
	}
	names := map[string]bool{}
	for n := range s.Cases {
		c := &s.Cases[n]
		c.lower()
		at := fmt.Sprintf("cases[%d]", n)
		errs = append(errs, field.Under(at, c.check(s.Tokens, cfg)))
		if names[c.Name] && c.Name != "" {
			errs = append(errs, field.Errorf(at+".name", "%q is the name of another case too", c.Name))
		}
		names[c.Name] = true
	}
	return errors.Join(errs...)
}

func (t token) check(cfg *config.Config) error {
	errs := []error{field.Check(t)}
	of := slices.IndexFunc(cfg.Issuers, func(i config.Issuer) bool { return i.Discovery.Issuer == t.Issuer })
	switch {
	case t.Issuer == "":
		errs = append(errs, field.Errorf("issuer", "missing: several are configured"))
	case of < 0:
		errs = append(errs, field.Errorf("issuer", "%q is not a configured issuer", t.Issuer))
	default:
		errs = append(errs, t.checkBreak(cfg.Issuers[of].Validation.Strategy))
	}
	if _, given := t.Claims["cnf"]; given && len(t.Bound) > 0 {
		errs = append(errs, field.Errorf("bound", "and claims say cnf, want one of them"))
	}
	return errors.Join(errs...)
}

// checkBreak refuses what cannot happen to such a token: a test of it would pass for
// another reason than its author thinks.
func (t token) checkBreak(strategy validation.Strategy) error {
	local := strategy == validation.StrategyJWT || strategy == validation.StrategyBoth && t.Kind == kindJWT
	switch t.Break {
	case breakSignature, breakAlgNone, breakUnknownKey:
		if t.Kind == kindOpaque {
			return field.Errorf("break", "%s: an opaque token has no signature", t.Break)
		}
	case breakInactive:
		if local {
			return field.Errorf("break", "inactive: with token_validation %s nobody is asked about this token", strategy)
		}
	case breakExpired:
		if _, given := t.Claims["exp"]; given {
			return field.Errorf("break", "expired: and claims say exp, want one of them")
		}
	}
	return nil
}

// lower writes the names of headers as Envoy does.
func (c *testCase) lower() {
	headers := make(map[string]string, len(c.Request.Headers))
	for name, value := range c.Request.Headers {
		headers[strings.ToLower(name)] = value
	}
	c.Request.Headers = headers
	wanted := make(map[string]any, len(c.Want.Headers))
	for name, value := range c.Want.Headers {
		wanted[strings.ToLower(name)] = value
	}
	c.Want.Headers = wanted
}

func (c *testCase) check(tokens map[string]token, cfg *config.Config) error {
	errs := []error{
		field.Under("request", c.Request.check(tokens)),
		field.Under("want", c.Want.check(cfg)),
	}
	if c.Name == "" {
		errs = append(errs, field.Errorf("name", "missing: cases are told apart by name"))
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		errs = append(errs, field.Errorf("name", "has characters that cannot be printed"))
	}
	return errors.Join(errs...)
}

func (r request) check(tokens map[string]token) error {
	errs := []error{field.Check(r), r.checkProof()}
	if _, known := tokens[r.Token]; r.Token != "" && !known {
		errs = append(errs, field.Errorf("token", "%q is not under tokens", r.Token))
	}
	if _, raw := r.Headers["authorization"]; raw && r.Token != "" {
		errs = append(errs, field.Errorf("token", "given together with the header authorization, want one of them"))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if strings.HasPrefix(name, ":") || name == "host" {
			errs = append(errs, field.Errorf("headers."+name, "is no header here: there are method, host and path"))
		}
	}
	return errors.Join(errs...)
}

// checkProof refuses what there is nothing to prove with.
func (r request) checkProof() error {
	switch _, raw := r.Headers["dpop"]; {
	case r.Proof == "":
	case r.Token == "":
		return field.Errorf("proof", "and no token: a proof goes with one")
	case raw:
		return field.Errorf("proof", "given together with the header dpop, want one of them")
	}
	return nil
}

func (w want) check(cfg *config.Config) error {
	errs := []error{w.checkReason(), textOrNull("headers", w.Headers), textOrNull("metadata", w.Metadata)}
	if w.Rule != nil && *w.Rule != "" && !slices.ContainsFunc(cfg.Authz.Rules, func(r authz.Rule) bool {
		return r.Name == *w.Rule
	}) {
		errs = append(errs, field.Errorf("rule", "%q is not a configured rule", *w.Rule))
	}
	return errors.Join(errs...)
}

func (w want) checkReason() error {
	if w.Reason == "" {
		return field.Errorf("reason", "missing: every case says the reason that it wants")
	}
	var known []string
	for _, r := range authz.Reasons() {
		if r.String() == w.Reason {
			return nil
		}
		known = append(known, r.String())
	}
	return field.Errorf("reason", "got %q, want one of %s", w.Reason, strings.Join(known, ", "))
}

func textOrNull(at string, values map[string]any) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch values[name].(type) {
		case string, nil:
		default:
			errs = append(errs, field.Errorf(at+"."+name,
				"want a string, in quotes where it looks like something else, or null"))
		}
	}
	return errors.Join(errs...)
}
