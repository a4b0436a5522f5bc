package explain_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

type claims = devissuer.Claims

func TestHints(t *testing.T) {
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	jwt := func(typ string, changes claims) string {
		all := claims{"iss": as.URL(), "aud": "api", "scope": "read", "exp": time.Now().Unix() + 600}
		for name, value := range changes {
			if all[name] = value; value == nil {
				delete(all, name)
			}
		}
		header := map[string]any{"typ": typ}
		return devissuer.Sign(as.Key(), header, all)
	}
	unpublished := devissuer.New(as.URL(), nil) // other keys, under the same name
	const client = ", client_id: gate, client_secret: s3cret"
	second := ", opaque_token_prefix: a_}\n- {issuer: 'https://other.example.com', audience: api, " +
		"client_auth_method: none, introspection_endpoint: 'https://other.example.com/i', " +
		"token_validation: introspection, opaque_token_prefix: b_"
	for name, tc := range map[string]struct {
		auth   string // after issuer, audience and insecure_http
		token  string
		rule   string
		reason string
		want   []string // in the hint; none: there is none
		not    string
	}{
		"allowed": {"", jwt("at+jwt", nil), "", "allowed", nil, ""},
		"expired": {"", jwt("at+jwt", claims{"exp": 1}), "", "expired", nil, ""},
		"inactive, opaque": {
			", token_validation: both" + client, "nobody-issued-it", "", "inactive",
			[]string{"active: false", "audience mapper for client_id"}, "token_validation",
		},
		"inactive, a JWT": {
			", token_validation: introspection" + client, jwt("at+jwt", claims{"exp": 1}), "", "inactive",
			[]string{"audience mapper for client_id", "token_validation: jwt or both"}, "",
		},
		"no aud": {
			"", jwt("at+jwt", claims{"aud": nil}), "", "wrong_audience",
			[]string{"the token has no aud", "add api (", "audience: []", "Keycloak"}, "",
		},
		"another aud": {
			"", jwt("at+jwt", claims{"aud": "x"}), "", "wrong_audience",
			[]string{"meant for others"}, "audience: []",
		},
		"marked in the header": {
			", access_token_type: rfc9068", jwt("JWT", nil), "", "wrong_type",
			[]string{"typ is", "access_token_type: rfc9068 takes typ at+jwt only"}, "require_token_type",
		},
		"marked by a nonce": {
			"", jwt("JWT", claims{"nonce": "n", "scope": nil}), "", "wrong_type",
			[]string{"nonce is", "access_token_type: any"}, "",
		},
		"marked in an answer": {
			", token_validation: both" + client, as.Opaque("", claims{"aud": "api", "token_use": "id"}), "", "wrong_type",
			[]string{"token_use", "require_token_type: false"}, "rfc9068",
		},
		"unknown key": {
			"", unpublished.JWT(claims{"aud": "api"}), "", "unknown_key",
			[]string{as.URL() + "/jwks", "jwks.min_refresh_interval"}, "",
		},
		"a slash more": {
			"", jwt("at+jwt", claims{"iss": as.URL() + "/"}), "", "wrong_issuer",
			[]string{`iss is "` + as.URL() + `/", issuer is "` + as.URL() + `"`, "slash at the end"}, "",
		},
		"https": {
			"", jwt("at+jwt", claims{"iss": strings.Replace(as.URL(), "http:", "https:", 1)}), "", "wrong_issuer",
			[]string{"differ by https and http", "public URL"}, "",
		},
		"another issuer": {
			"", jwt("at+jwt", claims{"iss": "https://x\n"}), "", "wrong_issuer",
			[]string{`iss is "https://x\n"`, "byte for byte"}, "",
		},
		"among two": {
			second, jwt("at+jwt", claims{"iss": "https://other.example.com/"}), "", "wrong_issuer",
			[]string{"slash at the end"}, "",
		},
		"not this rule's": {
			second, jwt("at+jwt", nil), "narrow", "wrong_issuer",
			[]string{"issuers of the rule"}, "",
		},
		"no prefix fits": {second, "c_opaque", "", "wrong_issuer", []string{"opaque_token_prefix"}, ""},
		"an answer's issuer": {
			", token_validation: both" + client, as.Opaque("", claims{"iss": "https://x", "aud": "api"}), "", "wrong_issuer",
			[]string{"introspection answer"}, "",
		},
		"opaque": {
			"", "opaque", "", "malformed_token",
			[]string{"token_validation: both or introspection"}, "",
		},
		"encrypted": {
			"", "a.b.c.d.e", "", "malformed_token",
			[]string{"token_validation: both or introspection"}, "",
		},
		"a broken JWT": {"", "a.b.c", "", "malformed_token", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.yaml")
			content := "issuers:\n- {issuer: '" + as.URL() + "', audience: api, insecure_http: true" + tc.auth + "}\n"
			if tc.rule != "" {
				content += "rules: [{name: narrow, issuers: ['https://other.example.com']}]\n"
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load(path, os.LookupEnv)
			if err != nil {
				t.Fatal(err)
			}
			svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", "test"))
			t.Cleanup(svc.Close)
			if err := svc.Apply(cfg); err != nil {
				t.Fatal(err)
			}
			svc.Settle(t.Context(), 10*time.Second)
			r := explain.Request{Method: "GET", Host: "api.example.com", Path: "/", Token: tc.token, Rule: tc.rule}
			for _, i := range cfg.Issuers {
				r.Issuers = append(r.Issuers, i.Discovery.Issuer)
			}
			walk, err := explain.Run(t.Context(), svc.Checks(), r)
			if err != nil {
				t.Fatal(err)
			}
			forbidden := tc.not != "" && strings.Contains(walk.Hint, tc.not)
			if walk.Reason != tc.reason || (walk.Hint == "") != (tc.want == nil) || forbidden {
				t.Errorf("got %s, hint %q; want %s, and %q in the hint, %q not",
					walk.Reason, walk.Hint, tc.reason, tc.want, tc.not)
			}
			for _, want := range tc.want {
				if !strings.Contains(walk.Hint, want) {
					t.Errorf("got hint %q, want %q in it", walk.Hint, want)
				}
			}
			if strings.ContainsAny(walk.Hint, "\n\x1b") || len(walk.Hint) > 600 {
				t.Errorf("got %q, want one short line", walk.Hint)
			}
			shown(t, walk, tc.token)
		})
	}
}

// shown holds both outputs to the hint, and to keeping the token out.
func shown(t *testing.T, walk *explain.Walk, token string) {
	t.Helper()
	var text, out bytes.Buffer
	if err := walk.Text(&text); err != nil {
		t.Fatal(err)
	}
	if err := walk.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var members struct{ Hint *string }
	if err := json.Unmarshal(out.Bytes(), &members); err != nil {
		t.Fatal(err)
	}
	if walk.Hint == "" {
		if strings.Contains(text.String(), "hint:") || members.Hint != nil {
			t.Errorf("got a hint in %s%s, want none", &text, &out)
		}
		return
	}
	decided := "\nreason: " + walk.Reason + "\nhint: " + walk.Hint + "\n"
	if !strings.Contains(text.String(), decided) || members.Hint == nil || *members.Hint != walk.Hint {
		t.Errorf("got %s%s, want the hint after the decision", &text, &out)
	}
	if len(token) > 20 && strings.Contains(text.String()+out.String(), token) {
		t.Error("the token was printed")
	}
}
