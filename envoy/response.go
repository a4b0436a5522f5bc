package envoy

import (
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/bearergate/bearergate/authz"
)

// The fields of CheckResponse (envoy/service/auth/v3) that an allow has.
const (
	responseStatus   protowire.Number = 1
	responseOK       protowire.Number = 3
	responseMetadata protowire.Number = 4

	okHeaders         protowire.Number = 2
	okRemove          protowire.Number = 5
	okResponseHeaders protowire.Number = 6

	optionHeader protowire.Number = 1
	optionAppend protowire.Number = 2
	optionAction protowire.Number = 3

	structFields protowire.Number = 1
	valueString  protowire.Number = 3
	valueBool    protowire.Number = 4
)

// respond appends the CheckResponse of a decision, as bytes; nothing else makes one.
// Only a reason that allows, or a rule that is not enforced, leads to code OK, which is what Envoy goes by. An allow is
// written out here, since every good request waits for one and the generated code
// takes longer over it than the decision; the rest is left to that code.
func respond(d *authz.Decision, room []byte) ([]byte, error) {
	switch d.Outcome() {
	case authz.Allow:
		if !isText(d) {
			return nil, errNoText
		}
		return appendAllow(room, d), nil
	case authz.Serve:
		return proto.MarshalOptions{}.MarshalAppend(room, answer(d, localDocument(d)))
	}
	return proto.MarshalOptions{}.MarshalAppend(room, answer(d, localDeny(d)))
}

// errNoText: Envoy could not read the answer, which failure_mode_allow lets pass (E-06).
var errNoText = errors.New("a header of the answer is no UTF-8")

// isText says whether the headers can be written, as the generated code does.
func isText(d *authz.Decision) bool {
	for _, h := range d.Set {
		if !utf8.ValidString(h.Name) || !utf8.ValidString(h.Value) {
			return false
		}
	}
	return utf8.ValidString(d.Nonce) &&
		!slices.ContainsFunc(d.Remove, func(name string) bool { return !utf8.ValidString(name) })
}

// appendAllow writes the fields in the order of their numbers, as the generated code
// does.
func appendAllow(b []byte, d *authz.Decision) []byte {
	b = appendMessage(b, responseStatus, func(b []byte) []byte { return b }) // a code of 0 is not written
	b = appendMessage(b, responseOK, func(b []byte) []byte {
		for _, h := range d.Set {
			b = appendOverwrite(b, okHeaders, h)
		}
		for _, name := range d.Remove {
			b = appendText(b, okRemove, name)
		}
		if d.Nonce != "" {
			b = appendOverwrite(b, okResponseHeaders, authz.HeaderValue{Name: nonceHeader, Value: d.Nonce})
		}
		return b
	})
	return appendMessage(b, responseMetadata, func(b []byte) []byte { return appendMetadata(b, d) })
}

// appendOverwrite is overwrite, written out.
func appendOverwrite(b []byte, number protowire.Number, h authz.HeaderValue) []byte {
	return appendMessage(b, number, func(b []byte) []byte {
		b = appendMessage(b, optionHeader, func(b []byte) []byte {
			return appendText(appendText(b, entryKey, h.Name), entryValue, h.Value)
		})
		b = appendMessage(b, optionAppend, func(b []byte) []byte { return b }) // false is not written
		b = protowire.AppendTag(b, optionAction, protowire.VarintType)
		return protowire.AppendVarint(b, uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	})
}

// appendMetadata is metadata, written out.
func appendMetadata(b []byte, d *authz.Decision) []byte {
	for name, value := range told(d) {
		b = appendMessage(b, structFields, func(b []byte) []byte {
			b = appendText(b, entryKey, name)
			return appendMessage(b, entryValue, func(b []byte) []byte { return appendText(b, valueString, value) })
		})
	}
	if !d.Shadow {
		return b
	}
	return appendMessage(b, structFields, func(b []byte) []byte {
		b = appendText(b, entryKey, shadowed)
		return appendMessage(b, entryValue, func(b []byte) []byte {
			return protowire.AppendVarint(protowire.AppendTag(b, valueBool, protowire.VarintType), 1)
		})
	})
}

func appendText(b []byte, number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), text)
}

