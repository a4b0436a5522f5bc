package binding

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/field"
)

func TestDefaults(t *testing.T) {
	var c DPoP
	field.SetDefaults(reflect.ValueOf(&c).Elem())
	want := DPoP{
		Algorithms: []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "RS256"},
		MaxAge:     time.Minute, Nonce: "off", ReplayEntries: 1_000_000,
	}
	if !reflect.DeepEqual(c, want) || c.Validate() != nil {
		t.Errorf("got %+v, %v; want %+v", c, c.Validate(), want)
	}
}

func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*DPoP)
		want   []string // beginnings of mistakes
	}{
		"good": {func(c *DPoP) {
			c.Origins = []string{"https://api.example.com", "https://api.example.com:8443", "https://[::1]:8443", "http://127.0.0.1:8080", "http://localhost"}
			c.MaxAge, c.ReplayEntries, c.Nonce = 10*time.Minute, 1000, "required"
		}, nil},
		"everything at once": {func(c *DPoP) {
			*c = DPoP{Nonce: "on", MaxAge: -1, ReplayEntries: -1, Origins: []string{"x", "https://api.example.com/"}}
		}, []string{"algorithms: got none", "max_age: ", "nonce: ", "replay_entries: ", "origins[0]: ", "origins[1]: got"}},
		"HMAC":              {func(c *DPoP) { c.Algorithms = []string{"HS256"} }, []string{"algorithms: "}},
		"Ed448":             {func(c *DPoP) { c.Algorithms = []string{"Ed448"} }, []string{"algorithms: "}},
		"none":              {func(c *DPoP) { c.Algorithms = []string{"none"} }, []string{"algorithms: "}},
		"no age":            {func(c *DPoP) { c.MaxAge = 0 }, []string{"max_age: "}},
		"too old":           {func(c *DPoP) { c.MaxAge = 10*time.Minute + 1 }, []string{"max_age: "}},
		"too few":           {func(c *DPoP) { c.ReplayEntries = 999 }, []string{"replay_entries: "}},
		"http":              {func(c *DPoP) { c.Origins = []string{"http://api.example.com"} }, []string{"origins[0]: "}},
		"a path":            {func(c *DPoP) { c.Origins = []string{"https://api.example.com/v1"} }, []string{"origins[0]: "}},
		"a query":           {func(c *DPoP) { c.Origins = []string{"https://api.example.com?"} }, []string{"origins[0]: "}},
		"a fragment":        {func(c *DPoP) { c.Origins = []string{"https://api.example.com#"} }, []string{"origins[0]: "}},
		"a user":            {func(c *DPoP) { c.Origins = []string{"https://me@api.example.com"} }, []string{"origins[0]: "}},
		"an odd port":       {func(c *DPoP) { c.Origins = []string{"https://api.example.com:0"} }, []string{"origins[0]: port"}},
		"a wildcard":        {func(c *DPoP) { c.Origins = []string{"https://*.example.com"} }, []string{"origins[0]: host"}},
		"no scheme":         {func(c *DPoP) { c.Origins = []string{"api.example.com"} }, []string{"origins[0]: "}},
		"a letter of UTF-8": {func(c *DPoP) { c.Origins = []string{"https://bücher.example"} }, []string{"origins[0]: host"}},
	} {
		errs := field.List(section(tc.change).Validate())
		if len(errs) != len(tc.want) {
			t.Errorf("%s: got %v, want %q", name, errs, tc.want)
			continue
		}
		for i, err := range errs {
			if !strings.HasPrefix(err.Error(), tc.want[i]) {
				t.Errorf("%s: got %v, want %q", name, err, tc.want[i])
			}
		}
		if _, err := NewProofs(section(tc.change), Options{Replays: NewMemory(1000, nil)}); (err == nil) != (tc.want == nil) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := NewProofs(section(), Options{}); err == nil {
		t.Error("nothing remembers proofs, and nobody says so")
	}
}

func TestClientCertificateHeader(t *testing.T) {
	for _, name := range []string{"", "client-cert", "Client-Cert", "X-Client-Cert", "x_cert"} {
		c := MTLS{ClientCertificateHeader: name}
		if err := c.Validate(); err != nil || c.Header() != strings.ToLower(name) {
			t.Errorf("%q: got %q, %v", name, c.Header(), err)
		}
	}
	for _, name := range []string{
		"Host", "authorization", "DPoP", ":path", "client cert", "client-cert:", "x-envoy-peer-metadata", "x-forwarded-for",
		"x-forwarded-client-cert", "content-type", "cookie", "transfer-encoding", "ünsafe", " ",
		"content_length", "Transfer_Encoding", "x_forwarded-client_cert", "user_agent", "grpc_timeout",
		"x-forwarded-user", "x-real-ip", "X_Original-URL", "x-http-method-override", "set-cookie", "a-b-c-d-e-f-g",
	} {
		errs := field.List(MTLS{ClientCertificateHeader: name}.Validate())
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "client_certificate_header: ") {
			t.Errorf("%q: got %v", name, errs)
		}
	}
}

func TestAllAlgorithmsVerify(t *testing.T) {
	allowed := field.Allowed[DPoP]("algorithms")
	if !slices.Equal(allowed, section().Algorithms) { // TestEveryAlgorithm has a proof of each
		t.Errorf("got %q", allowed)
	}
}
