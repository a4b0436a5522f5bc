package policytest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/strictfile"
)

const auth = `
auth:
  issuer: https://auth.example.com
  audience: api
`

const client = "  client_id: gate\n  client_secret: ${NOT_ON_THIS_MACHINE}\n"

func none(string) (string, bool) { return "", false }

// run runs the cases of one file against a configuration.
func run(t *testing.T, policy, cases string) *Report {
	t.Helper()
	report, err := Run(t.Context(), Options{
		Config: write(t, "bearergate.yaml", policy), Files: []string{write(t, "a_test.yaml", cases)}, Lookup: none,
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// decided returns the reasons of the cases by their names.
func decided(r *Report) map[string]string {
	reasons := map[string]string{}
	for _, c := range r.Files[0].Cases {
		reasons[c.Name] = c.Reason
	}
	return reasons
}

// Every way to break a token leads to the reason that it has in production.
func TestBrokenTokens(t *testing.T) {
	for strategy, want := range map[string]map[string]string{
		"jwt": {
			"jwt": "allowed", "jwt signature": "bad_signature", "jwt alg_none": "unsupported_algorithm",
			"jwt unknown_key": "unknown_key", "jwt expired": "expired", "jwt outage": "unavailable",
			"jwt revoked": "revoked",
			"opaque":      "malformed_token", "opaque expired": "malformed_token", "opaque outage": "malformed_token",
		},
		"both": {
			"jwt": "allowed", "jwt signature": "bad_signature", "jwt alg_none": "unsupported_algorithm",
			"jwt unknown_key": "unknown_key", "jwt expired": "expired", "jwt outage": "unavailable",
			"jwt revoked": "revoked", "opaque revoked": "revoked",
			"opaque": "allowed", "opaque expired": "inactive", "opaque inactive": "inactive", "opaque outage": "unavailable",
		},
		// The server does not vouch for what it did not issue.
		"introspection": {
			"jwt": "allowed", "jwt signature": "inactive", "jwt alg_none": "inactive", "jwt unknown_key": "inactive",
			"jwt expired": "inactive", "jwt inactive": "inactive", "jwt outage": "unavailable",
			"jwt revoked": "revoked", "opaque revoked": "revoked",
			"opaque": "allowed", "opaque expired": "inactive", "opaque inactive": "inactive", "opaque outage": "unavailable",
		},
	} {
		t.Run(strategy, func(t *testing.T) {
			var tokens, cases strings.Builder
			for name := range want {
				kind, broken, _ := strings.Cut(name, " ")
				fmt.Fprintf(&tokens, "  %q: {kind: %s, break: %q, claims: {aud: api}}\n", name, kind, broken)
				fmt.Fprintf(&cases, "- {name: %q, request: {token: %q}, want: {reason: allowed}}\n", name, name)
			}
			report := run(t, auth+client+"  token_validation: "+strategy, "tokens:\n"+tokens.String()+"cases:\n"+cases.String())
			if diff := cmp.Diff(want, decided(report)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A configuration tells what keys its issuer must have.
func TestEveryAlgorithm(t *testing.T) {
	for _, algorithm := range []string{
		"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "RS256", "PS384", "RS384", "PS512", "RS512",
	} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			report := run(t, auth+client+"  token_validation: both\n  introspection_response: jwt\n  algorithms: ["+algorithm+"]", `
tokens:
  jwt: {claims: {aud: api}}
  opaque: {kind: opaque, claims: {aud: api}}
  forged: {claims: {aud: api}, break: signature}
cases:
- {name: jwt, request: {token: jwt}, want: {reason: allowed}}
- {name: opaque, request: {token: opaque}, want: {reason: allowed}}
- {name: forged, request: {token: forged}, want: {reason: bad_signature}}
`)
			if !report.Passed {
				t.Errorf("got %v", decided(report))
			}
		})
	}
}

// A policy is tested where there are no secrets, keys and certificates, and they
// decide nothing: each way to authenticate at the issuer leads to the same.
func TestNothingOfTheMachineIsNeeded(t *testing.T) {
	for name, method := range map[string]string{
		"secret":      "client_secret: ${UNSET}",
		"secret file": "client_secret_file: ${CREDENTIALS_DIRECTORY}/secret",
		"post":        "client_auth_method: client_secret_post\n  client_secret: a${UNSET}b",
		"assertion":   "client_auth_method: private_key_jwt\n  client_key_file: /nowhere/key.pem",
		"certificate": "client_auth_method: tls_client_auth\n  client_key_file: /nowhere/key.pem\n  client_cert_file: /nowhere/crt.pem",
		"bearer":      "client_auth_method: bearer\n  client_secret: ${UNSET}\n  ca_file: /nowhere/ca.pem",
		"none":        "client_auth_method: none",
	} {
		t.Run(name, func(t *testing.T) {
			policy := "server: {tls: {cert_file: /nowhere/a, key_file: '${UNSET}/b', client_ca_file: /nowhere/c}}" + auth +
				"  token_validation: both\n  client_id: gate\n  " + method
			report := run(t, policy, `
tokens: {robot: {kind: opaque, claims: {aud: api}}}
cases: [{name: robot, request: {token: robot}, want: {reason: allowed}}]
`)
			if !report.Passed {
				t.Errorf("got %v", decided(report))
			}
		})
	}
}

// What decides is not guessed: a variable in any other key has to be set.
func TestVariablesOfThePolicyAreNeeded(t *testing.T) {
	_, err := Run(t.Context(), Options{Config: write(t, "bearergate.yaml", "auth: {issuer: '${ISSUER}', audience: api}"), Lookup: none})
	if err == nil || !strings.Contains(err.Error(), `auth.issuer: environment variable "ISSUER" is not set`) {
		t.Errorf("got %v", err)
	}
}

// Whatever URLs are configured, nobody is connected to.
func TestNoNetwork(t *testing.T) {
	var connected atomic.Int32
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			connected.Add(1)
			_ = conn.Close()
		}
	}()
	at := "http://" + lis.Addr().String()
	for name, endpoints := range map[string]string{
		"discovery":     "",
		"metadata":      "metadata_url: " + at + "/elsewhere",
		"introspection": "jwks_uri: " + at + "/keys, introspection_endpoint: " + at + "/ask",
	} {
		t.Run(name, func(t *testing.T) {
			policy := "auth: {issuer: '" + at + "', audience: api, insecure_http: true, token_validation: both, " +
				"client_auth_method: bearer, client_id: a, client_secret: b, token_endpoint: '" + at + "/token', " + endpoints + "}"
			report := run(t, policy, `
tokens:
  jwt: {claims: {aud: api}}
  opaque: {kind: opaque, claims: {aud: api}}
  outage: {kind: opaque, claims: {aud: api}, break: outage}
cases:
- {name: jwt, request: {token: jwt}, want: {reason: allowed}}
- {name: opaque, request: {token: opaque}, want: {reason: allowed}}
- {name: outage, request: {token: outage}, want: {reason: unavailable}}
`)
			if !report.Passed {
				t.Errorf("got %v", decided(report))
			}
		})
	}
	if n := connected.Load(); n != 0 {
		t.Errorf("somebody connected %d times", n)
	}
}

// The keys of the machine that serves are not where policies are tested, and need not
// be: an issuer of them may be no URL.
func TestKeysInAFile(t *testing.T) {
	for _, issuer := range []string{"kubernetes/serviceaccount", "https://as.example.com"} {
		report := run(t, "auth: {issuer: '"+issuer+"', audience: api, jwks_file: /nowhere/keys.json}", `
tokens:
  good: {claims: {aud: api}}
  forged: {claims: {aud: api}, break: signature}
  outage: {claims: {aud: api}, break: outage}
cases:
- {name: good, request: {token: good}, want: {reason: allowed}}
- {name: outage, request: {token: outage}, want: {reason: allowed}}
- {name: forged, request: {token: forged}, want: {reason: bad_signature}}
`)
		if !report.Passed {
			t.Errorf("%s: got %v", issuer, decided(report))
		}
	}
}

// One moment is the time of issuers, tokens, max_age and all else.
func TestNow(t *testing.T) {
	for _, now := range []string{"2001-02-03T04:05:06Z", "2099-12-31T23:59:59+02:00"} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		ago := func(d time.Duration) int64 { return at.Add(-d).Unix() }
		report := run(t, auth+"rules: [{name: fresh, match: {paths: [/fresh]}, max_age: 1h}]", fmt.Sprintf(`
now: %s
tokens:
  new: {claims: {aud: api, auth_time: %d}}
  old: {claims: {aud: api, auth_time: %d, exp: %d}}
  expired: {claims: {aud: api, exp: %d}}
  early: {claims: {aud: api, nbf: %d}}
cases:
- {name: new, request: {path: /fresh, token: new}, want: {reason: allowed}}
- {name: old, request: {path: /fresh, token: old}, want: {reason: insufficient_user_authentication}}
- {name: expired, request: {token: expired}, want: {reason: expired}}
- {name: early, request: {token: early}, want: {reason: not_yet_valid}}
`, now, ago(59*time.Minute), ago(61*time.Minute), ago(-time.Hour), ago(time.Minute), ago(-time.Minute)))
		if !report.Passed {
			t.Errorf("%s: got %v", now, decided(report))
		}
	}
}

// An outage is felt by its own cases only, however many there are, and by the other
// issuers not at all.
func TestCasesDoNotDependOnEachOther(t *testing.T) {
	policy := `
issuers:
- {issuer: https://a.example.com, audience: api, token_validation: both, client_auth_method: none, opaque_token_prefix: a_}
- {issuer: https://b.example.com, audience: api, token_validation: both, client_auth_method: none, opaque_token_prefix: b_}
rules:
- {name: only-b, match: {paths: [/b]}, issuers: [https://b.example.com]}
`
	var cases strings.Builder
	for n := range 40 {
		fmt.Fprintf(&cases, "- {name: down %d, request: {token: down}, want: {reason: unavailable}}\n", n)
		fmt.Fprintf(&cases, "- {name: up %d, request: {token: up}, want: {reason: allowed, metadata: {iss: 'https://a.example.com'}}}\n", n)
		fmt.Fprintf(&cases, "- {name: b %d, request: {path: /b, token: b}, want: {reason: allowed}}\n", n)
		fmt.Fprintf(&cases, "- {name: not b %d, request: {path: /b, token: up}, want: {reason: wrong_issuer}}\n", n)
	}
	report := run(t, policy, `
tokens:
  down: {issuer: https://a.example.com, kind: opaque, claims: {aud: api}, break: outage}
  up: {issuer: https://a.example.com, kind: opaque, claims: {aud: api}}
  b: {issuer: https://b.example.com, kind: opaque, claims: {aud: api}}
cases:
`+cases.String())
	if !report.Passed {
		t.Errorf("got %v", decided(report))
	}
}

// An honest server calls no token active whose exp has passed (RFC 7662 §2.2).
func TestExpiredIsInactiveToIntrospection(t *testing.T) {
	report := run(t, auth+client+"  token_validation: introspection", `
tokens: {old: {kind: opaque, claims: {aud: api, exp: 1}}, forever: {kind: opaque, claims: {aud: api, exp: null}}}
cases:
- {name: old, request: {token: old}, want: {reason: inactive}}
- {name: forever, request: {token: forever}, want: {reason: allowed}}
`)
	if !report.Passed {
		t.Errorf("got %v", decided(report))
	}
}

func TestDifferences(t *testing.T) {
	policy := "headers: {x-auth-sub: sub, x-auth-tenant: tenant}" + auth + "rules: [{name: admin, match: {paths: [/admin]}, scopes: [admin]}]"
	for name, tc := range map[string]struct {
		request, want string
		differences   []Difference
	}{
		"as wanted": {
			"token: alice, path: /x, headers: {X-Auth-Tenant: evil}",
			"reason: allowed, rule: '', status: 200, headers: {X-Auth-Sub: alice, x-auth-tenant: null, x_auth_sub: null}, " +
				"metadata: {sub: alice, client_id: null}",
			nil,
		},
		"reason": {"token: alice, path: /admin", "reason: allowed", []Difference{{"reason", "insufficient_scope", "allowed"}}},
		"rule":   {"token: alice, path: /admin", "reason: insufficient_scope, rule: ''", []Difference{{"rule", "admin", "none"}}},
		"no rule": {
			"token: alice", "reason: allowed, rule: admin", []Difference{{"rule", "none", "admin"}},
		},
		"status": {"path: /", "reason: no_token, status: 403", []Difference{{"status", "401", "403"}}},
		"value":  {"token: alice", "reason: allowed, headers: {x-auth-sub: bob}", []Difference{{"header x-auth-sub", `"alice"`, `"bob"`}}},
		"a value that looks like none": {
			"token: alice", "reason: allowed, headers: {x-auth-tenant: removed}", []Difference{{"header x-auth-tenant", "removed", `"removed"`}},
		},
		"not removed": {
			"token: alice", "reason: allowed, headers: {x-auth-sub: null, x-other: null}",
			[]Difference{{"header x-auth-sub", `"alice"`, "removed"}, {"header x-other", "left as the client sent it", "removed"}},
		},
		"header of a refusal": {
			"path: /", "reason: no_token, headers: {content-type: text/plain, www-authenticate: null, x-auth-sub: null}",
			[]Difference{
				{"header content-type", `"application/json"`, `"text/plain"`},
				{"header www-authenticate", `"Bearer realm=\"bearergate\""`, "none"},
			},
		},
		"challenge": {
			"path: /", "reason: no_token, challenge: invalid_token",
			[]Difference{{"challenge", `Bearer realm="bearergate"`, "one with invalid_token"}},
		},
		"no challenge": {
			"token: alice", "reason: allowed, challenge: Bearer", []Difference{{"challenge", "none", "one with Bearer"}},
		},
		"metadata": {
			"token: alice", "reason: allowed, metadata: {sub: bob, iss: null, client_id: ''}",
			[]Difference{
				{"metadata client_id", "none", `""`}, {"metadata iss", `"https://auth.example.com"`, "none"},
				{"metadata sub", `"alice"`, `"bob"`},
			},
		},
		"raw credentials": {
			"headers: {Authorization: 'Basic YTpi'}", "reason: allowed", []Difference{{"reason", "no_token", "allowed"}},
		},
		"what the route says": {
			"token: alice, context_extensions: {bearergate.scopse: a}", "reason: allowed", []Difference{{"reason", "misconfigured", "allowed"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			report := run(t, policy, "tokens: {alice: {claims: {sub: alice, aud: api}}}\ncases: [{name: a, request: {"+tc.request+"}, want: {"+tc.want+"}}]")
			got := report.Files[0].Cases[0]
			if diff := cmp.Diff(append([]Difference{}, tc.differences...), got.Differences); diff != "" {
				t.Error(diff)
			}
			if failed := len(tc.differences) > 0; got.Passed == failed || report.Passed == failed || (len(got.Steps) > 0) != failed {
				t.Errorf("got passed %t and %t, %d steps", got.Passed, report.Passed, len(got.Steps))
			}
		})
	}
}

func TestCoverage(t *testing.T) {
	policy := auth + "rules:\n- {name: a, match: {paths: [/a]}, access: public}\n- {name: b, match: {paths: [/b]}}\n- {name: c}\n"
	cases := "cases:\n- {name: one, request: {path: /a}, want: {reason: public}}\n" +
		"- {name: two, request: {context_extensions: {bearergate.rule: c}}, want: {reason: no_token}}\n"
	report := run(t, policy, cases)
	if diff := cmp.Diff([]string{"b"}, report.Unreached); diff != "" || !report.Passed {
		t.Errorf("passed %t, %s", report.Passed, diff)
	}
	if report.RequireCoverage(); report.Passed {
		t.Error("passed, although rule b is not reached")
	}
	report, err := Run(t.Context(), Options{
		Config: write(t, "bearergate.yaml", policy), Files: []string{write(t, "a_test.yaml", cases)},
		Lookup: none, Match: regexp.MustCompile("^tw"),
	})
	if err != nil || report.Total != 1 || report.Unreached != nil {
		t.Errorf("got %+v and %v, want one case, and nothing said of rules", report, err)
	}
}

func TestMistakes(t *testing.T) {
	policy := auth + "  token_validation: both\n" + client + "rules: [{name: orders}]\n"
	cfg, err := config.ParsePolicy("bearergate.yaml", []byte(policy), none)
	if err != nil {
		t.Fatal(err)
	}
	const good = "cases: [{name: a, want: {reason: allowed}}]\n"
	for content, want := range map[string]string{
		"nope: 1\n" + good:                    "a_test.yaml:1:1: nope: unknown key",
		"token: {}\n" + good:                  "did you mean tokens?",
		"":                                    "cases: missing: a file without cases tests nothing",
		"cases: []\n":                         "a_test.yaml:1:1: cases: missing",
		"cases:\n- {want: {reason: allowed}}": "a_test.yaml:2:3: cases[0].name: missing",
		"cases:\n- {name: a}":                 "a_test.yaml:2:3: cases[0].want.reason: missing",
		"cases:\n- {name: \"a\\e[31m\", want: {reason: allowed}}":                                                        "cases[0].name: has characters",
		"cases:\n- {name: a, want: {reason: denied}}":                                                                    `a_test.yaml:2:20: cases[0].want.reason: got "denied", want one of internal, allowed`,
		good + "tokens: {x: {kind: saml}}":                                                                               `tokens.x.kind: got "saml", want one of jwt, opaque`,
		good + "tokens: {x: {break: heart}}":                                                                             `tokens.x.break: got "heart", want one of signature`,
		good + "tokens: {x: {issuer: https://a}}":                                                                        `a_test.yaml:2:14: tokens.x.issuer: "https://a" is not a configured issuer`,
		good + "tokens: {x: {break: inactive}}":                                                                          "inactive: with token_validation both nobody is asked",
		good + "tokens: {x: {kind: opaque, break: signature}}":                                                           "an opaque token has no signature",
		good + "tokens: {x: {break: expired, claims: {exp: 1}}}":                                                         "and claims say exp",
		good + "tokens: {x: {claims: {exp: .inf}}}":                                                                      "tokens.x.claims.exp: got a number that JSON cannot say",
		good + "tokens: {x: {claims: {at: 2026-11-24}}}":                                                                 "tokens.x.claims.at: got something else, want a string in quotes",
		good + "tokens: {x: {claims: {at: '${UNSET}'}}}":                                                                 `environment variable "UNSET" is not set`,
		good + "now: yesterday":                                                                                          `now: got "yesterday", want a time like`,
		good + "now: 2026-11-24":                                                                                         `now: got "2026-11-24", want a time like`,
		good + "now: 5":                                                                                                  "now: got a number, want a time like",
		"cases: [{name: a, request: {token: x}, want: {reason: allowed}}]":                                               `cases[0].request.token: "x" is not under tokens`,
		"cases: [{name: a, request: {headers: {Host: x}}, want: {reason: x}}]":                                           "request.headers.host: is no header here",
		"cases: [{name: a, request: {body: x}, want: {reason: allowed}}]":                                                "request.body: unknown key",
		"cases: [{name: a, want: {reason: allowed, rule: order}}]":                                                       `want.rule: "order" is not a configured rule`,
		"cases: [{name: a, want: {reason: allowed, status: '200'}}]":                                                     "want.status: got a string, want a number",
		"cases: [{name: a, want: {reason: allowed, headers: {x: 1}}}]":                                                   "want.headers.x: want a string, in quotes",
		"cases: [{name: a, want: {reason: allowed, metadata: {x: [a]}}}]":                                                "want.metadata.x: want a string, in quotes",
		"cases: [{name: a, want: {reason: public}}, {name: a, want: {reason: public}}]":                                  `cases[1].name: "a" is the name of another case too`,
		"tokens: {x: {}}\ncases: [{name: a, request: {token: x, headers: {AUTHORIZATION: x}}, want: {reason: allowed}}]": "given together with the header authorization",
		"cases: [a": "a_test.yaml:1:",
	} {
		_, err := parse("a_test.yaml", []byte(content), none, cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v\nwant %s", content, err, want)
		}
	}
}

// Who stops the run gets no report of outages that there were not.
func TestStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := Run(ctx, Options{
		Config: write(t, "bearergate.yaml", auth), Lookup: none,
		Files: []string{write(t, "a_test.yaml", "cases: [{name: a, want: {reason: no_token}}]")},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was stopped", err)
	}
}

// All mistakes of all files are told at once.
func TestMistakesOfSeveralFiles(t *testing.T) {
	policy := write(t, "bearergate.yaml", auth)
	one, two := write(t, "one_test.yaml", "nope: 1"), write(t, "two_test.json", `{"cases": [{}]}`)
	_, err := Run(t.Context(), Options{Config: policy, Files: []string{one, two, one, "none.yaml"}, Lookup: none})
	for _, want := range []string{
		one + ":1:1: nope", two + ":1:12: cases[0].name: missing", one + ": named twice", "none.yaml: no such file",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// The three formats say the same.
func TestFormatsOfFiles(t *testing.T) {
	policy := write(t, "bearergate.yaml", auth+"rules: [{name: a, match: {paths: [/a]}, "+
		"when: 'claims.level == 3 && claims.share == 0.5 && claims.roles[0] == \"x\" && claims.deep.ok'}]")
	for name, content := range map[string]string{
		"a.yaml": "now: 2026-11-24T12:00:00Z\ntokens: {t: {claims: {aud: api, level: 0x3, share: 5e-1, roles: [x], deep: {ok: true}, iat: null}}}\n" +
			"cases: [{name: a, request: {path: /a, token: t}, want: {reason: allowed, metadata: {sub: null}}}]\n",
		"a.toml": "now = 2026-11-24T12:00:00Z\n[tokens.t.claims]\naud = 'api'\nlevel = 3\nshare = 0.5\nroles = ['x']\ndeep = {ok = true}\n" +
			"[[cases]]\nname = 'a'\nrequest = {path = '/a', token = 't'}\nwant = {reason = 'allowed'}\n",
		"a.json": `{"now": "2026-11-24T12:00:00Z", "tokens": {"t": {"claims": {"aud": "api", "level": 3, "share": 0.5, "roles": ["x"], "deep": {"ok": true}}}},
			"cases": [{"name": "a", "request": {"path": "/a", "token": "t"}, "want": {"reason": "allowed", "headers": {"x-auth-sub": null}}}]}`,
	} {
		report, err := Run(t.Context(), Options{Config: policy, Files: []string{write(t, name, content)}, Lookup: none})
		if err != nil || !report.Passed {
			t.Errorf("%s: got %+v and %v", name, report, err)
		}
	}
}

// The limit is one of CPU time: machines that run tests have other work, too.
func TestThousandCases(t *testing.T) {
	var cases strings.Builder
	for n := range 1000 {
		token := []string{"jwt", "opaque"}[n%2]
		fmt.Fprintf(&cases, "- name: case %d\n  request: {method: GET, host: api.example.com, path: /orders/%d, token: %s}\n"+
			"  want: {reason: allowed, rule: rule%d, headers: {x-auth-sub: alice, authorization: null}}\n", n, n%100, token, n%100)
	}
	var rules strings.Builder
	for n := range 100 {
		fmt.Fprintf(&rules, "- {name: rule%d, match: {paths: [/orders/%d]}, scopes: [read]}\n", n, n)
	}
	before := used(t)
	report := run(t, auth+client+"  token_validation: both\nrules:\n"+rules.String(), `
tokens:
  jwt: {claims: {sub: alice, aud: api, scope: read}}
  opaque: {kind: opaque, claims: {sub: alice, aud: api, scope: read}}
cases:
`+cases.String())
	took := used(t) - before
	t.Logf("%v of CPU", took)
	if report.Total != 1000 || !report.Passed || len(report.Unreached) > 0 {
		t.Errorf("got %d cases, %d failed, unreached %q", report.Total, report.Failed, report.Unreached)
	}
	if took > 3*time.Second*slowdown {
		t.Errorf("took %v of CPU, want less than 3s", took)
	}
}

func used(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// The parser never fails in another way than by mistakes that say where.
func FuzzParse(f *testing.F) {
	cfg, err := config.ParsePolicy("a.yaml", []byte(auth), none)
	if err != nil {
		f.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "*_test.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("a.yaml", content)
	}
	f.Add("a.json", []byte(`{"tokens": {"x": {"claims": {"a": [1e9, null, {"b": 0.5}]}}}, "cases": [{"name": "a", "want": {"reason": "public"}}]}`))
	f.Add("a.toml", []byte("now = 2026-11-24T12:00:00Z\n[[cases]]\nname = 'a'\n[cases.want]\nreason = 'public'\n"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		s, err := parse(name, content, none, cfg)
		if (s == nil) == (err == nil) {
			t.Fatalf("got %v and %v", s, err)
		}
		for _, e := range field.List(err) {
			if m := new(strictfile.Mistake); errors.As(e, &m) && (m.Line < 1 || m.Column < 1) {
				t.Errorf("%v stands nowhere", e)
			}
		}
		if err != nil {
			return
		}
		for n, c := range s.Cases {
			if c.Name == "" || s.lines[n] < 1 {
				t.Errorf("case %d: got name %q, line %d", n, c.Name, s.lines[n])
			}
		}
		w, err := newWorld(cfg, s)
		if err != nil {
			t.Fatal(err)
		}
		w.close()
	})
}

// What a test file may want is what there is.
func TestReasonsAreKnown(t *testing.T) {
	for _, r := range authz.Reasons() {
		if err := (want{Reason: r.String()}).checkReason(); err != nil {
			t.Error(err)
		}
	}
}
