package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// strongRules are those of the stages with bound tokens.
const strongRules = `rules:
  - {name: public, match: {paths: ["/public/**"]}, access: public}
  - {name: write, match: {paths: ["/write"]}, scopes: ["orders:write"]}
  - {name: strong, match: {paths: ["/strong/**"]}, token_binding: dpop}
  - {name: bound, match: {paths: ["/bound"]}, token_binding: required}
`

// dpopStage is a stage whose clients prove their keys.
type dpopStage struct {
	*stage

	client *devissuer.Prover
}

// newDPoPStage adds settings to the configuration, from which $ORIGIN is replaced.
func newDPoPStage(t *testing.T, settings string) *dpopStage {
	t.Helper()
	issuer := harness.Issuer(t)
	s := newDPoPStageOf(t, harness.Echo(t), harness.Config(issuer.URL())+strongRules+settings)
	s.issuer = issuer
	return s
}

// newDPoPStageOf is a stage with that configuration, from which $ORIGIN is replaced.
func newDPoPStageOf(t *testing.T, upstream *harness.Upstream, config string) *dpopStage {
	t.Helper()
	s := &dpopStage{stage: &stage{upstream: upstream}, client: devissuer.NewProver()}
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: harness.Free(t), Upstream: upstream.Address, Admin: harness.Free(t),
	}
	config = strings.ReplaceAll(config, "$ORIGIN", "http://"+a.Listener)
	s.service = harness.ServeAt(t, a.Bearergate, harness.Free(t), config).Ready(t)
	s.envoy = harness.StartEnvoy(t, "envoy.yaml", a)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	s.upstream.Take()
	return s
}

// freshNonce is the one that Bearergate wants now.
func (s *dpopStage) freshNonce(t *testing.T, token string) string {
	t.Helper()
	resp, _ := s.get(t, "/x", dpop(token, s.proof("/x", token)))
	return resp.Header.Get("DPoP-Nonce")
}

// bound returns a JWT for the stage's client.
func (s *dpopStage) bound(change claims) string {
	all := claims{"cnf": devissuer.BoundToKey(s.client.Thumbprint())}
	for name, value := range change {
		all[name] = value
	}
	return s.jwt(all)
}

// proof is the right one for a GET.
func (s *dpopStage) proof(path, token string) string {
	return s.client.Proof(http.MethodGet, s.envoy.URL+path, token, nil)
}

// withNonce is the change to a proof that has one, and none to one that has not.
func withNonce(nonce string) claims {
	if nonce == "" {
		return nil
	}
	return claims{"nonce": nonce}
}

// dpop are the fields of a request that proves its key.
func dpop(token string, proofs ...string) http.Header {
	return http.Header{"Authorization": {"DPoP " + token}, "Dpop": proofs}
}

// challenges returns the scheme and the error of each WWW-Authenticate field, and
// its algs where it has them.
func challenges(resp *http.Response) []string {
	var all []string
	for _, field := range resp.Header.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(field, " ")
		for _, name := range []string{"error", "algs"} {
			if found := regexp.MustCompile(`(?:^|[ ,])` + name + `="([^"]*)"`).FindStringSubmatch(rest); found != nil {
				scheme += " " + name + "=" + found[1]
			}
		}
		all = append(all, scheme)
	}
	slices.Sort(all) // their order says nothing
	return all
}

const algs = " algs=ES256 ES384 ES512 EdDSA Ed25519 PS256 RS256"

// Both schemes are challenged, and the error is on the one that was used.
func onDPoP(problem string) []string { return []string{"Bearer", "DPoP error=" + problem + algs} }

func onBearer(problem string) []string { return []string{"Bearer error=" + problem, "DPoP" + algs} }

