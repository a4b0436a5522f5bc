package load

import (
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// What is sent must be what Envoy would send with that token, also after one of
// another length.
func TestRequestIsThatOfTheToken(t *testing.T) {
	proven := func(url, token string) string { return url + " " + token }
	for name, shape := range map[string]Shape{
		"raw": {}, "map": {Map: true}, "few": {Few: true, Path: "/x"}, "proven": {Proof: proven}, "few, proven": {Few: true, Proof: proven},
	} {
		w := writer{shape: shape, templates: map[lengths]template{}}
		for _, token := range []string{"a", strings.Repeat("b", 782), "c", strings.Repeat("d", 782)} {
			proof := w.prove(token)
			if (proof == "") != (shape.Proof == nil) {
				t.Fatalf("%s: got the proof %q", name, proof)
			}
			bytes, err := w.write(token, proof)
			if err != nil {
				t.Fatal(err)
			}
			var got authv3.CheckRequest
			if err := proto.Unmarshal(bytes, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(shape.message(token, proof), &got, protocmp.Transform()); diff != "" {
				t.Errorf("%s, token of %d bytes: %s", name, len(token), diff)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	denied := func(status typev3.StatusCode) *authv3.CheckResponse_DeniedResponse {
		return &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: status}, Body: "no"},
		}
	}
	ok := &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{HeadersToRemove: []string{"x"}}}
	for name, tc := range map[string]struct {
		answer *authv3.CheckResponse
		status int
		fails  bool
	}{
		"allowed":             {&authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: ok}, 0, false},
		"allowed, no status":  {&authv3.CheckResponse{HttpResponse: ok}, 0, false},
		"denied":              {&authv3.CheckResponse{Status: &rpcstatus.Status{Code: 16}, HttpResponse: denied(401)}, 401, false},
		"denied by code only": {&authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7, Message: "m"}}, 403, false},
		"code and OK":         {&authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}, HttpResponse: ok}, 403, false},
		"nothing":             {&authv3.CheckResponse{}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := proto.Marshal(tc.answer)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := status(answer); got != tc.status || (err != nil) != tc.fails {
				t.Errorf("got %d, %v; want %d", got, err, tc.status)
			}
		})
	}
	if _, err := status([]byte{0xff}); err == nil {
		t.Error("got no error for bytes that are no message")
	}
}
