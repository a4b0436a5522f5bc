package envoy

import (
	"bytes"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// usualAnswer is more than the answer to most requests takes, in bytes.
const usualAnswer = 1 << 10

// call is one Check on its way through gRPC, as bytes on the wire.
type call struct {
	request  []byte  // a CheckRequest
	response *[]byte // a CheckResponse, in room of the pool
}

// answer has f append the response to room that grew for those before.
func (c *call) answer(f func(room []byte) ([]byte, error)) error {
	c.response = mem.DefaultBufferPool().Get(usualAnswer)
	var err error
	*c.response, err = f((*c.response)[:0])
	return err
}

// codec leaves the bytes of a Check to the [Server]; all else is gRPC's own.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal implements encoding.CodecV2. The bytes are copied once, and whole: gRPC
// uses its buffers again, and what is found out about a token may outlive its Check.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	call, ok := v.(*call)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if len(data) == 1 { // as most are: nothing is zeroed that is written over
		call.request = bytes.Clone(data[0].ReadOnlyData())
	} else {
		call.request = data.Materialize()
	}
	return nil
}

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	call, ok := v.(*call)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	return mem.BufferSlice{mem.NewBuffer(call.response, mem.DefaultBufferPool())}, nil
}