func TestDPoP(t *testing.T) { // RFC 9449 §7, P-10, P-11
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN]}\n")
	origin, token := s.envoy.URL, s.bound(nil)
	opaque := s.issuer.Opaque("", claims{
		"sub": "bob", "aud": "api", "cnf": devissuer.BoundToKey(s.client.Thumbprint()),
	})
	stranger := devissuer.NewProver()
	used := s.proof("/x", token)
	if resp, body := s.get(t, "/x", dpop(token, used)); resp.StatusCode != 200 {
		t.Fatalf("got %d %v %s", resp.StatusCode, resp.Header, body)
	}
	with := func(change claims) string {
		all := devissuer.ProofClaims("GET", origin+"/x", token, nil)
		for name, value := range change {
			all[name] = value
		}
		return s.client.Sign(nil, all)
	}
	short := s.bound(claims{"scope": "read"})
	for name, tc := range map[string]struct {
		path       string
		headers    http.Header
		status     int
		challenges []string
	}{
		"JWT":                       {"/x", dpop(token, s.proof("/x", token)), 200, nil},
		"opaque":                    {"/x", dpop(opaque, s.proof("/x", opaque)), 200, nil},
		"scheme in another case":    {"/x", http.Header{"Authorization": {"dPoP " + token}, "Dpop": {s.proof("/x", token)}}, 200, nil},
		"query":                     {"/x?a=b", dpop(token, s.proof("/x", token)), 200, nil},
		"host in another case":      {"/x", dpop(token, s.client.Proof("GET", strings.Replace(origin, "http", "HTTP", 1)+"/x", token, nil)), 200, nil},
		"root without its slash":    {"/", dpop(token, s.client.Proof("GET", origin, token, nil)), 200, nil},
		"percent-encoded":           {"/caf%C3%A9/a%20b", dpop(token, s.proof("/caf%c3%a9/a%20b", token)), 200, nil},
		"encoded without need":      {"/%7Ealice", dpop(token, s.proof("/~alice", token)), 200, nil},
		"encoded in the proof":      {"/~alice", dpop(token, s.proof("/%7ealice", token)), 200, nil},
		"demanded by the rule":      {"/strong", dpop(token, s.proof("/strong", token)), 200, nil},
		"public, bound token":       {"/public/x", dpop(token, s.proof("/x", token)), 200, nil},
		"public, junk":              {"/public/x", dpop("junk", "junk"), 200, nil},
		"unbound bearer, with DPoP": {"/x", http.Header{"Authorization": {"Bearer " + s.jwt(nil)}, "Dpop": {"junk"}}, 200, nil},

		"replay":             {"/x", dpop(token, used), 401, onDPoP("invalid_dpop_proof")},
		"no proof":           {"/x", dpop(token), 401, onDPoP("invalid_dpop_proof")},
		"empty proof":        {"/x", dpop(token, ""), 401, onDPoP("invalid_dpop_proof")},
		"two fields":         {"/x", dpop(token, s.proof("/x", token), s.proof("/x", token)), 401, onDPoP("invalid_dpop_proof")},
		"joined":             {"/x", dpop(token, s.proof("/x", token)+","+s.proof("/x", token)), 401, onDPoP("invalid_dpop_proof")},
		"junk":               {"/x", dpop(token, "junk"), 401, onDPoP("invalid_dpop_proof")},
		"another method":     {"/x", dpop(token, s.client.Proof("POST", origin+"/x", token, nil)), 401, onDPoP("invalid_dpop_proof")},
		"method in lower":    {"/x", dpop(token, s.client.Proof("get", origin+"/x", token, nil)), 401, onDPoP("invalid_dpop_proof")},
		"another path":       {"/x", dpop(token, s.proof("/y", token)), 401, onDPoP("invalid_dpop_proof")},
		"a final slash":      {"/x", dpop(token, s.proof("/x/", token)), 401, onDPoP("invalid_dpop_proof")},
		"path in lower":      {"/X", dpop(token, s.proof("/x", token)), 401, onDPoP("invalid_dpop_proof")},
		"query in htu":       {"/x?a=b", dpop(token, s.proof("/x?a=b", token)), 401, onDPoP("invalid_dpop_proof")},
		"another host":       {"/x", dpop(token, s.client.Proof("GET", "http://api.example.com/x", token, nil)), 401, onDPoP("invalid_dpop_proof")},
		"another port":       {"/x", dpop(token, s.client.Proof("GET", "http://127.0.0.1:1/x", token, nil)), 401, onDPoP("invalid_dpop_proof")},
		"no port":            {"/x", dpop(token, s.client.Proof("GET", "http://127.0.0.1/x", token, nil)), 401, onDPoP("invalid_dpop_proof")},
		"another scheme":     {"/x", dpop(token, s.client.Proof("GET", strings.Replace(origin, "http", "https", 1)+"/x", token, nil)), 401, onDPoP("invalid_dpop_proof")},
		"another token":      {"/x", dpop(token, s.proof("/x", opaque)), 401, onDPoP("invalid_dpop_proof")},
		"no ath":             {"/x", dpop(token, s.proof("/x", "")), 401, onDPoP("invalid_dpop_proof")},
		"old":                {"/x", dpop(token, with(claims{"iat": time.Now().Add(-2 * time.Minute).Unix()})), 401, onDPoP("invalid_dpop_proof")},
		"from the future":    {"/x", dpop(token, with(claims{"iat": time.Now().Add(3 * time.Minute).Unix()})), 401, onDPoP("invalid_dpop_proof")},
		"another key":        {"/x", dpop(token, stranger.Proof("GET", origin+"/x", token, nil)), 401, onDPoP("invalid_token")},
		"as bearer":          {"/x", bearer(token), 401, onBearer("invalid_token")},
		"as bearer, proven":  {"/x", http.Header{"Authorization": {"Bearer " + token}, "Dpop": {s.proof("/x", token)}}, 401, onBearer("invalid_token")},
		"unbound":            {"/x", dpop(s.jwt(nil), s.proof("/x", s.jwt(nil))), 401, onDPoP("invalid_token")},
		"expired":            {"/x", dpop(s.bound(claims{"exp": 1}), "junk"), 401, onDPoP("invalid_token")},
		"no token":           {"/x", nil, 401, []string{"Bearer", "DPoP" + algs}},
		"only DPoP, none":    {"/strong", nil, 401, []string{"DPoP" + algs}},
		"only DPoP, bearer":  {"/strong", bearer(s.jwt(nil)), 401, []string{"DPoP error=invalid_token" + algs}},
		"required, bearer":   {"/bound", bearer(s.jwt(nil)), 401, []string{"DPoP error=invalid_token" + algs}},
		"scope, with a key":  {"/write", dpop(short, s.proof("/write", short)), 403, []string{"DPoP error=insufficient_scope" + algs}},
		"scope, bearer":      {"/write", bearer(s.jwt(nil)), 403, []string{"Bearer error=insufficient_scope"}},
		"two tokens":         {"/x", http.Header{"Authorization": {"DPoP " + token, "Bearer " + token}}, 400, nil},
		"introspected, lied": {"/x", s.lied(), 401, onDPoP("invalid_token")},
	} {
		t.Run(name, func(t *testing.T) {
			s.upstream.Take()
			resp, body := s.get(t, tc.path, tc.headers)
			seen := s.upstream.Take()
			if resp.StatusCode != tc.status || len(seen) != map[bool]int{true: 1}[tc.status == 200] {
				t.Fatalf("got %d and %d requests upstream, want %d\n%v %s", resp.StatusCode, len(seen), tc.status, resp.Header, body)
			}
			for _, r := range seen {
				if r.Header["Authorization"] != nil || r.Header["Dpop"] != nil {
					t.Errorf("the upstream got %v", r.Header)
				}
			}
			if diff := cmp.Diff(tc.challenges, challenges(resp)); tc.status != 400 && diff != "" {
				t.Errorf("%v (-want +got):\n%s", resp.Header.Values("WWW-Authenticate"), diff)
			}
			if tc.status == 400 && len(resp.Header.Values("WWW-Authenticate")) != 1 {
				t.Errorf("got %q, want one challenge", resp.Header.Values("WWW-Authenticate"))
			}
		})
	}
	if logs := s.service.String(); strings.Contains(logs, strings.Split(used, ".")[1]) {
		t.Error("a proof is in the logs (§8)")
	}
}

