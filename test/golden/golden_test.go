// Package golden holds, for every row of the tables in the README, one file:
// configuration, token, CheckRequest and the CheckResponse that comes of them.
// `go test ./golden -update` writes the responses anew.
package golden

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

var update = flag.Bool("update", false, "write the responses anew")

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 25 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	reasons := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { reasons[run(t, file)] = true })
	}
	for _, reason := range []string{
		"allowed", "public", "metadata", "no_token", "bad_request", "malformed_token", "unsupported_algorithm", "wrong_type", "unknown_key",
		"bad_signature", "wrong_issuer", "wrong_audience", "expired", "not_yet_valid", "inactive", "wrong_binding", "invalid_proof", "use_nonce", "insufficient_scope",
		"insufficient_user_authentication", "forbidden", "unavailable", "misconfigured",
	} {
		if !reasons[reason] {
			t.Errorf("no file for reason %s", reason)
		}
	}
}

// token says what goes for $TOKEN in the request.
type token struct {
	Kind   string         // jwt, opaque, forged (another key's signature) or down (the introspection endpoint is)
	Header map[string]any // of a jwt, instead of typ at+jwt
	Claims map[string]any
}

func run(t *testing.T, file string) string {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for _, f := range archive.Files {
		parts[f.Name] = string(f.Data)
	}
	issuer := harness.Issuer(t)
	service := harness.Serve(t, harness.Config(issuer.URL())+strings.ReplaceAll(parts["config.yaml"], "$ISSUER", issuer.URL())).Ready(t)
	var check authv3.CheckRequest
	client := devissuer.NewProver()
	access := mint(t, issuer, strings.ReplaceAll(parts["token.json"], "$KEY", client.Thumbprint()))
	request := strings.NewReplacer("$TOKEN", access, "$PROOF", client.Proof("GET", "https://api.example.com/x", access, nil),
		"$OTHER_PROOF", devissuer.NewProver().Proof("GET", "https://api.example.com/x", access, nil)).Replace(parts["request.json"])
	if err := protojson.Unmarshal([]byte(request), &check); err != nil {
		t.Fatal(err)
	}
	response, err := service.Client(t).Check(t.Context(), &check)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range response.GetDeniedResponse().GetHeaders() {
		if h.GetHeader().GetKey() == "dpop-nonce" { // another each time
			h.Header.Value = "$NONCE"
		}
	}
	got := format(t, response, issuer.URL())
	if *update {
		for i := range archive.Files {
			if archive.Files[i].Name == "response.json" {
				archive.Files[i].Data = []byte(got)
			}
		}
		if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(parts["response.json"], got); diff != "" {
		t.Error(diff)
	}
	return harness.Reason(response)
}

func mint(t *testing.T, issuer *devissuer.Issuer, description string) string {
	t.Helper()
	if description == "" {
		return ""
	}
	var k token
	if err := json.Unmarshal([]byte(description), &k); err != nil {
		t.Fatal(err)
	}
	switch k.Kind {
	case "opaque":
		return issuer.Opaque("", k.Claims)
	case "down":
		issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{
			Status: 503, Header: map[string]string{"Retry-After": "7"},
		})
		return "opaque"
	case "forged":
		good := issuer.JWT(k.Claims)
		return good[:len(good)-8] + "AAAAAAAA"
	}
	if k.Header == nil {
		return issuer.JWT(k.Claims)
	}
	all := map[string]any{"iss": issuer.URL(), "exp": 4102444800}
	for name, value := range k.Claims {
		all[name] = value
	}
	return devissuer.Sign(issuer.Key(), k.Header, all)
}

// format prints a response with stable spaces and without the issuer's port.
func format(t *testing.T, response *authv3.CheckResponse, issuer string) string {
	t.Helper()
	raw, err := protojson.Marshal(response)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), issuer, "$ISSUER")
}
