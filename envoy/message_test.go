package envoy

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/validation"
)

// full is a CheckRequest with all that Envoy can fill.
func full() *authv3.CheckRequest {
	check := request(map[string]string{
		":authority": "h", "authorization": "Bearer a", "x-request-id": "id", "mcp-name": "n", "accept": "*/*",
	})
	http := check.Attributes.Request.Http
	http.Id, http.Scheme, http.Query, http.Size, http.Protocol, http.Body = "17", "https", "q", -1, "HTTP/2", "b"
	check.Attributes.Request.Time = timestamppb.Now()
	check.Attributes.Source = &authv3.AttributeContext_Peer{
		Address:     &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "::1"}}},
		Certificate: "pem", Principal: "p", Labels: map[string]string{"a": "b"},
	}
	check.Attributes.ContextExtensions = map[string]string{"bearergate.rule": "r", "other": "x"}
	check.Attributes.MetadataContext = &corev3.Metadata{}
	return check
}

// rawHeaders is a CheckRequest as encode_raw_headers makes it.
func rawHeaders(pairs ...string) *authv3.CheckRequest {
	check := request(nil)
	headers := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	check.Attributes.Request.Http.HeaderMap = headers
	return check
}

func wire(t testing.TB, check *authv3.CheckRequest) []byte {
	t.Helper()
	raw, err := proto.Marshal(check)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestWhatEnvoySendsIsReadInPlace: else every request would take the long way, and no
// other test would notice.
func TestWhatEnvoySendsIsReadInPlace(t *testing.T) {
	for name, check := range map[string]*authv3.CheckRequest{
		"all there is":       full(),
		"no headers":         request(nil),
		"raw":                rawHeaders("authorization", "a", "x-request-id", "b", "mcp-name", "\xff"),
		"raw, two of a kind": rawHeaders("authorization", "a", "authorization", "b"),
		"empty":              {},
	} {
		m := message{wire: wire(t, check)}
		if !m.read() {
			t.Errorf("%s: left to the generated code", name)
		}
		if allocations := testing.AllocsPerRun(10, func() {
			m := message{wire: m.wire}
			_ = m.read()
		}); name == "no headers" && allocations > 2 {
			t.Errorf("%s: got %v allocations", name, allocations)
		}
	}
}

// TestWhatEnvoyNeverSendsIsLeftToTheGeneratedCode: to read it alike is easy to get
// wrong, and serves nobody.
func TestWhatEnvoyNeverSendsIsLeftToTheGeneratedCode(t *testing.T) {
	both := request(map[string]string{"authorization": "a"})
	both.Attributes.Request.Http.HeaderMap = rawHeaders("authorization", "b").Attributes.Request.Http.HeaderMap
	twice := append(wire(t, request(map[string]string{"authorization": "a"})), wire(t, request(nil))...)
	for name, raw := range map[string][]byte{
		"both kinds of headers": wire(t, both),
		"to be merged":          twice,
		"two cases of a name":   wire(t, request(map[string]string{"authorization": "a", "Authorization": "b"})),
		"two request IDs":       wire(t, rawHeaders("x-request-id", "", "x-request-id", "b")),
		"no UTF-8":              bytes.Replace(wire(t, request(map[string]string{"a": "zzz"})), []byte("zzz"), []byte("z\xffz"), 1),
		"cut off":               wire(t, full())[:100],
		"a group":               protowire.AppendTag(nil, 9, protowire.StartGroupType),
	} {
		if m := (&message{wire: raw}); m.read() {
			t.Errorf("%s: read in place as %+v", name, m.request)
		}
		sameRequest(t, raw)
	}
}

// sameRequest holds what is read in place against what the generated code makes of
// the same bytes.
func sameRequest(t *testing.T, raw []byte) {
	t.Helper()
	check := new(authv3.CheckRequest)
	wantErr := proto.Unmarshal(raw, check)
	m := message{wire: raw}
	err := m.parse()
	if wantErr != nil {
		return // in a part that no decision reads, it does not matter
	}
	if err != nil {
		t.Fatalf("got %v of what the generated code reads as %v", err, check)
	}
	got, want := m.request, decode(check)
	for _, name := range []string{"authorization", "x-request-id", "mcp-name", "accept", "", "a"} {
		value, ok := got.Header(name)
		wantValue, wantOK := want.Header(name)
		if ok != wantOK || !sameValues(value, wantValue) {
			t.Errorf("%q: got %q, %v, want %q, %v", name, value, ok, wantValue, wantOK)
		}
	}
	if !sameValues(strings.Join(got.Authorization, ","), strings.Join(want.Authorization, ",")) || !sameValues(got.ID, want.ID) {
		t.Errorf("got %q of request %q, want %q of %q", got.Authorization, got.ID, want.Authorization, want.ID)
	}
	for _, r := range []*authz.Request{&got, &want} {
		r.Header, r.Authorization, r.ID = nil, nil, ""
	}
	if got.Route.Unknown != "" && want.Route.Unknown != "" { // any of them
		got.Route.Unknown = want.Route.Unknown
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// sameValues: keys of a map that differ in case alone come in any order.
func sameValues(a, b string) bool {
	x, y := strings.Split(a, ","), strings.Split(b, ",")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// FuzzMessage: whatever the bytes are, they are read as the generated code reads them.
func FuzzMessage(f *testing.F) {
	f.Add(wire(f, full()))
	f.Add(wire(f, rawHeaders("authorization", "a", "Authorization", "b", "mcp-name", "x", "mcp-name", "y")))
	f.Add(append(wire(f, full()), wire(f, request(map[string]string{"a": "b"}))...))
	f.Add([]byte{})
	f.Fuzz(sameRequest)
}

// TestShuffledMessages does what a fuzzer takes long to find: fields in any order,
// doubled, left out, and of the wrong kind, at every level.
func TestShuffledMessages(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		check := full()
		if random.IntN(2) == 0 {
			check = rawHeaders("authorization", "a", "x-request-id", "id", "mcp-name", "x")
			check.Attributes.ContextExtensions = map[string]string{"bearergate.scopes": "a b"}
		}
		sameRequest(t, shuffled(random, wire(t, check), 4))
		if t.Failed() {
			return
		}
	}
}

// shuffled rewrites a message and those within it, if they are any.
func shuffled(random *rand.Rand, raw []byte, depth int) []byte {
	var fields [][]byte
	for rest := raw; len(rest) > 0; {
		number, kind, n := protowire.ConsumeField(rest)
		if n < 0 {
			return raw
		}
		one := rest[:n]
		if kind == protowire.BytesType && depth > 0 {
			_, _, tag := protowire.ConsumeTag(rest)
			value, _ := protowire.ConsumeBytes(rest[tag:])
			one = protowire.AppendBytes(protowire.AppendTag(nil, number, kind), shuffled(random, value, depth-1))
		}
		switch random.IntN(40) {
		case 0:
			fields = append(fields, one)
		case 1:
			one = nil
		case 2:
			one = protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 7)
		case 3:
			fields = append(fields, protowire.AppendBytes(protowire.AppendTag(nil, number+1, protowire.BytesType), []byte("x")))
		}
		fields = append(fields, one)
		rest = rest[n:]
	}
	if random.IntN(4) == 0 {
		random.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	}
	return bytes.Join(fields, nil)
}

// allow is what the generated code is given to write.
func allow(d authz.Decision) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{HeadersToRemove: d.Remove}
	if d.Nonce != "" {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, overwrite("dpop-nonce", d.Nonce))
	}
	for _, h := range d.Set {
		ok.Headers = append(ok.Headers, overwrite(h.Name, h.Value))
	}
	return &authv3.CheckResponse{
		Status:          new(rpcstatus.Status),
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: metadata(&d),
	}
}

// FuzzAllow: what is written out reads as what the generated code writes.
func FuzzAllow(f *testing.F) {
	f.Add("alice", "a b", "app", "rule", uint8(3))
	f.Add("", "", "", "", uint8(0))
	f.Add(strings.Repeat("x", 127), strings.Repeat("y", 128), strings.Repeat("z", 20_000), "\xff", uint8(200))
	f.Fuzz(func(t *testing.T, subject, scope, client, rule string, removed uint8) {
		d := authz.Decision{
			Reason: authz.Allowed, Rule: rule, Shadow: removed%2 == 1, Nonce: strings.ToValidUTF8(client, ""),
			Token: &validation.Token{Subject: subject, ClientID: client, Scopes: strings.Fields(scope), Issuer: "i"},
		}
		for _, value := range []string{subject, scope, client} {
			if value = strings.ToValidUTF8(value, ""); value != "" {
				d.Set = append(d.Set, authz.HeaderValue{Name: "x-auth", Value: value})
			}
		}
		for i := range int(removed) {
			d.Remove = append(d.Remove, strings.Repeat("r", i))
		}
		if diff := cmp.Diff(allow(d), responded(t, d), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	})
}
