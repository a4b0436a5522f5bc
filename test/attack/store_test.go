package attack

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

const sharedRules = `rules:
  - {name: own, match: {paths: ["/own"]}, upstream_token: {audience: [upstream]}}
dpop: {}
revocation: {}
shared: {address: "$STORE", key_file: "$FILES/key", timeout: 1s}
`

// newFleet starts replicas whose answers are kept for that long.
func newFleet(t *testing.T, issuer *devissuer.Issuer, o harness.FleetOptions, ttl time.Duration) *harness.Fleet {
	t.Helper()
	config := strings.Replace(harness.Config(issuer.URL()), `"$ADMIN"}`, `"$ADMIN", admin_token_file: "$FILES/admin"}`, 1)
	o.Config = config + fmt.Sprintf("cache: {ttl: %s, negative_ttl: 200ms}\n", ttl) + sharedRules
	return harness.StartFleet(t, o)
}

// askAt sends a GET, and returns the reason.
func askAt(t *testing.T, client authv3.AuthorizationClient, path string, headers map[string]string) string {
	t.Helper()
	response, err := client.Check(t.Context(), harness.Check("GET", "api.example.com", path, headers, nil))
	if err != nil {
		return err.Error()
	}
	reason := harness.Reason(response)
	if harness.Allowed(response) != (reason == "allowed") {
		t.Errorf("got an answer that Envoy would misunderstand: %v", response)
	}
	return reason
}

func withBearer(token string) map[string]string {
	return map[string]string{"authorization": "Bearer " + token}
}

// spellings are ways to write a secret such that it could be found again.
func spellings(secret string) map[string][]byte {
	sum := sha256.Sum256([]byte(secret))
	all := map[string][]byte{
		"as it is":       []byte(secret),
		"in hex":         []byte(hex.EncodeToString([]byte(secret))),
		"SHA-256":        sum[:],
		"SHA-256 in hex": []byte(hex.EncodeToString(sum[:])),
		"SHA-256 base64": []byte(base64.RawURLEncoding.EncodeToString(sum[:])),
	}
	for shift := range 3 { // where base64 can begin within what is encoded
		cut := (3 - shift) % 3
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			piece := secret[cut:]
			piece = piece[:len(piece)/3*3]
			all[fmt.Sprintf("%s %d", name, shift)] = []byte(encoding.EncodeToString([]byte(piece)))
		}
	}
	return all
}

// found returns in which spelling a secret is in content; empty: it is not.
func found(content []byte, secret string) string {
	for name, spelling := range spellings(secret) {
		if len(spelling) >= 8 && bytes.Contains(content, spelling) {
			return name
		}
	}
	return ""
}

