package envoy

import (
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/bearergate/bearergate/authz"
)

// TestWhatBindingsNeedIsRead, both ways: the scheme that a proof names, and the
// certificate that Envoy has verified.
func TestWhatBindingsNeedIsRead(t *testing.T) {
	check := full()
	check.Attributes.Request.Http.Headers["dpop"] = "a,b" // as Envoy joins two fields
	m := message{wire: wire(t, check)}
	if !m.read() {
		t.Fatal("left to the generated code")
	}
	for name, r := range map[string]authz.Request{"in place": m.request, "generated": decode(check)} {
		proof, _ := r.Header("dpop")
		if r.Scheme != "https" || r.PeerCertificate != "pem" || proof != "a,b" {
			t.Errorf("%s: got scheme %q, certificate %q, proof %q", name, r.Scheme, r.PeerCertificate, proof)
		}
	}
	raw := message{wire: wire(t, rawHeaders("dpop", "a", "DPoP", "b"))}
	if !raw.read() {
		t.Fatal("left to the generated code")
	}
	if proof, _ := raw.request.Header("dpop"); proof != "a,b" {
		t.Errorf("got proof %q of two fields", proof)
	}
}

// TestSourcesAreMerged: what the format allows reads alike, although Envoy never sends
// it.
func TestSourcesAreMerged(t *testing.T) {
	source := func(certificate string) []byte {
		peer := protowire.AppendString(protowire.AppendTag(nil, 5, protowire.BytesType), certificate)
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), peer)
	}
	attributes := append(source("one"), source("two")...)
	sameRequest(t, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), attributes))
}

// TestEachChallengeIsAField (P-13, E-12). What a real Envoy makes of them is looked at
// in test/e2e: one that is to be appended does not reach the client.
func TestEachChallengeIsAField(t *testing.T) {
	d := authz.Decision{Reason: authz.UseNonce, Challenges: []string{"DPoP a", "Bearer b"}, Nonce: "n"}
	want := [][2]string{{"www-authenticate", "DPoP a"}, {"www-authenticate", "Bearer b"}, {"dpop-nonce", "n"}}
	got := responded(t, d).GetDeniedResponse().GetHeaders()
	got = slices.DeleteFunc(got, func(h *corev3.HeaderValueOption) bool {
		return h.GetHeader().GetKey() == "content-type" || h.GetHeader().GetKey() == "cache-control"
	})
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, w := range want {
		if h := got[i]; h.GetHeader().GetKey() != w[0] || h.GetHeader().GetValue() != w[1] ||
			h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("got %v, want %v", h, w)
		}
	}
}

// TestRenewedNonceGoesToTheClient, and never upstream.
func TestRenewedNonceGoesToTheClient(t *testing.T) {
	passed := responded(t, authz.Decision{Reason: authz.Allowed, Nonce: "n"}).GetOkResponse()
	if len(passed.GetHeaders()) > 0 || len(passed.GetResponseHeadersToAdd()) != 1 {
		t.Fatalf("got %v", passed)
	}
	h := passed.GetResponseHeadersToAdd()[0]
	if h.GetHeader().GetKey() != "dpop-nonce" || h.GetHeader().GetValue() != "n" ||
		h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
		t.Errorf("got %v", h)
	}
	if without := responded(t, authz.Decision{Reason: authz.Allowed}); without.GetOkResponse().ResponseHeadersToAdd != nil {
		t.Errorf("got %v without a nonce", without)
	}
}
