package strictjws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// signers are the keys of a test, by the algorithms that they are for.
func signers(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	must := func(key crypto.Signer, err error) crypto.Signer {
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
		"ES256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"ES384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"ES512": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		"EdDSA": must(ed, err), "Ed25519": must(ed, err),
	}
}

// sign has go-jose sign, but for the name that it does not know.
func sign(t *testing.T, alg string, key crypto.Signer) string {
	t.Helper()
	const payload = `{"sub":"alice"}`
	if alg == "Ed25519" {
		signed := encode(`{"alg":"Ed25519"}`) + "." + encode(payload)
		return signed + "." + encode(string(ed25519.Sign(key.(ed25519.PrivateKey), []byte(signed))))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t *testing.T, raw string, algorithms ...string) *JWS {
	t.Helper()
	j, err := Parse(raw, Options{Algorithms: algorithms})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestVerify holds every algorithm against every key: only what signed verifies,
// and only by the algorithm that the header names (RFC 8725 §3.1).
func TestVerify(t *testing.T) {
	keys, strangers := signers(t), signers(t)
	all := slices.Collect(maps.Keys(keys))
	for alg, key := range keys {
		raw := sign(t, alg, key)
		j := parse(t, raw, all...)
		for other, public := range keys {
			err := j.Verify(public.Public())
			same := key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public.Public())
			if same != (err == nil) {
				t.Errorf("%s by the key of %s: got %v", alg, other, err)
			}
			if err != nil {
				wantKind(t, err, ErrSignature)
			}
		}
		wantKind(t, j.Verify(strangers[alg].Public()), ErrSignature)
		for i := 0; i < len(j.signature); i += 5 {
			forged := *j
			forged.signature = slices.Clone(j.signature)
			forged.signature[i] ^= 1
			wantKind(t, forged.Verify(key.Public()), ErrSignature)
		}
		for _, size := range []int{0, 1, len(j.signature) - 1} {
			short := *j
			short.signature = j.signature[:size]
			wantKind(t, short.Verify(key.Public()), ErrSignature)
		}
		long := *j
		long.signature = append([]byte{0}, j.signature...)
		wantKind(t, long.Verify(key.Public()), ErrSignature)
		other := *j
		other.signed = encode(`{"alg":"`+alg+`"}`) + "." + encode(`{"sub":"mallory"}`)
		wantKind(t, other.Verify(key.Public()), ErrSignature)
	}
}

// TestVerifyWhatAnotherLibrarySigned: testdata/jose.json has a token by each
// algorithm that jose 6.2.18, the library of oidc-provider, signed.
func TestVerifyWhatAnotherLibrarySigned(t *testing.T) {
	content, err := os.ReadFile("testdata/jose.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Alg   string          `json:"alg"`
		Key   jose.JSONWebKey `json:"key"`
		Token string          `json:"token"`
	}
	if err := json.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	if want := len(signers(t)); len(all) != want {
		t.Errorf("got %d tokens, want %d", len(all), want)
	}
	for i, tc := range all {
		j := parse(t, tc.Token, tc.Alg)
		if err := j.Verify(tc.Key.Key); err != nil || j.Claims.Get("sub") != `"alice"` {
			t.Errorf("%s: got %v and %s", tc.Alg, err, j.Claims.Text)
		}
		wantKind(t, j.Verify(all[(i+1)%len(all)].Key.Key), ErrSignature)
	}
}

// TestAnotherAlgorithmOfTheKey: a signature counts by the algorithm of the header,
// also where the key could be used with several, or with a curve of another name.
func TestAnotherAlgorithmOfTheKey(t *testing.T) {
	keys := signers(t)
	all := slices.Collect(maps.Keys(keys))
	for _, pair := range [][2]string{
		{"RS256", "RS384"}, {"RS256", "PS256"}, {"PS256", "RS256"}, {"PS256", "PS512"},
		{"ES256", "ES384"}, {"ES384", "ES512"},
	} {
		j := parse(t, sign(t, pair[0], keys[pair[0]]), all...)
		j.Header.Algorithm = pair[1]
		wantKind(t, j.Verify(keys[pair[0]].Public()), ErrSignature)
		wantKind(t, j.Verify(keys[pair[1]].Public()), ErrSignature)
	}
}

// TestKeysOfNoUse: a list of the caller's may name what there is no verification
// for, and a key may be none; neither verifies or panics.
func TestKeysOfNoUse(t *testing.T) {
	keys := signers(t)
	for _, alg := range []string{"none", "HS256", "Ed448", "ES256K", "ES", ""} {
		j := parse(t, encode(`{"alg":"`+alg+`"}`)+"."+encode(`{}`)+".", alg)
		for _, key := range []crypto.PublicKey{
			nil, []byte("published"), (*rsa.PublicKey)(nil), (*ecdsa.PublicKey)(nil), ed25519.PublicKey(nil),
			ed25519.PublicKey("short"), &rsa.PublicKey{}, &ecdsa.PublicKey{},
			keys["RS256"].Public(), keys["ES256"].Public(), keys["EdDSA"].Public(), keys["EdDSA"],
		} {
			wantKind(t, j.Verify(key), ErrSignature)
		}
	}
	for alg := range keys {
		j := parse(t, sign(t, alg, keys[alg]), alg)
		for _, key := range []crypto.PublicKey{
			nil, keys[alg], ed25519.PublicKey("short"), &ecdsa.PublicKey{}, (*rsa.PublicKey)(nil), (*ecdsa.PublicKey)(nil),
			&rsa.PublicKey{},
		} {
			wantKind(t, j.Verify(key), ErrSignature)
		}
	}
}

func TestSaltIsAsLongAsTheHash(t *testing.T) { // J-12, RFC 7518 §3.5
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signed := encode(`{"alg":"PS256"}`) + "." + encode(`{}`)
	sum := sha256.Sum256([]byte(signed))
	for salt, want := range map[int]error{32: nil, 31: ErrSignature, 20: ErrSignature, 64: ErrSignature} {
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		j := parse(t, signed+"."+encode(string(signature)), "PS256")
		if err := j.Verify(key.Public()); !errors.Is(err, want) {
			t.Errorf("salt of %d bytes: got %v, want %v", salt, err, want)
		}
	}
}