// TestStoreTellsNothing reads every byte that went to the store, and that it has
// written down, after a run with tokens of all kinds.
func TestStoreTellsNothing(t *testing.T) {
	store := harness.StartRedis(t)
	tap := harness.NewTap(t, store.Address)
	issuer := harness.Issuer(t)
	fleet := newFleet(t, issuer, harness.FleetOptions{Replicas: 2, Store: store, Through: tap.Address}, time.Minute)
	prover := devissuer.NewProver()
	secrets := map[string]string{"the client's secret": "s3cret", "the issuer": issuer.URL(), "the client": "client-of-a-secret-name"}
	secret := func(what string) string {
		secrets[what] = strings.ToLower(rand.Text())
		return secrets[what]
	}
	all := claims{
		"aud": "api", "sub": secret("sub"), "scope": "read " + secret("scope"), "client_id": secrets["the client"],
		"sid": secret("sid"), "jti": secret("jti"), "email": secret("email") + "@example.com", "tenant": secret("a claim"),
	}
	bound := claims{"cnf": devissuer.BoundToKey(prover.Thumbprint())}
	for name, value := range all {
		bound[name] = value
	}
	tokens := map[string]string{
		"JWT": issuer.JWT(all), "opaque token": issuer.Opaque("", all), "bound JWT": issuer.JWT(bound),
		"inactive token": "nobody-was-given-" + rand.Text(), "revoked token": issuer.Opaque("", all),
	}
	for what, token := range tokens {
		secrets[what] = token
		if head, rest, ok := strings.Cut(token, "."); ok {
			payload, signature, _ := strings.Cut(rest, ".")
			secrets[what+", payload"], secrets[what+", signature"] = payload, signature
			secrets[what+", signed"] = head + "." + payload
		}
	}
	secrets["the key's thumbprint"] = prover.Thumbprint()
	for _, r := range fleet.Replicas {
		client := r.Client(t)
		for _, what := range []string{"JWT", "opaque token"} {
			for _, path := range []string{"/", "/own"} {
				if got := askAt(t, client, path, withBearer(tokens[what])); got != "allowed" {
					t.Errorf("%s at %s: got %s", what, path, got)
				}
			}
		}
		if got := askAt(t, client, "/", withBearer(tokens["inactive token"])); got != "inactive" {
			t.Errorf("inactive token: got %s", got)
		}
		proof := prover.Proof("GET", "https://api.example.com/", tokens["bound JWT"], nil)
		got := askAt(t, client, "/", map[string]string{"authorization": "DPoP " + tokens["bound JWT"], "dpop": proof})
		if got != "allowed" {
			t.Errorf("with a proof: got %s", got)
		}
	}
	if calls := issuer.Calls(devissuer.PathToken); calls != 2 {
		t.Errorf("got %d exchanges, want one for each of two tokens: the store was not used", calls)
	}
	for _, r := range []map[string]any{
		{"token": tokens["revoked token"]}, {"sub": secrets["sub"]}, {"sid": secrets["sid"]},
		{"jti": secrets["jti"]}, {"client_id": secrets["the client"]},
	} {
		r["issuer"] = issuer.URL()
		if status, answer := fleet.Replicas[0].Revoke(t, r); status != 202 || answer["shared"] != true {
			t.Errorf("POST /revocations: got %d %v, want 202 and shared", status, answer)
		}
	}
	for what, token := range tokens { // of upstreams, too
		if state := issuer.State(token); state["active"] == true {
			continue
		} else if what != "inactive token" {
			t.Errorf("%s is not known to the issuer", what)
		}
	}
	keys := store.Keys(t)
	if len(keys) < 6 {
		t.Errorf("got %d keys in the store, want those of answers, exchanged tokens, proofs and revocations: %q", len(keys), keys)
	}
	written := store.Bytes(t)
	for what, content := range map[string][]byte{"the store": written, "what went to and fro": []byte(tap.String())} {
		if len(content) < 1000 {
			t.Errorf("%s: got %d bytes, want more", what, len(content))
		}
		for name, value := range secrets {
			if spelling := found(content, value); spelling != "" {
				t.Errorf("%s: got %s, %s", what, name, spelling)
			}
		}
		for _, name := range []string{"\"sub\"", "\"active\"", "access_token", "client_id", "scope\"", "upstream"} {
			if bytes.Contains(content, []byte(name)) {
				t.Errorf("%s: got the word %s", what, name)
			}
		}
	}
	// The search finds what is there.
	store.Do(t, "SET", "planted", "x"+base64.StdEncoding.EncodeToString([]byte("ab"+secrets["sub"])))
	if found(store.Bytes(t), secrets["sub"]) == "" {
		t.Error("a planted secret was not found")
	}
}

// entry is a key of the store with what it holds.
type entry struct{ key, value string }

func strs(t *testing.T, store *harness.Redis) []entry {
	t.Helper()
	var all []entry
	for _, key := range store.Keys(t) {
		if store.Do(t, "TYPE", key) != "string" {
			continue
		}
		if value, ok := store.Do(t, "GET", key).(string); ok {
			all = append(all, entry{key, value})
		}
	}
	return all
}