// lied is a request with an opaque token that is bound, and a bearer token for
// its authorization server.
func (s *dpopStage) lied() http.Header {
	token := s.issuer.Opaque("", claims{
		"aud": "api", "token_type": "Bearer", "cnf": devissuer.BoundToKey(s.client.Thumbprint()),
	})
	return dpop(token, s.proof("/x", token))
}

// What the challenges say in full: two fields, not one with a comma.
func TestDPoPChallengeText(t *testing.T) {
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN], algorithms: [ES256, Ed25519]}\n")
	for path, want := range map[string][]string{
		"/x":      {`Bearer realm="bearergate"`, `DPoP realm="bearergate", algs="ES256 Ed25519"`},
		"/strong": {`DPoP realm="bearergate", algs="ES256 Ed25519"`},
	} {
		resp, _ := s.get(t, path, nil)
		if diff := cmp.Diff(want, resp.Header.Values("WWW-Authenticate")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	// An algorithm that is switched off is no proof, whatever its key.
	rsa := devissuer.NewProverOf("RS256")
	token := s.jwt(claims{"cnf": devissuer.BoundToKey(rsa.Thumbprint())})
	resp, _ := s.get(t, "/x", dpop(token, rsa.Proof("GET", s.envoy.URL+"/x", token, nil)))
	if got := challenges(resp); resp.StatusCode != 401 || len(got) != 2 || got[1] != "DPoP error=invalid_dpop_proof algs=ES256 Ed25519" {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
}

// Without origins it is Envoy that says what the request's origin is, and the
// shipped chains cut the port off: such a client needs origins.
func TestDPoPOriginThatEnvoyReports(t *testing.T) {
	s := newDPoPStage(t, "dpop: {}\n")
	token := s.bound(nil)
	if resp, _ := s.get(t, "/x", dpop(token, s.proof("/x", token))); resp.StatusCode != 401 {
		t.Errorf("with a port that is no default: got %d, want 401", resp.StatusCode)
	}
	for _, url := range []string{"http://127.0.0.1/x", "http://127.0.0.1:80/x"} {
		if resp, _ := s.get(t, "/x", dpop(token, s.client.Proof("GET", url, token, nil))); resp.StatusCode != 200 {
			t.Errorf("%s: got %d, want 200", url, resp.StatusCode)
		}
	}
	// The client chooses its Host, but the proof has to be for it.
	proof := s.client.Proof("GET", "http://API.example.com/x", token, nil)
	if got := rawTo(t, s.envoy.URL, "api.EXAMPLE.com:8080", "/x", "Authorization: DPoP "+token, "DPoP: "+proof); got != 200 {
		t.Errorf("got %d, want 200", got)
	}
}

// The path of a proof is compared with what arrived, whatever method.
func TestDPoPMethods(t *testing.T) {
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN]}\n")
	token := s.bound(nil)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		for _, tc := range []struct {
			htm    string
			status int
		}{{method, 200}, {"GET", 401}} {
			req, err := http.NewRequest(method, s.envoy.URL+"/x", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = dpop(token, s.client.Proof(tc.htm, s.envoy.URL+"/x", token, nil))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tc.status {
				t.Errorf("%s with htm %s: got %d, want %d", method, tc.htm, resp.StatusCode, tc.status)
			}
		}
	}
}

