// Package mint is the development authorization server with keys of three kinds
// and tokens by the hundred thousand.
package mint

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// The kinds of tokens.
const (
	RS256  = "RS256"
	ES256  = "ES256"
	EdDSA  = "EdDSA"
	Opaque = "opaque"
	Bound  = "ES256, bound to a key" // DPoP
)

// Client and Secret are what introspection wants.
const (
	Client = "gate"
	Secret = "s3cret"
)

// lifetime of a token: longer than any run.
const lifetime = 24 * time.Hour

// Issuer is the development authorization server, which publishes keys of its
// own beside the one that it has.
type Issuer struct {
	*devissuer.Issuer

	keys   map[string]crypto.Signer
	server *http.Server
	bound  *bound
}

// Start serves an issuer on address; port 0 is a free one.
func Start(address string) (*Issuer, error) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	i := &Issuer{
		Issuer: devissuer.New("http://"+lis.Addr().String(), map[string]string{Client: Secret}),
		keys:   map[string]crypto.Signer{RS256: rsaKey, ES256: ecKey, EdDSA: edKey},
	}
	i.bound = newBound()
	i.server = &http.Server{Handler: i, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = i.server.Serve(lis) }()
	return i, nil
}

// Close stops serving.
func (i *Issuer) Close() { _ = i.server.Close() }

// ServeHTTP publishes the keys, and leaves the rest to the server that it is.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != devissuer.PathJWKS {
		i.Issuer.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(i.Keys())
}

// Keys are the public ones.
func (i *Issuer) Keys() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, algorithm := range []string{RS256, ES256, EdDSA} {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: i.keys[algorithm].Public(), KeyID: keyID(algorithm), Algorithm: algorithm, Use: "sig",
		})
	}
	return set
}

// keyID is as long as a thumbprint, as key IDs often are.
func keyID(algorithm string) string {
	sum := sha256.Sum256([]byte(algorithm))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Mint returns n tokens of a kind, no two alike.
func (i *Issuer) Mint(kind string, n int) ([]string, error) {
	tokens := make([]string, n)
	if kind == Opaque {
		for j := range tokens {
			tokens[j] = i.Opaque("", typical(i.URL(), j))
		}
		return tokens, nil
	}
	if kind == Bound {
		return i.mintBound(n)
	}
	if i.keys[kind] == nil {
		return nil, fmt.Errorf("got the kind %q, want %s, %s, %s, %s or %s", kind, RS256, ES256, EdDSA, Opaque, Bound)
	}
	workers := runtime.NumCPU()
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for j := w; j < n && errs[w] == nil; j += workers {
				tokens[j], errs[w] = i.jwt(kind, typical(i.URL(), j))
			}
		})
	}
	wg.Wait()
	return tokens, errors.Join(errs...)
}

// typical are the claims of an access token as an enterprise's authorization
// server makes them (RFC 9068): with ES256 a token of about 780 bytes.
func typical(issuer string, n int) devissuer.Claims {
	now := time.Now().Unix()
	return devissuer.Claims{
		"iss": issuer, "aud": "api", "iat": now, "nbf": now, "exp": now + int64(lifetime/time.Second),
		"sub":       fmt.Sprintf("f3b1c0de-5a6b-4c7d-8e9f-%012d", n),
		"client_id": "orders-web-frontend", "scope": "openid profile orders:read orders:write invoices:read",
		"jti": rand.Text(), "sid": fmt.Sprintf("session-%026d", n), "auth_time": now - 60, "acr": "urn:example:silver",
		"groups": []string{"staff", "sales-emea", "orders"}, "tenant": "acme",
	}
}

func (i *Issuer) jwt(algorithm string, claims devissuer.Claims) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	header := `{"alg":"` + algorithm + `","kid":"` + keyID(algorithm) + `","typ":"at+jwt"}`
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := i.sign(algorithm, signed)
	if err != nil {
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// sign does by hand what a JOSE library does, which minting would wait for.
func (i *Issuer) sign(algorithm, signed string) ([]byte, error) {
	sum := sha256.Sum256([]byte(signed))
	switch key := i.keys[algorithm].(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(signed)), nil
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return nil, err
		}
		signature := make([]byte, 64) // RFC 7518 §3.4
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature, nil
	}
	return nil, errors.New("no such key")
}

// Write puts tokens into a file, one a line.
func Write(name string, tokens []string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	out := bufio.NewWriterSize(file, 1<<20)
	for _, token := range tokens {
		_, _ = out.WriteString(token + "\n") // Flush tells
	}
	return errors.Join(out.Flush(), file.Close())
}

// Config is a configuration of Bearergate for this issuer; with more sections
// appended it is a file.
func (i *Issuer) Config(grpc, admin, server string) string {
	return "server: {grpc_address: " + strconv.Quote(grpc) + ", admin_address: " + strconv.Quote(admin) + server + "}\n" +
		"auth: {issuer: " + strconv.Quote(i.URL()) + ", audience: api, token_validation: both, client_id: " + Client +
		", client_secret: " + Secret + ", insecure_http: true}\n"
}