// TestStoreCanAllowNothing: whoever writes into the store, what he likes, gets nobody in.
func TestStoreCanAllowNothing(t *testing.T) {
	store := harness.StartRedis(t)
	issuer := harness.Issuer(t)
	const ttl = 2 * time.Second
	fleet := newFleet(t, issuer, harness.FleetOptions{Replicas: 2, Store: store}, ttl)
	first, second := fleet.Replicas[0].Client(t), fleet.Replicas[1].Client(t)
	good, bad := issuer.Opaque("", claims{"aud": "api"}), "nobody-was-given-"+rand.Text()
	if got := askAt(t, first, "/", withBearer(good)); got != "allowed" {
		t.Fatalf("got %s", got)
	}
	of := func(before []entry) entry { // the answer that was added
		for _, e := range strs(t, store) {
			old := false
			for _, b := range before {
				old = old || b.key == e.key
			}
			if !old && len(e.value) > 8 {
				return e
			}
		}
		t.Fatal("no answer was stored")
		return entry{}
	}
	before := strs(t, store)
	var allow entry
	for _, e := range before {
		if len(e.value) > len(allow.value) {
			allow = e
		}
	}
	if got := askAt(t, first, "/", withBearer(bad)); got != "inactive" {
		t.Fatalf("got %s", got)
	}
	deny := of(before)

	t.Run("swapped", func(t *testing.T) {
		store.Do(t, "SET", deny.key, allow.value, "PX", "60000")
		store.Do(t, "SET", allow.key, deny.value, "PX", "60000")
		if got := askAt(t, second, "/", withBearer(bad)); got != "inactive" {
			t.Errorf("a refusal with the value of an allow: got %s, want inactive", got)
		}
		if got := askAt(t, second, "/", withBearer(good)); got != "allowed" {
			t.Errorf("an allow with the value of a refusal: got %s, want allowed", got)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		for _, value := range []string{
			"", "1", "x", strings.Repeat("\x00", 64), strings.Repeat("A", 1<<20), allow.value, allow.value[1:], allow.value + "x",
			allow.value[:len(allow.value)-1], deny.value, `{"active":true,"aud":"api"}`, string(flip(allow.value)),
		} {
			for want, token := range map[string]string{
				"inactive": "nobody-was-given-" + rand.Text(), "allowed": issuer.Opaque("", claims{"aud": "api"}),
			} {
				if got := askAt(t, first, "/", withBearer(token)); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				for _, e := range strs(t, store) {
					store.Do(t, "SET", e.key, value, "PX", "60000")
				}
				if got := askAt(t, second, "/", withBearer(token)); got != want { // which has no answer of its own
					t.Errorf("%.20q: got %s, want %s", value, got, want)
				}
			}
		}
	})
	t.Run("of another type", func(t *testing.T) {
		for _, make := range [][]string{{"LPUSH", "x"}, {"HSET", "a", "b"}, {"SADD", "x"}} {
			for want, token := range map[string]string{
				"inactive": "nobody-was-given-" + rand.Text(), "allowed": issuer.Opaque("", claims{"aud": "api"}),
			} {
				if got := askAt(t, first, "/", withBearer(token)); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				for _, e := range strs(t, store) {
					store.Do(t, "DEL", e.key)
					store.Do(t, append([]string{make[0], e.key}, make[1:]...)...)
				}
				if got := askAt(t, second, "/", withBearer(token)); got != want {
					t.Errorf("%s: got %s, want %s", make[0], got, want)
				}
			}
		}
		store.Do(t, "FLUSHALL")
	})
	t.Run("old", func(t *testing.T) {
		token := issuer.Opaque("", claims{"aud": "api"})
		before := strs(t, store)
		if got := askAt(t, first, "/", withBearer(token)); got != "allowed" {
			t.Fatalf("got %s", got)
		}
		old := of(before)
		issuer.Revoke(token)
		for deadline := time.Now().Add(ttl + time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			store.Do(t, "SET", old.key, old.value)
		}
		for n, client := range []authv3.AuthorizationClient{first, second} {
			store.Do(t, "SET", old.key, old.value)
			if got := askAt(t, client, "/", withBearer(token)); got != "inactive" {
				t.Errorf("replica %d: an old answer put back: got %s, want inactive", n, got)
			}
		}
	})
	t.Run("of another fleet", func(t *testing.T) {
		token := "a-token-that-both-know-" + rand.Text()
		liar := harness.Issuer(t)
		stranger := harness.StartRedis(t)
		other := newFleet(t, liar, harness.FleetOptions{Replicas: 1, Store: stranger, Files: map[string]string{
			"key": "another key of a store that is as long as this",
		}}, time.Hour)
		liar.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 200, Body: `{"active":true,"aud":"api","token_type":"Bearer"}`})
		if got := askAt(t, other.Replicas[0].Client(t), "/", withBearer(token)); got != "allowed" {
			t.Fatalf("got %s", got)
		}
		if got := askAt(t, first, "/", withBearer(token)); got != "inactive" {
			t.Fatalf("got %s", got)
		}
		for _, e := range strs(t, stranger) {
			store.Do(t, "SET", e.key, e.value)
			for _, own := range strs(t, store) { // under every name there is
				store.Do(t, "SET", own.key, e.value)
			}
		}
		time.Sleep(300 * time.Millisecond) // as long as refusals are kept here
		for n, client := range []authv3.AuthorizationClient{first, second} {
			if got := askAt(t, client, "/", withBearer(token)); got != "inactive" {
				t.Errorf("replica %d: got %s, want inactive", n, got)
			}
		}
	})
	if n := fleet.Replicas[1].Metric(t, `bearergate_shared_requests_total{operation="get",result="unreadable"}`); n < 20 {
		t.Errorf("got %v answers counted that did not open, want at least 20", n)
	}
}

