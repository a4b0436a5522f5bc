package envoy

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

const (
	maxMessageBytes = 1 << 20   // of a CheckRequest
	maxIntakeBytes  = 128 << 20 // of all that are under way
	longestCheck    = 15 * time.Second
)

// intake bounds the memory that Checks under way take, on all connections
// together: gRPC's own bounds are for one connection each. A Check takes room for
// the largest message before its own is read, and gives back what it does not
// need, so that what waits for its turn is not in memory yet.
type intake struct {
	room *semaphore.Weighted
}

func newIntake() *intake { return &intake{room: semaphore.NewWeighted(maxIntakeBytes)} }

// serve reads one Check and answers it. It stands where the generated code has a
// unary handler, which is called only after the message was read; on the wire the
// two are the same.
func (in *intake) serve(server any, stream grpc.ServerStream) error {
	s, ctx, c := server.(*Server), stream.Context(), new(call)
	if err := in.wait(ctx); err != nil {
		answer := s.overloaded(ctx, err)
		c.response = &answer
		return stream.SendMsg(c)
	}
	err := stream.RecvMsg(c)
	size := int64(len(c.request))
	in.room.Release(maxMessageBytes - size)
	defer in.room.Release(size)
	if err != nil {
		return err
	}
	if err := c.answer(func(room []byte) ([]byte, error) { return s.Answer(ctx, c.request, room) }); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return stream.SendMsg(c)
}

// wait takes room for the largest message. It leaves a quarter of the time there
// is for reading the message and deciding.
func (in *intake) wait(ctx context.Context) error {
	if in.room.TryAcquire(maxMessageBytes) {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		limited, cancel := context.WithTimeout(ctx, time.Until(deadline)*3/4)
		defer cancel()
		ctx = limited
	}
	return in.room.Acquire(ctx, maxMessageBytes)
}

// service is the description of the Check service that serve stands in.
func (in *intake) service() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: authv3.Authorization_ServiceDesc.ServiceName,
		HandlerType: authv3.Authorization_ServiceDesc.HandlerType,
		Streams:     []grpc.StreamDesc{{StreamName: "Check", Handler: in.serve}},
		Metadata:    authv3.Authorization_ServiceDesc.Metadata,
	}
}

// limitCheck ends Checks that take too long, whatever deadline they came with: a
// sender that never finishes its message would else hold its room for ever.
func limitCheck(ctx context.Context, info *tap.Info) (context.Context, error) {
	if info.FullMethodName != authv3.Authorization_Check_FullMethodName {
		return ctx, nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= longestCheck {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, longestCheck)
	_ = cancel // gRPC ends the context that it came from with the stream, and so this one
	return ctx, nil
}
