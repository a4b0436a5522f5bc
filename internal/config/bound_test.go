package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSectionsSwitchOn by being there, empty or not, in each format.
func TestSectionsSwitchOn(t *testing.T) {
	const auth = "auth: {issuer: https://a.example.com, audience: a}\n"
	for content, want := range map[string][2]bool{
		"": {}, "dpop: {}\n": {true, false}, "mtls: {}\n": {false, true}, "dpop: {max_age: 5s}\nmtls: {}\n": {true, true},
	} {
		c, err := load(t, "a.yaml", auth+content)
		if err != nil {
			t.Fatalf("%s: %v", content, err)
		}
		if got := [2]bool{c.Authz.DPoP != nil, c.Authz.MTLS != nil}; got != want {
			t.Errorf("%q: got %v, want %v", content, got, want)
		}
		if c.Authz.DPoP != nil && (len(c.Authz.DPoP.Algorithms) != 7 || c.Authz.DPoP.ReplayEntries != 1_000_000) {
			t.Errorf("%q: got %+v, want the defaults", content, c.Authz.DPoP)
		}
	}
}

func TestMistakesInBinding(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"token_binding: dpop}\n":                                               "auth.token_binding: is dpop, and there is no section dpop",
		"token_binding: mtls}\ndpop: {}\n":                                     "auth.token_binding: is mtls",
		"token_binding: none}\n":                                               "auth.token_binding: got",
		"}\ndpop: {max_age: 11m}\n":                                            "dpop.max_age: got",
		"}\ndpop: {replay_entries: 999}\n":                                     "dpop.replay_entries: got",
		"}\ndpop: {origins: ['ftp://a']}\n":                                    "dpop.origins[0]: ",
		"}\ndpop: {nonce_key_file: /none}\n":                                   "dpop.nonce_key_file: ",
		"}\ndpop: {nonce_key_file: " + short + "}\n":                           "dpop.nonce_key_file: ",
		"}\nmtls: {client_certificate_header: host}\n":                         "mtls.client_certificate_header: ",
		"}\nmtls: {client_certificate_header: x-auth-sub}\n":                   "mtls.client_certificate_header: is headers.x-auth-sub too",
		"}\ndpop: {}\nrules: [{name: r, token_binding: mtls}]\n":               "rules[0].token_binding: is mtls",
		"}\ndpop: {}\nrules: [{name: r, access: deny, token_binding: dpop}]\n": "rules[0].token_binding: is never looked at",
		"}\ndpop:\n": "dpop",
		"}\ndpop: {nonce_key_file: /none, max_age: 11m}\n": "dpop.nonce_key_file: ", // all at once
	} {
		_, err := load(t, "a.yaml", "auth: {issuer: https://a.example.com, audience: a, "+content)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
	c, err := load(t, "a.yaml", "auth: {issuer: https://a.example.com, audience: a}\nmtls: {client_certificate_header: Client-Cert}\n")
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "mtls.client_certificate_header: whoever sends Client-Cert") {
		t.Errorf("got warnings %q", w)
	}
}