func flip(value string) []byte {
	changed := []byte(value)
	changed[len(changed)/2] ^= 1
	return changed
}

// TestStoreCannotTakeBack: what is revoked stays so, whatever is done to the log. Who
// makes it useless keeps replicas from telling each other, as he could by cutting the
// line: whoever revokes is told so, and they catch up.
func TestStoreCannotTakeBack(t *testing.T) {
	const stream = "bearergate:revocations"
	store := harness.StartRedis(t)
	issuer := harness.Issuer(t)
	fleet := newFleet(t, issuer, harness.FleetOptions{Replicas: 2, Store: store}, time.Minute)
	first, second := fleet.Replicas[0].Client(t), fleet.Replicas[1].Client(t)
	var revoked []string
	revoke := func(t *testing.T) (shared any) {
		t.Helper()
		sub := rand.Text()
		token := issuer.JWT(claims{"aud": "api", "sub": sub})
		if got := askAt(t, second, "/", withBearer(token)); got != "allowed" {
			t.Fatalf("got %s", got)
		}
		status, answer := fleet.Replicas[0].Revoke(t, map[string]any{"issuer": issuer.URL(), "sub": sub})
		if status != 202 {
			t.Fatalf("got %d %v", status, answer)
		}
		if got := askAt(t, first, "/", withBearer(token)); got != "revoked" {
			t.Errorf("where it was told: got %s, want revoked", got)
		}
		revoked = append(revoked, token)
		return answer["shared"]
	}
	hold := func(t *testing.T, known int) {
		t.Helper()
		for _, token := range revoked[:known] {
			if got := askAt(t, second, "/", withBearer(token)); got != "revoked" {
				t.Errorf("what was known before: got %s, want revoked", got)
			}
		}
		for _, token := range revoked {
			harness.Eventually(t, "the other replica refuses what is revoked", func() bool {
				return askAt(t, second, "/", withBearer(token)) == "revoked"
			})
		}
		if got := askAt(t, second, "/", withBearer(issuer.JWT(claims{"aud": "api"}))); got != "allowed" {
			t.Errorf("a good token: got %s", got)
		}
	}
	if shared := revoke(t); shared != true {
		t.Errorf("got shared %v, want true", shared)
	}
	hold(t, 0)
	for _, tc := range []struct {
		what   string
		attack [][]string
		mend   []string // nil: it mends itself
	}{
		{"garbage added", [][]string{{"XADD", stream, "*", "e", "garbage"}, {"XADD", stream, "*", "x", "", "e", ""}}, nil},
		{"trimmed", [][]string{{"XTRIM", stream, "MAXLEN", "0"}}, nil},
		{"deleted", [][]string{{"DEL", stream}}, nil},
		{"emptied", [][]string{{"FLUSHALL"}}, nil},
		{"an ID from the far future", [][]string{{"XADD", stream, "18446744073709551615-1", "e", "x"}}, nil},
		{"the last ID there is", [][]string{{"XADD", stream, "18446744073709551615-18446744073709551615", "e", "x"}}, []string{"DEL", stream}},
		{"replaced by a string", [][]string{{"SET", stream, "x"}}, []string{"DEL", stream}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			known := len(revoked)
			for _, c := range tc.attack {
				store.Do(t, c...)
			}
			shared := revoke(t)
			if tc.mend != nil {
				if shared != false {
					t.Errorf("got shared %v, want false", shared)
				}
				for _, token := range revoked[:known] {
					if got := askAt(t, second, "/", withBearer(token)); got != "revoked" {
						t.Errorf("what was known before: got %s, want revoked", got)
					}
				}
				store.Do(t, tc.mend...)
			}
			hold(t, known)
		})
	}
}
