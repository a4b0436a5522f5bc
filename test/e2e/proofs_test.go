package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// proofPackages returns the folder of the npm packages that make proofs.
func proofPackages(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(filepath.Join("..", "tools", "proofs.sh"))
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == 77 {
		t.Skip("the npm packages that make proofs cannot be had here")
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

// maker is a running proofs.mjs.
type maker struct {
	in  io.Writer
	out *bufio.Reader
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "testdata/proofs.mjs", proofPackages(t))
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &maker{in, bufio.NewReader(out)}
}

// ask returns the thumbprint of a key and, for a URL, a proof by it.
func (m *maker) ask(t *testing.T, library, alg, url, token, nonce string) (jkt, proof string) {
	t.Helper()
	question := map[string]string{"library": library, "alg": alg}
	if url != "" {
		question["url"], question["method"], question["token"] = url, "GET", token
		if nonce != "" {
			question["nonce"] = nonce
		}
	}
	if err := json.NewEncoder(m.in).Encode(question); err != nil {
		t.Fatal(err)
	}
	line, err := m.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ JKT, Proof string }
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.JKT, answer.Proof
}

// Proofs of both versions of the npm package dpop: the first names Ed25519 EdDSA,
// the second as RFC 9864 does.
func TestDPoPProofsOfNPM(t *testing.T) {
	m := newMaker(t)
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN], nonce: required}\n")
	for library, algorithms := range map[string][]string{
		"dpop":   {"ES256", "PS256", "RS256", "Ed25519"},
		"dpop-1": {"ES256", "PS256", "RS256", "EdDSA"},
	} {
		for _, alg := range algorithms {
			t.Run(library+" "+alg, func(t *testing.T) {
				jkt, _ := m.ask(t, library, alg, "", "", "")
				token := s.jwt(claims{"cnf": devissuer.BoundToKey(jkt)})
				target := s.envoy.URL + "/x"
				_, proof := m.ask(t, library, alg, target, token, "")
				resp, _ := s.get(t, "/x", dpop(token, proof))
				if diff := cmp.Diff(onDPoP("use_dpop_nonce"), challenges(resp)); resp.StatusCode != 401 || diff != "" {
					t.Fatalf("got %d (-want +got):\n%s", resp.StatusCode, diff)
				}
				_, proof = m.ask(t, library, alg, target, token, resp.Header.Get("DPoP-Nonce"))
				if resp, body := s.get(t, "/x", dpop(token, proof)); resp.StatusCode != 200 {
					t.Errorf("got %d %q %s", resp.StatusCode, challenges(resp), body)
				}
				if resp, _ := s.get(t, "/x", dpop(token, proof)); resp.StatusCode != 401 {
					t.Errorf("replayed: got %d, want 401", resp.StatusCode)
				}
			})
		}
	}
}

// dpopClient is what testdata/dpop-client.mjs is told, and what it saw.
type dpopClient struct {
	Issuer     string            `json:"issuer"`
	Algorithm  string            `json:"algorithm"`
	ID         string            `json:"id"`
	Secret     string            `json:"secret"`
	Parameters map[string]string `json:"parameters"`
	Resource   string            `json:"resource"`
}

type dpopClientSaw struct {
	Token, TokenType string
	Nonces           struct{ Token, Resource int }
	Statuses         []int
}

func (c dpopClient) run(t *testing.T) (saw dpopClientSaw) {
	t.Helper()
	settings, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "testdata/dpop-client.mjs", proofPackages(t), string(settings))
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1")
	var problems strings.Builder
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &problems)
	}
	if err := json.Unmarshal(output, &saw); err != nil {
		t.Fatal(err)
	}
	return saw
}

// A whole client of oauth4webapi, over every algorithm that it can: the token from
// the authorization server, then the request through Envoy with all of the dance.
func TestDPoPClientOfNPM(t *testing.T) {
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN], nonce: required}\n")
	for _, alg := range []string{"ES256", "ES384", "ES512", "PS256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			saw := dpopClient{
				Issuer: s.issuer.URL(), Algorithm: alg, ID: "gate", Secret: "s3cret",
				Parameters: map[string]string{"audience": "api"}, Resource: s.envoy.URL + "/strong?a=b",
			}.run(t)
			if !strings.EqualFold(saw.TokenType, "dpop") || saw.Nonces.Resource != 1 || !cmp.Equal(saw.Statuses, []int{200, 200}) {
				t.Errorf("got %+v", saw)
			}
		})
	}
	for _, r := range s.upstream.Take() {
		if r.Header["Authorization"] != nil || r.Header["Dpop"] != nil {
			t.Errorf("the upstream got %v", r.Header)
		}
	}
}

// oidc-provider wants nonces of its own, and Bearergate others; its tokens are JWTs
// and opaque ones, bound to keys of each algorithm that it takes.
func TestDPoPTokensOfOIDCProvider(t *testing.T) { // RFC 9449 §6
	p, _ := newProvider(t, harness.Free(t))
	upstream := harness.Echo(t)
	s := newDPoPStageOf(t, upstream, p.config("both")+"dpop: {origins: [$ORIGIN], nonce: required}\n")
	for _, alg := range []string{"ES256", "PS256", "EdDSA", "Ed25519"} {
		for name, resource := range map[string]string{"JWT": jwtResource, "opaque": opaqueResource} {
			t.Run(alg+" "+name, func(t *testing.T) {
				saw := dpopClient{
					Issuer: p.url, Algorithm: alg, ID: "app", Secret: "app-secret",
					Parameters: map[string]string{"resource": resource, "scope": "read"}, Resource: s.envoy.URL + "/x",
				}.run(t)
				if !strings.EqualFold(saw.TokenType, "dpop") || saw.Nonces.Token != 1 || saw.Nonces.Resource != 1 ||
					!cmp.Equal(saw.Statuses, []int{200, 200}) {
					t.Fatalf("got %+v", saw)
				}
				seen := upstream.Take()
				if len(seen) != 2 || seen[0].Header.Get("X-Auth-Client-Id") != "app" || seen[0].Header["Dpop"] != nil {
					t.Errorf("the upstream got %d requests", len(seen))
				}
				// Whoever stole the token has not the key.
				thief := devissuer.NewProver()
				nonce := s.freshNonce(t, saw.Token)
				proof := thief.Proof("GET", s.envoy.URL+"/x", saw.Token, withNonce(nonce))
				for _, headers := range []map[string][]string{bearer(saw.Token), dpop(saw.Token, proof), dpop(saw.Token)} {
					if resp, _ := s.get(t, "/x", headers); resp.StatusCode != 401 {
						t.Errorf("stolen: got %d, want 401", resp.StatusCode)
					}
				}
			})
		}
	}
	// A token that is not bound passes as a bearer token, and not as another.
	unbound := p.post(t, "/token", url.Values{
		"grant_type": {"client_credentials"}, "resource": {jwtResource}, "scope": {"read"},
	})["access_token"].(string)
	if resp, _ := s.get(t, "/x", bearer(unbound)); resp.StatusCode != 200 {
		t.Errorf("unbound: got %d, want 200", resp.StatusCode)
	}
}
