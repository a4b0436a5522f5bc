package policytest

import (
	"fmt"
	"strings"
	"testing"
)

// boundCases are what a client can do with a token that is bound to it, and what
// becomes of it.
const boundCases = `
tokens:
  bearer: {claims: {sub: alice, aud: api}}
  key: {claims: {sub: alice, aud: api}, bound: dpop}
  opaque: {kind: opaque, claims: {sub: alice, aud: api}, bound: dpop}
  certificate: {claims: {sub: alice, aud: api}, bound: mtls}
  both: {claims: {sub: alice, aud: api}, bound: [dpop, mtls]}
cases:
- {name: proved, request: {method: PUT, host: a.example.com, path: "/a/%7Eb?c=d", token: key}, want: {reason: allowed, headers: {dpop: null, authorization: null}}}
- {name: valid, request: {token: key, proof: valid}, want: {reason: allowed}}
- {name: opaque, request: {token: opaque}, want: {reason: allowed}}
- {name: no proof, request: {token: key, proof: none}, want: {reason: invalid_proof, status: 401, challenge: 'error="invalid_dpop_proof"'}}
- {name: as a bearer token, request: {token: key, proof: bearer}, want: {reason: wrong_binding, status: 401}}
- {name: replayed, request: {token: key, proof: replayed}, want: {reason: invalid_proof}}
- {name: of another method, request: {token: key, proof: wrong_method}, want: {reason: invalid_proof}}
- {name: of another path, request: {token: key, proof: wrong_path}, want: {reason: invalid_proof}}
- {name: expired, request: {token: key, proof: expired}, want: {reason: invalid_proof}}
- {name: by another key, request: {token: key, proof: other_key}, want: {reason: wrong_binding}}
- {name: raw, request: {token: key, headers: {DPoP: junk}}, want: {reason: invalid_proof}}
- {name: of an unbound token, request: {token: bearer, proof: valid}, want: {reason: wrong_binding}}
- {name: unbound, request: {token: bearer}, want: {reason: allowed}}
- {name: unbound where bound ones are wanted, request: {path: /bound, token: bearer}, want: {reason: wrong_binding, rule: bound}}
- {name: bound where bound ones are wanted, request: {path: /bound, token: certificate}, want: {reason: allowed, rule: bound}}
- {name: own certificate, request: {token: certificate}, want: {reason: allowed}}
- {name: another certificate, request: {token: certificate, client_certificate: other}, want: {reason: wrong_binding}}
- {name: no certificate, request: {token: certificate, client_certificate: none}, want: {reason: wrong_binding}}
- {name: both, request: {token: both}, want: {reason: allowed}}
- {name: only the proof, request: {token: both, client_certificate: none}, want: {reason: wrong_binding}}
- {name: only the certificate, request: {token: both, proof: none}, want: {reason: invalid_proof}}
- {name: nobody, request: {client_certificate: own}, want: {reason: no_token}}
`

func TestBoundTokens(t *testing.T) {
	const bound = "rules: [{name: bound, match: {paths: [/bound]}, token_binding: required}]\n"
	for name, sections := range map[string]string{
		"as Envoy tells":     "dpop: {}\nmtls: {}\n",
		"nonces":             "dpop: {nonce: required, nonce_key_file: /nowhere/key}\nmtls: {}\n",
		"origins":            "dpop: {origins: ['https://api.example.com:8443', 'https://b.example.com']}\nmtls: {}\n",
		"certificate header": "dpop: {}\nmtls: {client_certificate_header: Client-Cert}\n",
		"Ed25519":            "dpop: {algorithms: [Ed25519]}\nmtls: {}\n",
		"EdDSA":              "dpop: {algorithms: [EdDSA]}\nmtls: {}\n",
		"PS256":              "dpop: {algorithms: [PS256]}\nmtls: {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			policy := auth + client + "  token_validation: both\n" + bound + sections
			report := run(t, policy, boundCases)
			if !report.Passed {
				var out strings.Builder
				_ = report.Write(&out, Text)
				t.Error(out.String())
			}
		})
	}
}

// Where the time stands still, proofs are made at that time.
func TestProofsOfAnotherTime(t *testing.T) {
	if report := run(t, auth+client+"  token_validation: both\nrules: [{name: bound, match: {paths: [/bound]}, token_binding: required}]\n"+
		"dpop: {}\nmtls: {}\n", "now: 2001-02-03T04:05:06Z\n"+boundCases); !report.Passed {
		t.Errorf("got %v", decided(report))
	}
}

