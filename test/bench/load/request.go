// Package load sends Checks as Envoy does, at so little cost of its own that
// what it measures is the server: the CheckRequest of each token is a copy of
// bytes, and of an answer no more is read than whether it allows.
package load

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Shape is what a CheckRequest has beside the token.
type Shape struct {
	Path string // empty: /orders/4711?expand=lines
	// Map sends headers in the field `headers`, as Envoy does without
	// encode_raw_headers; the shipped chains set that, and use `header_map`.
	Map bool
	// Few leaves only what `allowed_headers` of the shipped chains lets through.
	Few bool
	// Proof makes the DPoP proof of a request for URL with a token, which is bound; nil:
	// the tokens are bearer tokens.
	Proof func(url, token string) string
}

// URL is the one of the requests, without their query.
func (s Shape) URL() string {
	path, _, _ := strings.Cut(s.path(), "?")
	return "https://api.example.com" + path
}

// Headers are the twelve of a request by a browser's script behind a load
// balancer, the pseudo headers among them.
func Headers(path, token string) [][2]string {
	return [][2]string{
		{":authority", "api.example.com"},
		{":method", "GET"},
		{":path", path},
		{":scheme", "https"},
		{"accept", "application/json, text/plain, */*"},
		{"accept-encoding", "gzip, deflate, br, zstd"},
		{"accept-language", "en-GB,en;q=0.9,de;q=0.7"},
		{"authorization", "Bearer " + token},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"},
		{"x-forwarded-for", "203.0.113.42"},
		{"x-forwarded-proto", "https"},
		{"x-request-id", "4f1c2f6e-8a57-4a3c-9c0e-6f7d0f7f0a11"},
	}
}

func (s Shape) path() string {
	if s.Path == "" {
		return "/orders/4711?expand=lines"
	}
	return s.Path
}

// message is the CheckRequest of a token and, where there is one, a proof.
func (s Shape) message(token, proof string) *authv3.CheckRequest {
	request := &authv3.AttributeContext_HttpRequest{
		Id: "12091857364536", Method: "GET", Path: s.path(), Host: "api.example.com", Scheme: "https",
		Protocol: "HTTP/1.1", Headers: map[string]string{},
	}
	raw := &corev3.HeaderMap{}
	for _, h := range s.headers(token, proof) {
		if s.Few && h[0] != "authorization" && h[0] != "dpop" && h[0] != "x-request-id" {
			continue
		}
		request.Headers[h[0]] = h[1]
		raw.Headers = append(raw.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	if !s.Map {
		request.Headers, request.HeaderMap = nil, raw
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: socket("203.0.113.42", 49152)},
		Destination: &authv3.AttributeContext_Peer{Address: socket("192.0.2.10", 8443)},
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.New(time.Unix(1_790_000_000, 123_456_789)), Http: request,
		},
		MetadataContext:      &corev3.Metadata{},
		RouteMetadataContext: &corev3.Metadata{},
	}}
}

func (s Shape) headers(token, proof string) [][2]string {
	headers := Headers(s.path(), token)
	if s.Proof == nil {
		return headers
	}
	for i, h := range headers {
		if h[0] == "authorization" {
			headers[i][1] = "DPoP " + token
		}
	}
	return append(headers, [2]string{"dpop", proof})
}

func socket(address string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// lengths are those of a token and of a proof, which is 0 for bearer tokens.
type lengths struct{ token, proof int }

// template is the encoded CheckRequest of any token and proof of these lengths.
type template struct {
	bytes   []byte
	at      int // where the token stands
	proofAt int // where the proof stands
}

func (s Shape) template(of lengths) (template, error) {
	token, proof := strings.Repeat("~", of.token), strings.Repeat("^", of.proof)
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.message(token, proof))
	if err != nil {
		return template{}, err
	}
	// With the space before it: the length of something may look like a short mark.
	t := template{encoded, strings.Index(string(encoded), " "+token) + 1, strings.Index(string(encoded), proof)}
	if t.at == 0 || t.proofAt < 0 || of.token == 0 {
		return template{}, fmt.Errorf("a token and a proof of %+v bytes have no place in the request", of)
	}
	return t, nil
}

// writer makes requests for one worker, which has one under way at a time.
type writer struct {
	shape     Shape
	templates map[lengths]template
	buffer    []byte
}

// prove makes the proof of the next request: what a client does, and not measured.
func (w *writer) prove(token string) string {
	if w.shape.Proof == nil {
		return ""
	}
	return w.shape.Proof(w.shape.URL(), token)
}

func (w *writer) write(token, proof string) ([]byte, error) {
	of := lengths{len(token), len(proof)}
	t, ok := w.templates[of]
	if !ok {
		var err error
		if t, err = w.shape.template(of); err != nil {
			return nil, err
		}
		w.templates[of] = t
	}
	w.buffer = append(w.buffer[:0], t.bytes...)
	copy(w.buffer[t.at:], token)
	copy(w.buffer[t.proofAt:], proof)
	return w.buffer, nil
}

// codec passes bytes on: a request is a []byte, an answer a *[]byte.
type codec struct{}

var _ encoding.CodecV2 = codec{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	request, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("got a request of type %T, want bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(request)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	answer, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("got an answer of type %T, want bytes", v)
	}
	n := data.Len()
	if cap(*answer) < n {
		*answer = make([]byte, n)
	}
	*answer = (*answer)[:n]
	data.CopyTo(*answer)
	return nil
}

// The fields of a CheckResponse that say what was decided.
const (
	fieldStatus, fieldDenied, fieldOK = 1, 2, 3
)

// status returns 0 for an allow, or the HTTP status of a deny.
func status(answer []byte) (int, error) {
	code, http, ok := uint64(0), uint64(0), false
	err := fields(answer, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case fieldStatus: // google.rpc.Status: code
			return fields(value, func(number protowire.Number, _ []byte, v uint64) error {
				if number == 1 {
					code = v
				}
				return nil
			})
		case fieldDenied: // DeniedHttpResponse: status, an HttpStatus: code
			return fields(value, func(number protowire.Number, value []byte, _ uint64) error {
				if number != 1 {
					return nil
				}
				return fields(value, func(_ protowire.Number, _ []byte, v uint64) error { http = v; return nil })
			})
		case fieldOK:
			ok = true
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case code == 0 && ok:
		return 0, nil
	case code == 0 && http == 0:
		return 0, errors.New("got an answer that neither allows nor denies")
	case http == 0:
		return 403, nil // Envoy's default
	}
	return int(http), nil
}

// fields calls f for each field of a message, with its bytes or its number.
func fields(message []byte, f func(number protowire.Number, value []byte, v uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var value []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := f(number, value, v); err != nil {
			return err
		}
	}
	return nil
}
