package envoy

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/bearergate/bearergate/authz"
)

// respond makes the CheckResponse of a decision; nothing else makes one. Only
// a reason that allows leads to code OK, which is what Envoy goes by.
func respond(d authz.Decision) *authv3.CheckResponse {
	switch d.Reason.Outcome() {
	case authz.Allow:
		return allow(d)
	case authz.Serve:
		return serve(d)
	}
	return deny(d)
}

func allow(d authz.Decision) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{HeadersToRemove: d.Remove, Headers: make([]*corev3.HeaderValueOption, 0, len(d.Set))}
	for _, h := range d.Set {
		ok.Headers = append(ok.Headers, overwrite(h.Name, h.Value))
	}
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: metadata(d),
	}
}

func deny(d authz.Decision) *authv3.CheckResponse {
	return answer(d, denyHeaders(d), body(d.Reason))
}

// serve answers with a document: to Envoy that is a deny with another status.
func serve(d authz.Decision) *authv3.CheckResponse {
	headers := make([]*corev3.HeaderValueOption, 0, len(d.Header))
	for _, name := range slices.Sorted(maps.Keys(d.Header)) {
		headers = append(headers, overwrite(strings.ToLower(name), d.Header.Get(name)))
	}
	return answer(d, headers, string(d.Document))
}

// answer is what reaches the client instead of the upstream's response.
func answer(d authz.Decision, headers []*corev3.HeaderValueOption, body string) *authv3.CheckResponse {
	status := d.Reason.Status()
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(code(status)), Message: d.Reason.String()}, //nolint:gosec // codes are few
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)}, //nolint:gosec // statuses are below 600
			Headers: headers,
			Body:    body,
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

func denyHeaders(d authz.Decision) []*corev3.HeaderValueOption {
	all := []*corev3.HeaderValueOption{
		overwrite("content-type", "application/json"),
		overwrite("cache-control", "no-store"),
	}
	if d.Challenge != "" {
		all = append(all, overwrite("www-authenticate", d.Challenge))
	}
	if d.RetryAfter > 0 {
		seconds := int64(math.Ceil(float64(d.RetryAfter) / float64(time.Second)))
		all = append(all, overwrite("retry-after", strconv.FormatInt(seconds, 10)))
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

// metadata is for rate limits, RBAC and access logs: Envoy keeps it under
// envoy.filters.http.ext_authz.
func metadata(d authz.Decision) *structpb.Struct {
	fields := map[string]*structpb.Value{"reason": structpb.NewStringValue(d.Reason.String())}
	add := func(name, value string) {
		if value != "" {
			fields[name] = structpb.NewStringValue(strings.ToValidUTF8(value, "\uFFFD"))
		}
	}
	add("rule", d.Rule)
	if t := d.Token; t != nil {
		add("sub", t.Subject)
		add("scope", strings.Join(t.Scopes, " "))
		add("client_id", t.ClientID)
		add("iss", t.Issuer)
	}
	return &structpb.Struct{Fields: fields}
}
