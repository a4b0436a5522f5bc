package filter

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
)

// request is one request as Envoy shows it.
type request struct {
	authz.Request

	// fields are the headers, names in lower case. They are Envoy's memory, until keep.
	fields        fields
	authorization [1]string // room for the one that there should be
}

type fields [][2]string

// read fills the request. Envoy shows its own memory, which is gone or changed after the
// call, while what is decided of a text may be remembered for longer: what every
// decision reads is copied, once, and the rest when somebody asks for it.
func (r *request) read(all fields, handle shared.HttpFilterHandle) {
	r.fields, r.Header = all, r.header
	size := 0
	for _, f := range all {
		if r.place(f[0]) != nil || f[0] == authorization {
			size += len(f[1])
		}
	}
	var copied strings.Builder
	copied.Grow(size)
	r.Authorization = r.authorization[:0]
	for _, f := range all {
		place := r.place(f[0])
		if place == nil && f[0] != authorization {
			continue
		}
		start := copied.Len()
		copied.WriteString(f[1])
		value := copied.String()[start:] // the builder has room, and does not move
		if place == nil {
			r.Authorization = append(r.Authorization, value)
			continue
		}
		*place = value
	}
	if len(r.Authorization) == 0 {
		r.Authorization = nil
	}
	r.ID = r.ID[:min(len(r.ID), envoy.MaxRequestID)]
	r.PeerThumbprint = thumbprint(handle)
	if route, ok := handle.GetMostSpecificConfig().(*authz.Route); ok {
		r.Route = *route
	}
}

const authorization = "authorization"

// place returns where a header goes that there is one of; nil: it is another.
func (r *request) place(name string) *string {
	switch name {
	case ":method":
		return &r.Method
	case ":scheme":
		return &r.Scheme
	case ":authority":
		return &r.Host
	case ":path":
		return &r.Path
	case "x-request-id":
		return &r.ID
	}
	return nil
}

// thumbprint returns that of the client's certificate, as tokens have it (RFC 8705 §3.1).
func thumbprint(handle shared.HttpFilterHandle) string {
	digest, ok := handle.GetAttributeString(shared.AttributeIDConnectionSha256PeerCertificateDigest)
	if !ok || digest == "" {
		return ""
	}
	sum, err := hex.DecodeString(digest)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// header returns the fields of that lower-case name, joined as RFC 9110 §5.3 does.
func (r *request) header(name string) (string, bool) {
	var found []string
	for _, f := range r.fields {
		if f[0] == name {
			found = append(found, f[1])
		}
	}
	if len(found) == 1 {
		return strings.Clone(found[0]), true
	}
	return strings.Join(found, ","), len(found) > 0
}

// keep copies the headers, for a decision that outlasts the call that showed them, and
// returns how many bytes they take.
func (r *request) keep() (bytes int64) {
	const overhead = 24 << 10 // of the goroutine, its stack first, and what it reads of the token
	kept := make(fields, len(r.fields))
	for i, f := range r.fields {
		kept[i] = [2]string{strings.Clone(f[0]), strings.Clone(f[1])}
		bytes += int64(len(f[0]) + len(f[1]) + 64)
	}
	r.fields = kept
	return bytes + overhead
}

// present returns which of the names are there, as they stand in names: what is removed
// takes the memory of its name along.
func (f fields) present(names []string) []string {
	var there []string
	for _, name := range names {
		if slices.ContainsFunc(f, func(field [2]string) bool { return field[0] == name }) {
			there = append(there, name)
		}
	}
	return there
}
