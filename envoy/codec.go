package envoy

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// call is one Check on its way through gRPC, as bytes on the wire.
type call struct {
	request  []byte // a CheckRequest
	response []byte // a CheckResponse
}

// codec leaves the bytes of a Check to the [Server]; all else is gRPC's own.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal implements encoding.CodecV2. The bytes are copied once, and whole: gRPC
// uses its buffers again, and what is found out about a token may outlive its Check.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if call, ok := v.(*call); ok {
		call.request = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if call, ok := v.(*call); ok {
		return mem.BufferSlice{mem.SliceBuffer(call.response)}, nil
	}
	return c.CodecV2.Marshal(v)
}