func TestNonces(t *testing.T) {
	report := run(t, auth+"dpop: {nonce: required}\n", `
tokens: {key: {claims: {aud: api}, bound: dpop}}
cases:
- {name: a, request: {token: key, proof: without_nonce}, want: {reason: use_nonce, status: 401, challenge: 'error="use_dpop_nonce"'}}
- {name: b, request: {token: key, proof: replayed}, want: {reason: invalid_proof}}
`)
	if !report.Passed {
		t.Errorf("got %v", decided(report))
	}
}

// What is off does not make a bound token a bearer token.
func TestBindingsThatAreOff(t *testing.T) {
	report := run(t, auth, `
tokens: {key: {claims: {aud: api}, bound: dpop}, certificate: {claims: {aud: api}, bound: mtls}}
cases:
- {name: a, request: {token: key}, want: {reason: no_token}}
- {name: b, request: {token: key, proof: bearer}, want: {reason: wrong_binding}}
- {name: c, request: {token: certificate}, want: {reason: wrong_binding}}
`)
	if !report.Passed {
		t.Errorf("got %v", decided(report))
	}
}

// The upstream's token says what was asked for.
func TestUpstreamTokens(t *testing.T) {
	policy := auth + client + `rules:
- {name: a, match: {paths: [/a]}, upstream_token: {audience: [orders, stock], scopes: [read, write]}}
- {name: b, match: {paths: [/b]}, upstream_token: {grant: client_credentials, header: x-upstream-token}}
- {name: c, match: {paths: [/c]}, upstream_token: {resource: ["https://orders.example.com"]}}
`
	report := run(t, policy, `
tokens: {alice: {claims: {aud: api}}, robot: {claims: {aud: api}, break: outage}}
cases:
- {name: a, request: {path: /a, token: alice}, want: {reason: allowed, headers: {authorization: "Bearer upstream-token:orders,stock,read,write", x-upstream-token: null}}}
- {name: b, request: {path: /b, token: alice}, want: {reason: allowed, headers: {authorization: null, x-upstream-token: upstream-token}}}
- {name: c, request: {path: /c, token: alice}, want: {reason: allowed, headers: {authorization: "Bearer upstream-token:https://orders.example.com"}}}
- {name: none, request: {path: /d, token: alice}, want: {reason: allowed, headers: {authorization: null, x-upstream-token: null}}}
`)
	if !report.Passed {
		var out strings.Builder
		_ = report.Write(&out, Text)
		t.Error(out.String())
	}
}

func TestMistakesOfProofs(t *testing.T) {
	for in, want := range map[string]string{
		"tokens: {x: {bound: tls}}\ncases: [{name: a, want: {reason: public}}]":                                        `tokens.x.bound`,
		"tokens: {x: {bound: dpop, claims: {cnf: {}}}}\ncases: [{name: a, want: {reason: public}}]":                    "tokens.x.bound: and claims say cnf",
		"cases: [{name: a, request: {proof: valid}, want: {reason: no_token}}]":                                        "request.proof: and no token",
		"tokens: {x: {}}\ncases: [{name: a, request: {token: x, proof: stale}, want: {reason: no_token}}]":             `request.proof: got "stale", want one of valid, none`,
		"cases: [{name: a, request: {client_certificate: theirs}, want: {reason: no_token}}]":                          `request.client_certificate: got "theirs"`,
		"tokens: {x: {}}\ncases: [{name: a, request: {token: x, proof: none, headers: {DPOP: x}}, want: {reason: x}}]": "together with the header dpop",
	} {
		_, err := Run(t.Context(), Options{
			Config: write(t, "bearergate.yaml", auth), Files: []string{write(t, "a_test.yaml", in)}, Lookup: none,
		})
		if err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s\ngot %v\nwant %s", in, err, want)
		}
	}
}

// The cases on the pages pass with the policy on the page.
func TestExamplesOfBoundTokens(t *testing.T) {
	policy := write(t, "bearergate.yaml", blockAt(t, "docs/bound-tokens.md", "yaml", "auth:\n"))
	passes(t, policy, write(t, "a_test.yaml", blockAt(t, "docs/testing-policies.md", "yaml", "tokens:\n  bound:")))
	passes(t, policy, write(t, "b_test.yaml", blockAt(t, "docs/bound-tokens.md", "yaml", "tokens: {payer:")))
}