func TestDPoPForwarded(t *testing.T) {
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN]}\nforward_token: true\n")
	token := s.bound(nil)
	proof := s.proof("/x", token)
	s.get(t, "/x", dpop(token, proof))
	seen := s.upstream.Take()
	if len(seen) != 1 || seen[0].Header.Get("Authorization") != "DPoP "+token || seen[0].Header.Get("DPoP") != proof {
		t.Errorf("got %d requests", len(seen))
	}
}

// Without the section, nothing of DPoP is there: a DPoP field is the upstream's
// business, the scheme is no token's, and a bound token is refused.
func TestDPoPOff(t *testing.T) { // P-02
	s := newStage(t)
	client := devissuer.NewProver()
	token := s.jwt(claims{"cnf": devissuer.BoundToKey(client.Thumbprint())})
	for _, headers := range []http.Header{
		bearer(token), dpop(token, client.Proof("GET", s.envoy.URL+"/x", token, nil)),
	} {
		resp, _ := s.get(t, "/x", headers)
		if got := resp.Header.Values("WWW-Authenticate"); resp.StatusCode != 401 || len(got) != 1 || !strings.HasPrefix(got[0], "Bearer ") {
			t.Errorf("got %d %q", resp.StatusCode, got)
		}
	}
	if len(s.upstream.Take()) != 0 {
		t.Error("something passed")
	}
}

