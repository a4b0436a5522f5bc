package filter

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// notThroughThisDoor are the golden files that a module cannot be asked, and why.
var notThroughThisDoor = map[string]string{
	"route_rule": "context_extensions are shared with others; of a module's route every unknown key is a mistake",
}

// checkRequest and checkResponse are what the golden files have of ext_authz's messages.
type checkRequest struct {
	Attributes struct {
		Request struct {
			HTTP struct {
				Method, Scheme, Host, Path string

				Headers map[string]string
			}
		}
		ContextExtensions json.RawMessage
	}
}

type checkResponse struct {
	DynamicMetadata map[string]any
	OkResponse      *struct {
		Headers, ResponseHeadersToAdd []headerOption

		HeadersToRemove []string
	}
	DeniedResponse *struct {
		Headers []headerOption
		Body    string
		Status  struct{ Code string }
	}
}

type headerOption struct {
	Header struct{ Key, Value string }
}

// TestGolden: what package golden holds the service to, through this door. The status of
// the Check itself is gRPC's, and has no counterpart.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("../../../test/golden/testdata/*.txtar")
	if err != nil || len(files) < 25 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			if reason := notThroughThisDoor[name]; reason != "" {
				t.Skip(reason)
			}
			runGolden(t, file)
		})
	}
}

func runGolden(t *testing.T, file string) {
	parts, as, client := goldenParts(t, file), newIssuer(t), devissuer.NewProver()
	made := factoryFor(t, as, strings.ReplaceAll(parts["config.yaml"], "$ISSUER", as.URL()))
	made.(*filters).timeout = 10 * time.Second // a slow machine is no part of it
	token := goldenToken(t, as, strings.ReplaceAll(parts["token.json"], "$KEY", client.Thumbprint()))
	const url = "https://api.example.com/x"
	var asked checkRequest
	unmarshal(t, strings.NewReplacer("$TOKEN", token, "$PROOF", client.Proof("GET", url, token, nil),
		"$OTHER_PROOF", devissuer.NewProver().Proof("GET", url, token, nil)).Replace(parts["request.json"]), &asked)
	var want checkResponse
	unmarshal(t, strings.ReplaceAll(parts["response.json"], "$ISSUER", as.URL()), &want)

	s := &stream{t: t, headers: goldenHeaders(&asked, &want)}
	if route := asked.Attributes.ContextExtensions; route != nil {
		s.route, _ = (&Factory{}).CreatePerRoute(route)
	}
	before := slices.Clone(s.headers.all)
	f := made.Create(s)
	passed := f.OnRequestHeaders(&s.headers, true) == shared.HeadersStatusContinue
	if !passed && s.status == 0 {
		if !s.work(15 * time.Second) {
			t.Fatal("no decision")
		}
		passed = s.continued == 1
	}
	if !reflect.DeepEqual(s.metadata, want.DynamicMetadata) {
		t.Errorf("got metadata %v, want %v", s.metadata, want.DynamicMetadata)
	}
	if passed != (want.OkResponse != nil) || passed == (s.status != 0) {
		t.Fatalf("got passed %t, status %d", passed, s.status)
	}
	if passed {
		compareRequest(t, before, s, &want)
		compareResponse(t, f, &want)
	} else {
		compareAnswer(t, s, &want)
	}
	s.end(f)
}

// compareRequest: the upstream gets what it would get if Envoy did to the request what
// the golden response tells it to, and nothing else is changed.
func compareRequest(t *testing.T, before [][2]string, s *stream, want *checkResponse) {
	t.Helper()
	expected := headers{before}
	for _, h := range want.OkResponse.Headers {
		expected.Set(h.Header.Key, h.Header.Value)
	}
	for _, name := range want.OkResponse.HeadersToRemove {
		expected.Remove(name)
	}
	if !slices.Equal(s.headers.all, expected.all) {
		t.Errorf("the upstream gets %q, want %q", s.headers.all, expected.all)
	}
}

// compareResponse: the client gets with the upstream's response what is wanted.
func compareResponse(t *testing.T, f shared.HttpFilter, want *checkResponse) {
	t.Helper()
	var got, expected headers
	f.OnResponseHeaders(&got, true)
	for _, h := range want.OkResponse.ResponseHeadersToAdd {
		expected.Set(h.Header.Key, h.Header.Value)
	}
	if !slices.Equal(got.all, expected.all) {
		t.Errorf("the response gets %q, want %q", got.all, expected.all)
	}
}

func compareAnswer(t *testing.T, s *stream, want *checkResponse) {
	t.Helper()
	var expected []string
	for _, h := range want.DeniedResponse.Headers {
		expected = append(expected, h.Header.Key+": "+h.Header.Value)
	}
	for i, answer := range s.answers {
		if strings.HasPrefix(answer, "dpop-nonce: ") { // another each time
			s.answers[i] = "dpop-nonce: $NONCE"
		}
	}
	if !slices.Equal(s.answers, expected) || s.body != want.DeniedResponse.Body {
		t.Errorf("got %q and %s, want %q and %s", s.answers, s.body, expected, want.DeniedResponse.Body)
	}
	// ext_authz names a status as http does, without spaces.
	if name := strings.ReplaceAll(http.StatusText(int(s.status)), " ", ""); name != want.DeniedResponse.Status.Code {
		t.Errorf("got %d, want %s", s.status, want.DeniedResponse.Status.Code)
	}
}

// goldenHeaders returns the request as Envoy shows it to a module. It has a forged value
// of every identity header that is to be set or removed, and one header that is neither.
func goldenHeaders(asked *checkRequest, want *checkResponse) headers {
	h := asked.Attributes.Request.HTTP
	all := headers{[][2]string{{":method", h.Method}, {":authority", h.Host}, {":path", h.Path}, {"accept", "*/*"}}}
	if h.Scheme != "" {
		all.Add(":scheme", h.Scheme)
	}
	for name, value := range h.Headers {
		all.Add(name, value)
	}
	if want.OkResponse == nil {
		return all
	}
	names := slices.Clone(want.OkResponse.HeadersToRemove)
	for _, set := range want.OkResponse.Headers {
		names = append(names, set.Header.Key)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "x") && all.Get(name) == nil {
			all.Add(name, "forged")
		}
	}
	return all
}

// goldenParts reads the files of an archive.
func goldenParts(t *testing.T, file string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for _, part := range strings.Split("\n"+string(content), "\n-- ")[1:] {
		name, text, _ := strings.Cut(part, " --\n")
		parts[name] = text
	}
	return parts
}

// goldenToken makes the token that an archive describes, as package golden does.
func goldenToken(t *testing.T, as *devissuer.Issuer, description string) string {
	t.Helper()
	if description == "" {
		return ""
	}
	var token struct {
		Kind           string
		Header, Claims map[string]any
	}
	unmarshal(t, description, &token)
	switch {
	case token.Kind == "opaque":
		return as.Opaque("", token.Claims)
	case token.Kind == "down":
		as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{
			Status: http.StatusServiceUnavailable, Header: map[string]string{"Retry-After": "7"},
		})
		return "opaque"
	case token.Kind == "forged":
		good := as.JWT(token.Claims)
		return good[:len(good)-8] + "AAAAAAAA"
	case token.Header == nil:
		return as.JWT(token.Claims)
	}
	all := map[string]any{"iss": as.URL(), "exp": 4102444800}
	maps.Copy(all, token.Claims)
	return devissuer.Sign(as.Key(), token.Header, all)
}

func unmarshal(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
