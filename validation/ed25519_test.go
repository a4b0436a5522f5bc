package validation_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/validation"
)

// fileOf has the keys of an issuer in a file, each a JWK as it is written.
func fileOf(t *testing.T, keys ...string) *discovery.Issuer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(`{"keys":[`+strings.Join(keys, ",")+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	issuer, err := discovery.New(discovery.Config{
		Issuer: testIssuer, NeedKeys: true, JWKSFile: path, RequestTimeout: time.Second,
		Intervals: discovery.Intervals{RefreshInterval: time.Hour, MinRefreshInterval: time.Minute, MaxStale: time.Hour},
	}, discovery.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// edKey is the public key of what signs as Ed25519; more are members beside it.
func edKey(more string) string {
	public, _ := signers()["Ed25519"].Public().(ed25519.PublicKey)
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q%s}`, base64.RawURLEncoding.EncodeToString(public), more)
}

// TestNamesOfEd25519 (RFC 9864 §2.2): a key of the curve serves both names, whichever
// it has itself; a list of algorithms takes the names that it has and no other.
func TestNamesOfEd25519(t *testing.T) {
	lists := map[string][]string{
		"all": validation.Algorithms(), "old": {"ES256", "EdDSA"}, "new": {"ES256", "Ed25519"}, "both": {"EdDSA", "Ed25519"},
	}
	for _, named := range []string{"", `,"alg":"EdDSA"`, `,"alg":"Ed25519"`, `,"alg":"Ed25519","use":"sig","key_ops":["verify"]`} {
		source := fileOf(t, edKey(named))
		for list, algorithms := range lists {
			v, err := validation.NewValidator(validation.Config{
				Issuer: testIssuer, Strategy: validation.StrategyJWT, Algorithms: algorithms,
				AccessTokenType: validation.TypeCompatible, RequestTimeout: time.Second,
			}, validation.Options{Source: source, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Unix(1_764_000_000, 0) }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(v.Close)
			for _, alg := range []string{"EdDSA", "Ed25519", "Ed448", "ed25519", "EDDSA", "Ed25519ph"} {
				want := "ok"
				if !slices.Contains(algorithms, alg) {
					want = "unsupported_algorithm"
				}
				if got := reasonOf(v.Validate(t.Context(), edToken(t, alg))); got != want {
					t.Errorf("alg %s by a key of %q, list %s: got %s, want %s", alg, named, list, got, want)
				}
			}
		}
	}
}

// edToken is signed by Ed25519, whatever alg says.
func edToken(t *testing.T, alg string) string {
	t.Helper()
	return edSigned(t, `{"alg":"`+alg+`"}`, `{"iss":"`+testIssuer+`","exp":1764000600}`)
}

func edSigned(t *testing.T, header, payload string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(signature(t, "Ed25519", []byte(signed)))
}

// Algorithms that name no curve of ours cannot be configured either.
func TestNoOtherCurveCanBeConfigured(t *testing.T) {
	for _, alg := range []string{"Ed448", "ed25519", "EDDSA", "ES256K", "ESP256", "X25519"} {
		cfg := validation.Config{
			Issuer: testIssuer, Strategy: validation.StrategyJWT, Algorithms: []string{alg},
			AccessTokenType: validation.TypeCompatible, RequestTimeout: time.Second,
		}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "algorithms") {
			t.Errorf("%s: got %v, want it refused", alg, err)
		}
	}
}

// TestSignedAnswersByEd25519: an answer's signature has the same names (RFC 9701).
func TestSignedAnswersByEd25519(t *testing.T) {
	for _, alg := range []string{"EdDSA", "Ed25519"} {
		file := serverFile{Now: 1_764_000_000}
		file.Config.Issuer, file.Config.ClientID, file.Config.Response = testIssuer, "gate", validation.ResponseJWT
		s := newShapes(t, file)
		const payload = `{"iss":"` + testIssuer + `","aud":"gate","iat":1764000000,"token_introspection":{"active":true}}`
		header := func(alg string) string { return `{"alg":"` + alg + `","typ":"token-introspection+jwt"}` }
		answer := edSigned(t, header(alg), payload)
		s.answer([]byte(answer))
		if got := reasonOf(s.introspection.Validate(t.Context(), "token")); got != "ok" {
			t.Errorf("%s: got %s", alg, got)
		}
		for name, bad := range map[string]string{
			"another signature": answer[:len(answer)-86] + strings.Repeat("A", 86),
			"another curve":     edSigned(t, header("Ed448"), payload),
		} {
			s.answer([]byte(bad))
			if got := reasonOf(s.introspection.Validate(t.Context(), name)); got != "unavailable" {
				t.Errorf("%s, %s: got %s", alg, name, got)
			}
		}
	}
}

// TestEveryOtherKindOfJWT: what is signed by the issuer's key, alive, meant for us
// and whole, and says that it is something else, is no access token (J-04), whatever
// access_token_type says.
func TestEveryOtherKindOfJWT(t *testing.T) {
	const perfect = `{"sub":"alice","aud":"api","client_id":"app","iat":1763999999,"jti":"j","scope":"read"}`
	issuers := map[string]*shapes{}
	for _, kind := range []string{validation.TypeCompatible, validation.TypeRFC9068, validation.TypeAny} {
		issuers[kind] = doors(t, kind, false)
		for _, alg := range []string{"ES256", "Ed25519"} {
			if got := issuers[kind].asJWT(t, `{"alg":"`+alg+`","typ":"at+jwt"}`, perfect); got != "ok" {
				t.Fatalf("%s: got %s for an access token", kind, got)
			}
		}
	}
	for _, typ := range []string{
		"txntoken+jwt", "oauth-id-jag+jwt", "statuslist+jwt", "wit+jwt", "wpt+jwt", "wimse-id+jwt", "wimse-proof+jwt",
		"secevent+jwt", "logout+jwt", "dpop+jwt", "token-introspection+jwt", "entity-statement+jwt",
		"resolve-response+jwt", "trust-mark+jwt", "explicit-registration-response+jwt", "oauth-authz-req+jwt",
		"oauth-client-attestation+jwt", "oauth-client-attestation-pop+jwt", "client-authentication+jwt",
		"authorization-grant+jwt", "kb+jwt", "dc+sd-jwt", "vc+sd-jwt", "sd-jwt", "example+sd-jwt", "vc+jwt", "vp+jwt",
		"vc-ld+jwt", "jwk-set+jwt", "openid4vci-proof+jwt", "key-attestation+jwt", "keyattestation+jwt", "aip+jwt",
		"passport", "rt+jwt", "it+jwt", "id+jwt", "refresh+jwt", "statuslist+cwt", "at+cwt",
	} {
		for _, spelling := range []string{
			typ, "application/" + typ, strings.ToUpper(typ), "Application/" + strings.ToUpper(typ[:1]) + typ[1:],
			"APPLICATION/" + strings.ToUpper(typ),
		} {
			quoted, err := json.Marshal(spelling)
			if err != nil {
				t.Fatal(err)
			}
			for kind, issuer := range issuers {
				for _, alg := range []string{"ES256", "Ed25519"} {
					if got := issuer.asJWT(t, `{"alg":"`+alg+`","typ":`+string(quoted)+`}`, perfect); got != "wrong_type" {
						t.Errorf("%s, %s, typ %s: got %s, want wrong_type", kind, alg, quoted, got)
					}
				}
			}
		}
	}
}
