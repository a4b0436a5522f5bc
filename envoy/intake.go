package envoy

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	maxMessageBytes = 1 << 20   // of a CheckRequest
	maxIntakeBytes  = 128 << 20 // of all that are under way
	longestCheck    = 15 * time.Second
)

// intake bounds the memory that Checks under way take, on all connections
// together: gRPC's own bounds are for one connection each. A Check takes room for
// the largest message before its own is read, and gives back what it does not
// need, so that what waits for its turn is not in memory yet. A sender that never
// finishes its message holds its room until its deadline: those that come without
// one, as Envoy never does, share half of the room among themselves.
type intake struct {
	room    *semaphore.Weighted
	patient *semaphore.Weighted
}

func newIntake() *intake {
	return &intake{room: semaphore.NewWeighted(maxIntakeBytes), patient: semaphore.NewWeighted(maxIntakeBytes / 2)}
}

// serve reads one Check and answers it. It stands where the generated code has a
// unary handler, which is called only after the message was read; on the wire the
// two are the same.
func (in *intake) serve(server any, stream grpc.ServerStream) error {
	s, ctx, c := server.(*Server), stream.Context(), new(call)
	leave, err := in.enter(ctx)
	if err != nil {
		answer := s.overloaded(ctx, err)
		c.response = &answer
		return stream.SendMsg(c)
	}
	err = stream.RecvMsg(c)
	size := int64(len(c.request))
	leave(maxMessageBytes - size)
	defer leave(size)
	if err != nil {
		return err
	}
	if err := c.answer(func(room []byte) ([]byte, error) { return s.Answer(ctx, c.request, room) }); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return stream.SendMsg(c)
}

// enter takes room for the largest message; leave gives some of it back.
func (in *intake) enter(ctx context.Context) (leave func(bytes int64), err error) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= longestCheck {
		return in.room.Release, take(ctx, in.room)
	}
	if err := take(ctx, in.patient); err != nil {
		return nil, err
	}
	if err := take(ctx, in.room); err != nil {
		in.patient.Release(maxMessageBytes)
		return nil, err
	}
	return func(bytes int64) { in.room.Release(bytes); in.patient.Release(bytes) }, nil
}

// take leaves a quarter of the time there is for reading the message and deciding.
func take(ctx context.Context, room *semaphore.Weighted) error {
	if room.TryAcquire(maxMessageBytes) {
		return nil
	}
	left := longestCheck / 2 // who has no deadline may wait twice
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	limited, cancel := context.WithTimeout(ctx, left*3/4)
	defer cancel()
	return room.Acquire(limited, maxMessageBytes)
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