// Of many requests with one proof at the same time exactly one passes (P-10).
func TestDPoPReplayAtOnce(t *testing.T) {
	harness.OnlyExtAuthz(t, "the counters asked are the binary's, and a module has its own")
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN]}\n")
	token := s.bound(nil)
	proof := s.proof("/x", token)
	const many = 500
	connections := make([]net.Conn, many)
	for i := range connections {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.envoy.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		connections[i] = conn
	}
	var passed, refused atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, conn := range connections {
		wg.Go(func() {
			<-start
			_, _ = fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: %s\r\nAuthorization: DPoP %s\r\nDPoP: %s\r\nConnection: close\r\n\r\n",
				strings.TrimPrefix(s.envoy.URL, "http://"), token, proof)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			switch resp.StatusCode {
			case 200:
				passed.Add(1)
			case 401:
				refused.Add(1)
			default:
				t.Errorf("got %d", resp.StatusCode)
			}
		})
	}
	close(start)
	wg.Wait()
	if passed.Load() != 1 || refused.Load() != many-1 || len(s.upstream.Take()) != 1 {
		t.Errorf("%d passed and %d were refused, want one and %d", passed.Load(), refused.Load(), many-1)
	}
	series := func(result string) float64 {
		return s.service.Metric(t, `bearergate_proofs_total{result="`+result+`"}`)
	}
	if series("accepted") != 1 || series("replayed") != many-1 {
		t.Errorf("got %v accepted and %v replayed", series("accepted"), series("replayed"))
	}
}

// A reload forgets no proof.
func TestDPoPReplayAfterAReload(t *testing.T) {
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN]}\n")
	token := s.bound(nil)
	proof := s.proof("/x", token)
	if resp, _ := s.get(t, "/x", dpop(token, proof)); resp.StatusCode != 200 {
		t.Fatalf("got %d", resp.StatusCode)
	}
	s.service.Write(t, harness.Config(s.issuer.URL())+strongRules+"realm: other\ndpop: {origins: ["+s.envoy.URL+"], max_age: 2m}\n")
	harness.Eventually(t, "the configuration is read", func() bool {
		resp, _ := s.get(t, "/x", nil)
		return strings.Contains(resp.Header.Get("WWW-Authenticate"), "other")
	})
	if resp, _ := s.get(t, "/x", dpop(token, proof)); resp.StatusCode != 401 {
		t.Errorf("got %d, want the proof remembered", resp.StatusCode)
	}
	if resp, _ := s.get(t, "/x", dpop(token, s.proof("/x", token))); resp.StatusCode != 200 {
		t.Errorf("a new proof: got %d, want 200", resp.StatusCode)
	}
}