// appendMessage appends an embedded message. Its length stands before it, and is
// known only afterwards: most are short, and need one byte for it.
func appendMessage(b []byte, number protowire.Number, content func([]byte) []byte) []byte {
	b = append(protowire.AppendTag(b, number, protowire.BytesType), 0)
	start := len(b)
	b = content(b)
	size := uint64(len(b) - start) //nolint:gosec // not negative
	if more := protowire.SizeVarint(size) - 1; more > 0 {
		b = append(b, make([]byte, more)...)
		copy(b[start+more:], b[start:len(b)-more])
	}
	protowire.AppendVarint(b[:start-1], size)
	return b
}

func localDeny(d *authz.Decision) Local {
	return Local{Status: d.Reason.Status(), Header: denyHeaders(d), Body: body(d.Reason)}
}

// localDocument answers with a document: to Envoy that is a deny with another status.
func localDocument(d *authz.Decision) Local {
	headers := make([]authz.HeaderValue, 0, len(d.Header))
	for _, name := range slices.Sorted(maps.Keys(d.Header)) {
		headers = append(headers, authz.HeaderValue{Name: strings.ToLower(name), Value: d.Header.Get(name)})
	}
	return Local{Status: d.Reason.Status(), Header: headers, Body: string(d.Document)}
}

// answer is what reaches the client instead of the upstream's response.
func answer(d *authz.Decision, local Local) *authv3.CheckResponse {
	var headers []*corev3.HeaderValueOption
	for _, h := range local.Header {
		headers = append(headers, overwrite(h.Name, h.Value))
	}
	status := local.Status
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(code(status)), Message: d.Reason.String()}, //nolint:gosec // codes are few
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)}, //nolint:gosec // statuses are below 600
			Headers: headers,
			Body:    local.Body,
		}},
		DynamicMetadata: metadata(d),
	}
}

// code is never OK.
func code(status int) codes.Code {
	switch status {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusInternalServerError:
		return codes.Internal
	}
	return codes.PermissionDenied
}

// nonceHeader hands a client the nonce that its next proof has to have (RFC 9449 §8).
const nonceHeader = "dpop-nonce"

func denyHeaders(d *authz.Decision) []authz.HeaderValue {
	all := []authz.HeaderValue{
		{Name: "content-type", Value: "application/json"},
		{Name: "cache-control", Value: "no-store"},
	}
	// Envoy makes a field of each, and leaves out what is to be appended: of the answer
	// to a client it overwrites what was there before ours, not ours (P-13, E-12).
	for _, challenge := range d.Challenges {
		all = append(all, authz.HeaderValue{Name: "www-authenticate", Value: challenge})
	}
	if d.Nonce != "" {
		all = append(all, authz.HeaderValue{Name: nonceHeader, Value: d.Nonce})
	}
	if d.RetryAfter > 0 {
		seconds := int64(math.Ceil(float64(d.RetryAfter) / float64(time.Second)))
		all = append(all, authz.HeaderValue{Name: "retry-after", Value: strconv.FormatInt(seconds, 10)})
	}
	return all
}

func body(reason authz.Reason) string {
	code, description := reason.Error()
	raw, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
	if err != nil {
		return ""
	}
	return string(raw)
}

// overwrite sets both append and append_action: which one counts changed from
// one Envoy to the next (E-01).
func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		Append:       wrapperspb.Bool(false), //nolint:staticcheck // E-01: deprecated, and still what some releases go by
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// shadowed is the member of the metadata of decisions that a rule in shadow mode took.
const shadowed = "shadow"

// metadata is for rate limits, RBAC and access logs: Envoy keeps it under
// envoy.filters.http.ext_authz.
func metadata(d *authz.Decision) *structpb.Struct {
	fields := map[string]*structpb.Value{}
	for name, value := range told(d) {
		fields[name] = structpb.NewStringValue(value)
	}
	if d.Shadow {
		fields[shadowed] = structpb.NewBoolValue(true)
	}
	return &structpb.Struct{Fields: fields}
}

// validText returns text with what is no UTF-8 replaced. Nearly all of it is valid, and
// that is found out several bytes at a time.
func validText(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// told are the members of the metadata; what is empty is left out.
func told(d *authz.Decision) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		tell := func(name, value string) bool {
			return value == "" || yield(name, validText(value))
		}
		if !tell("reason", d.Reason.String()) || !tell("rule", d.Rule) || !tell("decision_id", d.ID) {
			return
		}
		t := d.Token
		if t == nil || !tell("sub", t.Subject) || !tell("scope", t.Scope()) {
			return
		}
		_ = tell("client_id", t.ClientID) && tell("iss", t.Issuer)
	}
}
