package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFleetMistakes: what belongs together is there together, and names what is.
func TestFleetMistakes(t *testing.T) {
	short := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(short, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	const client = ", client_id: c, client_secret: s"
	event := func(more string) string {
		return "revocation: {events: [{transmitter: https://a.example.com, issuer: https://a.example.com, audience: gate" +
			more + "}]}\n"
	}
	for name, tc := range map[string]struct{ auth, more, want string }{
		"push without a receiver":   {"", event(""), "revocation.receiver_address: missing"},
		"logout without a receiver": {client, "revocation: {backchannel_logout: [https://a.example.com]}\n", "receiver_address: missing"},
		"logout without a client_id": {
			"", "revocation: {receiver_address: ':9195', backchannel_logout: [https://a.example.com]}\n", "needs a client_id",
		},
		"logout of a stranger": {
			"", "revocation: {receiver_address: ':9195', backchannel_logout: [https://b.example.com]}\n", "is not a configured issuer",
		},
		"events of a stranger": {
			"", "revocation: {receiver_address: ':9195', events: [{transmitter: https://a.example.com, " +
				"issuer: https://b.example.com, audience: gate}]}\n", "is not a configured issuer",
		},
		"poll without an endpoint": {"", event(", delivery: poll"), "poll_endpoint: missing"},
		"no token file":            {"", event(", delivery: poll, poll_endpoint: 'https://a.example.com/p', poll_token_file: /nowhere"), "revocation.events[0]: open /nowhere"},
		"the receiver on the admin address": {
			"", "revocation: {receiver_address: '127.0.0.1:9192'}\n", "revocation.receiver_address: is server.admin_address too",
		},
		"forgets too soon":     {"", "revocation: {keep: 999ms}\n", "revocation.keep: got "},
		"recheck unasked":      {", recheck_interval: 1m", "", "client_id: missing"},
		"recheck, opaque":      {", recheck_interval: 1m, token_validation: introspection" + client, "", "recheck_interval: given with token_validation introspection"},
		"a short key":          {"", "shared: {address: 'redis://a', key_file: " + short + "}\n", "shared.key_file: "},
		"no key":               {"", "shared: {address: 'redis://a'}\n", "shared.key_file"},
		"a store of no kind":   {"", "shared: {address: 'http://a', key_file: " + short + "}\n", "shared.address"},
		"recheck as it can be": {", recheck_interval: 1m" + client, "", ""},
		"poll needs no receiver": {
			"", event(", delivery: poll, poll_endpoint: 'https://a.example.com/p'"), "",
		},
	} {
		_, err := load(t, "a.yaml", "auth: {issuer: https://a.example.com, audience: a"+tc.auth+"}\n"+tc.more)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

// TestWhatRecheckNeeds: the endpoint is looked for, and JWTs are decided without.
func TestWhatRecheckNeeds(t *testing.T) {
	c, err := load(t, "a.yaml",
		"auth: {issuer: https://a.example.com, audience: a, recheck_interval: 1m, client_id: c, client_secret: s}\n")
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Issuers[0].Discovery; !d.WantIntrospection || d.NeedIntrospection || !d.NeedKeys {
		t.Errorf("got %+v", d)
	}
}
