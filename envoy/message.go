package envoy

import (
	"strings"
	"unicode/utf8"
	"unsafe"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bearergate/bearergate/authz"
)

// The fields of CheckRequest (envoy/service/auth/v3) that a decision needs.
const (
	checkAttributes protowire.Number = 1

	attributesSource     protowire.Number = 1
	attributesRequest    protowire.Number = 4
	attributesExtensions protowire.Number = 10

	peerCertificate protowire.Number = 5

	requestHTTP protowire.Number = 2

	httpMethod    protowire.Number = 2
	httpHeaders   protowire.Number = 3
	httpPath      protowire.Number = 4
	httpHost      protowire.Number = 5
	httpScheme    protowire.Number = 6
	httpHeaderMap protowire.Number = 13

	headerMapHeaders protowire.Number = 1

	// Of an entry of a map, and of a HeaderValue.
	entryKey      protowire.Number = 1
	entryValue    protowire.Number = 2
	entryRawValue protowire.Number = 3
)

// message is a CheckRequest as it came. Making maps of all that Envoy tells costs
// more than deciding, so only what a decision needs is read, where it stands: the
// texts of the request point into wire, which belongs to this message alone and is
// never written again.
type message struct {
	wire    []byte
	request authz.Request

	http          []byte    // the HttpRequest within wire
	authorization [1]string // room for the one that there should be
	identified    bool      // x-request-id was seen
}

// parse reads wire. What the format allows and Envoy never sends is left to the
// generated code, and so is saying what is wrong with that which is no CheckRequest.
func (m *message) parse() error {
	if m.read() {
		return nil
	}
	check := new(authv3.CheckRequest)
	if err := proto.Unmarshal(m.wire, check); err != nil {
		return err
	}
	m.request = decode(check)
	return nil
}

// read says false where the generated code has to look.
func (m *message) read() bool {
	attributes, ok := only(m.wire, checkAttributes)
	if !ok {
		return false
	}
	request, ok := only(attributes, attributesRequest)
	if !ok {
		return false
	}
	if m.http, ok = only(request, requestHTTP); !ok {
		return false
	}
	m.request = authz.Request{Authorization: m.authorization[:0], Header: m.header}
	return m.readHTTP() && m.readAttributes(attributes)
}

// readHTTP fills the request. encode_raw_headers chooses which of headers and
// header_map is filled, never both (E-05).
func (m *message) readHTTP() bool {
	r := &m.request
	plain, raw := false, false
	ok := walk(m.http, func(number protowire.Number, value []byte) bool {
		switch number {
		case httpMethod:
			return text(value, &r.Method)
		case httpPath:
			return text(value, &r.Path)
		case httpHost:
			return text(value, &r.Host)
		case httpScheme:
			return text(value, &r.Scheme)
		case httpHeaders:
			plain = true
			var e entry
			return e.readPlain(value) && m.take(e, false)
		case httpHeaderMap:
			raw = true
			return walk(value, func(number protowire.Number, value []byte) bool {
				var e entry
				return number != headerMapHeaders || e.read(value) && m.take(e, true)
			})
		}
		return true
	})
	if len(r.Authorization) == 0 {
		r.Authorization = nil
	}
	return ok && (!plain || !raw)
}

// take keeps a header that every decision reads. Of a name that stands twice in a
// map the last one counts, which the generated code sees to.
func (m *message) take(e entry, several bool) bool {
	r := &m.request
	switch {
	case strings.EqualFold(e.key, "authorization"):
		if len(r.Authorization) > 0 && !several {
			return false
		}
		r.Authorization = append(r.Authorization, e.value)
	case strings.EqualFold(e.key, "x-request-id"):
		if m.identified {
			return false
		}
		m.identified = true
		r.ID = e.value[:min(len(e.value), maxRequestID)]
	}
	return true
}

