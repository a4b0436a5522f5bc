package envoy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/bearergate/bearergate/authz"
)

// The keys of context_extensions (docs/contract.md §3). Clients cannot set them.
const (
	keyPrefix   = "bearergate."
	keyRule     = keyPrefix + "rule"
	keyScopes   = keyPrefix + "scopes"
	keyAudience = keyPrefix + "audience"
	keyIssuer   = keyPrefix + "issuer"
)

// maxRequestID bounds what a log line holds of a request ID.
const maxRequestID = 128

// decode makes an authz.Request of what Envoy reports. Missing parts are left
// empty, and decided upon like anything else.
func decode(check *authv3.CheckRequest) authz.Request {
	http := check.GetAttributes().GetRequest().GetHttp()
	f := fields{plain: http.GetHeaders(), raw: http.GetHeaderMap().GetHeaders()}
	id, _ := f.value("x-request-id")
	return authz.Request{
		ID:              id[:min(len(id), maxRequestID)],
		Method:          http.GetMethod(),
		Scheme:          http.GetScheme(),
		Host:            http.GetHost(),
		Path:            http.GetPath(),
		Authorization:   f.values("authorization"),
		Header:          f.value,
		PeerCertificate: check.GetAttributes().GetSource().GetCertificate(),
		Route:           decodeRoute(check.GetAttributes().GetContextExtensions()),
	}
}

// fields are the request headers. The filter's encode_raw_headers chooses which of
// the two is filled; who read only one would see no credential at all where the
// operator chose the other (E-05).
type fields struct {
	plain map[string]string
	raw   []*corev3.HeaderValue
}

// values returns each field of that lower-case name.
func (f fields) values(name string) []string {
	var all []string
	for _, h := range f.raw {
		if strings.EqualFold(h.GetKey(), name) {
			all = append(all, rawValue(h))
		}
	}
	for key, value := range f.plain {
		if strings.EqualFold(key, name) {
			all = append(all, value)
		}
	}
	return all
}

// value joins the fields of that name as RFC 9110 §5.3 does.
func (f fields) value(name string) (string, bool) {
	all := f.values(name)
	if len(all) == 1 {
		return all[0], true
	}
	return strings.Join(all, ","), len(all) > 0
}

func rawValue(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// decodeRoute reads the keys that are ours. What begins like one and is none
// is a mistake that must not open a route.
func decodeRoute(extensions map[string]string) authz.Route {
	var r authz.Route
	for key, value := range extensions {
		switch key {
		case keyRule:
			r.Rule, r.HasRule = value, true
		case keyScopes:
			r.HasScopes = true
			for _, scope := range strings.Split(value, " ") {
				if scope != "" {
					r.Scopes = append(r.Scopes, scope)
				}
			}
		case keyAudience:
			r.Audience, r.HasAudience = value, true
		case keyIssuer:
			r.Issuer, r.HasIssuer = value, true
		default:
			if len(key) >= len(keyPrefix) && strings.EqualFold(key[:len(keyPrefix)], keyPrefix) {
				r.Unknown = key
			}
		}
	}
	return r
}
