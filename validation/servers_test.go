package validation_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/validation"
)

// serverFile is the shapes of one authorization server's tokens: recorded from
// the server itself, or written down from its documentation.
type serverFile struct {
	Server string `json:"server"`
	Source string `json:"source"` // "recorded", or where it is documented
	Note   string `json:"note"`
	Now    int64  `json:"now"` // the clock of the test
	Config struct {
		Issuer           string `json:"issuer"`
		ClientID         string `json:"client_id"`
		AccessTokenType  string `json:"access_token_type"`
		RequireTokenType bool   `json:"require_token_type"`
		Response         string `json:"introspection_response"`
	} `json:"config"`
	JWTs []struct {
		shape
		Header json.RawMessage `json:"header"`
		Claims json.RawMessage `json:"claims"`
	} `json:"jwts"`
	Answers []struct {
		shape
		Body json.RawMessage `json:"body"`
	} `json:"answers"`
}

type shape struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`       // access, id, refresh, logout
	Want       string `json:"want"`       // ok, or the reason of docs/contract.md §4
	Documented string `json:"documented"` // why what is no access token cannot be told apart
}

// TestServers holds the marks to the tokens of real servers (J-24).
func TestServers(t *testing.T) {
	files, err := filepath.Glob("testdata/servers/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var file serverFile
			dec := json.NewDecoder(bytes.NewReader(content))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&file); err != nil {
				t.Fatal(err)
			}
			if file.Server == "" || file.Source == "" || file.Now == 0 || len(file.JWTs)+len(file.Answers) == 0 {
				t.Error("want server, source, now, and at least one token")
			}
			s := newShapes(t, file)
			for _, jwt := range file.JWTs {
				t.Run(jwt.Name, func(t *testing.T) {
					header := s.keyed(t, jwt.Header, jwt.Claims)
					token, err := s.jwt.Validate(t.Context(), signRaw(t, header, jwt.Claims))
					jwt.check(t, token, err)
				})
			}
			for _, answer := range file.Answers {
				t.Run("answer, "+answer.Name, func(t *testing.T) {
					s.answer(answer.Body)
					token, err := s.introspection.Validate(t.Context(), "00Dxx!token")
					answer.check(t, token, err)
				})
			}
		})
	}
}

// keyed returns the header of a token that is signed by a published key. What a
// server signs by a secret of its own is refused for that; its marks must hold
// all the same.
func (s *shapes) keyed(t *testing.T, header, claims []byte) []byte {
	t.Helper()
	const secret, published = `"alg": "HS`, `"alg": "RS`
	if !bytes.Contains(header, []byte(secret)) {
		return header
	}
	_, err := s.jwt.Validate(t.Context(), signRaw(t, header, claims))
	if !errors.Is(err, validation.ErrUnsupportedAlgorithm) {
		t.Errorf("signed by a secret: got %v, want ErrUnsupportedAlgorithm", err)
	}
	return bytes.Replace(header, []byte(secret), []byte(published), 1)
}

func (s shape) check(t *testing.T, token *validation.Token, err error) {
	t.Helper()
	if got := reasonOf(token, err); got != s.Want {
		t.Errorf("got %s (%v), want %s", got, err, s.Want)
	}
	switch s.Kind {
	case "access":
	case "id", "refresh", "logout":
		if s.Want == "ok" && s.Documented == "" {
			t.Errorf("a token of kind %s passes, and nothing says why", s.Kind)
		}
	default:
		t.Errorf("got kind %q, want access, id, refresh or logout", s.Kind)
	}
}

// reasonOf names what came of a token. A bound one is refused by the room above.
func reasonOf(token *validation.Token, err error) string {
	if err == nil && token.Confirmation != nil {
		return "wrong_binding"
	}
	if err == nil {
		return "ok"
	}
	for reason, sentinel := range map[string]error{
		"malformed_token": validation.ErrMalformed, "unsupported_algorithm": validation.ErrUnsupportedAlgorithm,
		"wrong_type": validation.ErrWrongType, "unknown_key": validation.ErrUnknownKey, "bad_signature": validation.ErrSignature,
		"wrong_issuer": validation.ErrIssuer, "expired": validation.ErrExpired,
		"not_yet_valid": validation.ErrNotYetValid, "inactive": validation.ErrInactive,
		"wrong_binding": validation.ErrBinding,
		"unavailable":   validation.ErrUnavailable,
	} {
		if errors.Is(err, sentinel) {
			return reason
		}
	}
	return err.Error()
}

// shapes is an issuer that publishes our keys, and whose endpoint answers what
// it is told to.
type shapes struct {
	jwt, introspection *validation.Validator

	mu       sync.Mutex
	body     []byte
	kind     string // content type of the body
	endpoint string
}

func (s *shapes) answer(body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body = body
}

func (s *shapes) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", s.kind)
	_, _ = w.Write(s.body)
}

func (s *shapes) Metadata() (discovery.Metadata, error) {
	return discovery.Metadata{IntrospectionEndpoint: s.endpoint}, nil
}

func (s *shapes) Key(_ context.Context, keyID, alg string) (discovery.Key, error) {
	return discovery.Key{ID: keyID, Algorithm: alg, Public: signers()[alg].Public(), Thumbprint: alg}, nil
}

func (s *shapes) Trusted(string) error { return nil }

func newShapes(t *testing.T, file serverFile) *shapes {
	t.Helper()
	s := &shapes{kind: "application/json"}
	if file.Config.Response == validation.ResponseJWT {
		s.kind = "application/token-introspection+jwt"
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.endpoint = server.URL
	log := slog.New(slog.DiscardHandler)
	client, err := safehttp.New(safehttp.Options{Timeout: 5 * time.Second, InsecureHTTP: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	issuer := func(strategy validation.Strategy) *validation.Validator {
		i, err := validation.NewValidator(validation.Config{
			Issuer: file.Config.Issuer, Strategy: strategy,
			ClientID: file.Config.ClientID, ClientAuthMethod: validation.AuthNone,
			IntrospectionResponse: cmp.Or(file.Config.Response, validation.ResponseJSON), Algorithms: validation.Algorithms(),
			AccessTokenType:  cmp.Or(file.Config.AccessTokenType, validation.TypeCompatible),
			RequireTokenType: file.Config.RequireTokenType, ClockSkew: 30 * time.Second, RequestTimeout: 5 * time.Second,
		}, validation.Options{Source: s, Client: client, Log: log, Now: func() time.Time { return time.Unix(file.Now, 0) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(i.Close)
		return i
	}
	s.jwt, s.introspection = issuer(validation.StrategyJWT), issuer(validation.StrategyIntrospection)
	return s
}

// signers has a key for each algorithm that the files name, made once.
var signers = sync.OnceValue(func() map[string]crypto.Signer { //nolint:gochecknoglobals // never changed
	must := func(key crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return key
	}
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{
		"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "EdDSA": must(edKey, err), "Ed25519": edKey,
		"ES256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"ES384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
	}
})

// signRaw signs header and claims as they are written, to the byte.
func signRaw(t testing.TB, header, claims []byte) string {
	t.Helper()
	var h struct {
		Alg string `json:"alg"`
	}
	if err := json.Unmarshal(header, &h); err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(header) + "." + encode(claims)
	return signed + "." + encode(signature(t, h.Alg, []byte(signed)))
}

func signature(t testing.TB, alg string, signed []byte) []byte {
	t.Helper()
	key, ok := signers()[alg]
	if !ok {
		return []byte("no key of ours makes this")
	}
	if alg == "EdDSA" || alg == "Ed25519" {
		return ed25519.Sign(key.(ed25519.PrivateKey), signed)
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	sum := hash.New()
	sum.Write(signed)
	if key, ok := key.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, key, sum.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		size := (key.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	var options crypto.SignerOpts = hash
	if strings.HasPrefix(alg, "PS") {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	made, err := key.Sign(rand.Reader, sum.Sum(nil), options)
	if err != nil {
		t.Fatal(err)
	}
	return made
}
