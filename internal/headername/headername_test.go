package headername

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpellings(t *testing.T) { // E-04, A-10
	got := Spellings("x-a_b")
	slices.Sort(got)
	if diff := cmp.Diff([]string{"x-a-b", "x-a_b", "x_a-b", "x_a_b"}, got); diff != "" {
		t.Error(diff)
	}
	if got := len(Spellings("a-b-c-d-e-f")); got != 32 {
		t.Errorf("got %d spellings, want 32", got)
	}
}

func TestCheck(t *testing.T) { // docs/contract.md §2
	for _, name := range []string{
		"x-auth-sub", "X-User", "x_user", "x-forwarded-user", "x-forwarded-email", "tenant", "a-b-c-d-e-f",
	} {
		if err := Check(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ":path", "Host", "authorization", "Content-Length", "content-type", "connection", "Transfer-Encoding", "x-envoy-original-path", "X_Envoy_Y",
		"x-forwarded-for", "x_forwarded_host", "cookie", "te", "upgrade", "x y", "x\n", "x-ä", "a-b-c-d-e-f-g", "proxy-authorization", "x-request-id",
		"dpop", "x-real-ip", "X_Original_URL", "x-http-method-override", "set-cookie", "x-forwarded-client-cert",
	} {
		if Check(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}