func TestDPoPNonce(t *testing.T) { // RFC 9449 §9
	key := write(t, t.TempDir(), "nonce.key", []byte(strings.Repeat("k", 32)))
	settings := "dpop: {origins: [$ORIGIN], nonce: required, nonce_key_file: " + key + "}\n"
	s := newDPoPStage(t, settings)
	other := newDPoPStage(t, settings)
	token := s.bound(nil)
	fresh := func(t *testing.T, s *dpopStage, nonce string) string {
		t.Helper()
		resp, _ := s.get(t, "/x", dpop(token, s.client.Proof("GET", s.envoy.URL+"/x", token, withNonce(nonce))))
		next := resp.Header.Values("DPoP-Nonce")
		if diff := cmp.Diff(onDPoP("use_dpop_nonce"), challenges(resp)); resp.StatusCode != 401 || diff != "" || len(next) != 1 {
			t.Fatalf("nonce %q: got %d, nonces %q (-want +got):\n%s", nonce, resp.StatusCode, next, diff)
		}
		return next[0]
	}
	nonce := fresh(t, s, "")
	for _, wrong := range []string{"junk", nonce + "x", nonce[:len(nonce)-1], flipped(nonce)} {
		fresh(t, s, wrong)
	}
	proof := s.client.Proof("GET", s.envoy.URL+"/x", token, withNonce(nonce))
	resp, _ := s.get(t, "/x", dpop(token, proof))
	if resp.StatusCode != 200 || resp.Header.Values("DPoP-Nonce") != nil {
		t.Errorf("got %d and nonces %q, want 200 and none yet", resp.StatusCode, resp.Header.Values("DPoP-Nonce"))
	}
	if resp, _ := s.get(t, "/x", dpop(token, proof)); resp.StatusCode != 401 || challenges(resp)[1] != onDPoP("invalid_dpop_proof")[1] {
		t.Errorf("replayed: got %d %q", resp.StatusCode, challenges(resp))
	}
	// A bad proof gets no nonce's help.
	resp, _ = s.get(t, "/x", dpop(token, s.client.Proof("POST", s.envoy.URL+"/x", token, nil)))
	if resp.StatusCode != 401 || challenges(resp)[1] != onDPoP("invalid_dpop_proof")[1] {
		t.Errorf("bad proof: got %d %q", resp.StatusCode, challenges(resp))
	}

	// Every replica takes every replica's, for it is made of time and key alone.
	theirs := other.jwt(claims{"cnf": devissuer.BoundToKey(s.client.Thumbprint())})
	proof = s.client.Proof("GET", other.envoy.URL+"/x", theirs, withNonce(nonce))
	if resp, _ := other.get(t, "/x", dpop(theirs, proof)); resp.StatusCode != 200 {
		t.Errorf("another process with the same key: got %d %q", resp.StatusCode, challenges(resp))
	}
	stranger := newDPoPStage(t, "dpop: {origins: [$ORIGIN], nonce: required}\n")
	theirs = stranger.jwt(claims{"cnf": devissuer.BoundToKey(s.client.Thumbprint())})
	proof = s.client.Proof("GET", stranger.envoy.URL+"/x", theirs, withNonce(nonce))
	if resp, _ := stranger.get(t, "/x", dpop(theirs, proof)); resp.StatusCode != 401 {
		t.Errorf("another key: got %d, want 401", resp.StatusCode)
	}

	// What a replica said five minutes ago is in its second half: it is renewed on an
	// allow. After ten it is refused, as what comes from a clock that is far ahead.
	for _, tc := range []struct {
		ago     time.Duration
		status  int
		renewed bool
	}{{0, 200, false}, {5 * time.Minute, 200, true}, {10 * time.Minute, 401, true}, {-11 * time.Minute, 401, true}} {
		nonce := nonceOf(t, key, -tc.ago)
		resp, _ := s.get(t, "/x", dpop(token, s.client.Proof("GET", s.envoy.URL+"/x", token, withNonce(nonce))))
		next := resp.Header.Values("DPoP-Nonce")
		if resp.StatusCode != tc.status || tc.renewed != (len(next) == 1) || slices.Contains(next, nonce) {
			t.Errorf("%s ago: got %d and nonces %q", tc.ago, resp.StatusCode, next)
		}
	}
}

