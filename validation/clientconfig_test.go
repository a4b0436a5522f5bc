package validation

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bearergate/bearergate/internal/clientauth"
)

// TestWhatClientAuthenticationIsTold: every member of its Config comes from one of
// ours, and none is forgotten.
func TestWhatClientAuthenticationIsTold(t *testing.T) {
	got := Config{
		Issuer: "https://as", ClientAuthMethod: AuthBearer, ClientID: "gate", ClientSecret: "s3cret",
		ClientSecretFile: "secret", ClientKeyFile: "key", ClientKeyID: "k1", ClientCertFile: "cert",
		ClientScopes: []string{"introspect"},
	}.clientAuth()
	want := clientauth.Config{
		Method: clientauth.Bearer, ClientID: "gate", SecretFile: "secret", KeyFile: "key", KeyID: "k1", CertFile: "cert",
		Audience: "https://as", Scopes: []string{"introspect"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(clientauth.Config{}, "Secret")); diff != "" {
		t.Error(diff)
	}
	if secret := got.Secret(); secret != "s3cret" {
		t.Errorf("got secret %q", secret)
	}
	for members, i := reflect.ValueOf(got), 0; i < members.NumField(); i++ {
		if members.Field(i).IsZero() {
			t.Errorf("%s is told nothing", members.Type().Field(i).Name)
		}
	}
}