// header returns the fields of that lower-case name, joined as RFC 9110 §5.3 does. It
// looks at what [message.readHTTP] has found to be well-formed.
func (m *message) header(name string) (string, bool) {
	var found []entry
	walk(m.http, func(number protowire.Number, value []byte) bool {
		var e entry
		switch number {
		case httpHeaders:
			if e.readPlain(value) && strings.EqualFold(e.key, name) {
				found = e.among(found)
			}
		case httpHeaderMap:
			return walk(value, func(number protowire.Number, value []byte) bool {
				if number == headerMapHeaders && e.read(value) && strings.EqualFold(e.key, name) {
					found = append(found, e)
				}
				return true
			})
		}
		return true
	})
	switch len(found) {
	case 0:
		return "", false
	case 1:
		return found[0].value, true
	}
	values := make([]string, len(found))
	for i, e := range found {
		values[i] = e.value
	}
	return strings.Join(values, ","), true
}

// readAttributes reads what stands beside the request: context_extensions, which few
// routes have, and the certificate of the client (include_peer_certificate). A second
// source would have to be merged with the first.
func (m *message) readAttributes(attributes []byte) bool {
	var extensions map[string]string
	sourced := false
	ok := walk(attributes, func(number protowire.Number, value []byte) bool {
		switch number {
		case attributesSource:
			first := !sourced
			sourced = true
			return first && m.readSource(value)
		case attributesExtensions:
			var e entry
			if !e.readPlain(value) {
				return false
			}
			if extensions == nil {
				extensions = map[string]string{}
			}
			extensions[e.key] = e.value
		}
		return true
	})
	m.request.Route = decodeRoute(extensions)
	return ok
}

func (m *message) readSource(peer []byte) bool {
	return walk(peer, func(number protowire.Number, value []byte) bool {
		return number != peerCertificate || text(value, &m.request.PeerCertificate)
	})
}

// entry is a HeaderValue, or an entry of a map of texts.
type entry struct{ key, value string }

// readPlain reads an entry of a map.
func (e *entry) readPlain(from []byte) bool {
	*e = entry{}
	return walk(from, func(number protowire.Number, value []byte) bool {
		switch number {
		case entryKey:
			return text(value, &e.key)
		case entryValue:
			return text(value, &e.value)
		}
		return true
	})
}

// read reads a HeaderValue, where a raw value that is there counts before the other.
func (e *entry) read(from []byte) bool {
	raw := ""
	ok := e.readPlain(from) && walk(from, func(number protowire.Number, value []byte) bool {
		if number == entryRawValue {
			raw = view(value)
		}
		return true
	})
	if raw != "" {
		e.value = raw
	}
	return ok
}

// among adds e to all, in place of one of the very same name.
func (e entry) among(all []entry) []entry {
	for i := range all {
		if all[i].key == e.key {
			all[i] = e
			return all
		}
	}
	return append(all, e)
}

// walk calls found with each field of a message that is a text, bytes or a
// message. It says false when found does, or when message is not well-formed.
func walk(message []byte, found func(number protowire.Number, value []byte) bool) bool {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return false
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 || !found(number, value) {
			return false
		}
		message = message[n:]
	}
	return true
}

// only returns the one field of that number, nil when there is none. It says false
// when there are several, which the format wants merged, or no well-formed message.
func only(message []byte, number protowire.Number) (value []byte, ok bool) {
	ok = walk(message, func(n protowire.Number, v []byte) bool {
		if n != number {
			return true
		}
		first := value == nil
		value = v
		return first
	})
	return value, ok
}

// text views value as a text. It says false where the generated code would refuse it.
func text(value []byte, to *string) bool {
	*to = view(value)
	return utf8.Valid(value)
}

// view returns the bytes of a message as a string without copying them: nobody
// writes to them, and they live as long as what points there.
func view(value []byte) string {
	return unsafe.String(unsafe.SliceData(value), len(value)) //nolint:gosec // never written to
}