// A new key of nonces is read while everything runs. What was made with the one
// before is still good, and what a client gets from now on is made with the new one.
func TestDPoPNonceKeyChanges(t *testing.T) {
	dir := t.TempDir()
	key := write(t, dir, "nonce.key", []byte(strings.Repeat("a", 32)))
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN], nonce: required, nonce_key_file: "+key+"}\n")
	token := s.bound(nil)
	passes := func(nonce string) bool {
		resp, _ := s.get(t, "/x", dpop(token, s.client.Proof("GET", s.envoy.URL+"/x", token, withNonce(nonce))))
		return resp.StatusCode == 200
	}
	first := s.freshNonce(t, token)
	write(t, dir, "nonce.key", []byte(strings.Repeat("b", 32)))
	var second string
	harness.Eventually(t, "the new key is read", func() bool {
		second = s.freshNonce(t, token)
		return second != first && second == nonceOf(t, key, 0)
	})
	if !passes(second) || !passes(first) {
		t.Error("want nonces of the new key and of the one before")
	}
	write(t, dir, "nonce.key", []byte(strings.Repeat("c", 32)))
	harness.Eventually(t, "the key before the one before is forgotten", func() bool { return !passes(first) })
	if !passes(second) {
		t.Error("want nonces of the key before")
	}
}

// flipped changes the middle of a nonce: its last character may have bits that
// mean nothing.
func flipped(nonce string) string {
	b := []byte(nonce)
	if b[len(b)/2]++; b[len(b)/2] > 'z' {
		b[len(b)/2] = 'a'
	}
	return string(b)
}

// nonceOf returns the nonce of a replica whose clock is that much ahead.
func nonceOf(t *testing.T, key string, ahead time.Duration) string {
	t.Helper()
	c := binding.DPoP{
		Algorithms: []string{"ES256"}, MaxAge: time.Minute, Nonce: "required", NonceKeyFile: key, ReplayEntries: 1000,
	}
	now := func() time.Time { return time.Now().Add(ahead) }
	p, err := binding.NewProofs(c, binding.Options{Replays: binding.NewMemory(1000, now), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return p.Nonce()
}

// RFC 9728's document says what a client of the resource needs.
func TestDPoPInTheMetadataDocument(t *testing.T) {
	s := newDPoPStage(t, `dpop: {origins: [$ORIGIN], algorithms: [ES256, PS256]}
resources: [{resource: "http://127.0.0.1/strong"}, {resource: "http://127.0.0.1/x"}]
`)
	for path, only := range map[string]bool{"/strong": true, "/x": false} {
		_, body := s.get(t, "/.well-known/oauth-protected-resource"+path, nil)
		if !strings.Contains(body, `"dpop_signing_alg_values_supported":["ES256","PS256"]`) ||
			strings.Contains(body, `"dpop_bound_access_tokens_required":true`) != only {
			t.Errorf("%s: got %s", path, body)
		}
	}
}

// Tokens that the development issuer binds at its token endpoint.
func TestDPoPWithTheDevelopmentIssuer(t *testing.T) {
	s := newDPoPStage(t, "dpop: {origins: [$ORIGIN]}\n")
	endpoint := s.issuer.URL() + devissuer.PathToken
	for _, format := range []string{"jwt", "opaque"} {
		body := strings.NewReader("grant_type=client_credentials&audience=api&format=" + format)
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, endpoint, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("DPoP", s.client.Proof("POST", endpoint, "", nil))
		req.SetBasicAuth("gate", "s3cret")
		token := tokenOf(t, http.DefaultClient, req, "DPoP")
		if resp, _ := s.get(t, "/strong", dpop(token, s.proof("/strong", token))); resp.StatusCode != 200 {
			t.Errorf("%s: got %d %q", format, resp.StatusCode, challenges(resp))
		}
	}
}
