package envoy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"

	"github.com/bearergate/bearergate/authz"
)

// stream is one Check on the wire.
type stream struct {
	grpc.ServerStream

	ctx     context.Context
	failure error // of reading
	read    bool
	answer  *authv3.CheckResponse
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) RecvMsg(m any) error {
	s.read = true
	if s.failure != nil {
		return s.failure
	}
	raw, err := encoding.GetCodecV2(proto.Name).Marshal(request(map[string]string{"a": "b"}))
	if err != nil {
		return err
	}
	return newCodec().Unmarshal(raw, m)
}

func (s *stream) SendMsg(m any) error {
	raw, err := newCodec().Marshal(m)
	if err != nil {
		return err
	}
	s.answer = new(authv3.CheckResponse)
	return encoding.GetCodecV2(proto.Name).Unmarshal(raw, s.answer)
}

// TestRoomIsGivenBack: a Check holds the room of its own bytes while it is
// decided, and none afterwards, whatever became of it.
func TestRoomIsGivenBack(t *testing.T) {
	for name, tc := range map[string]struct {
		failure error
		decide  func(context.Context, *authz.Request) authz.Decision
	}{
		"decided":  {nil, func(context.Context, *authz.Request) authz.Decision { return authz.Decision{Reason: authz.Public} }},
		"panics":   {nil, func(context.Context, *authz.Request) authz.Decision { panic("x") }},
		"not read": {errors.New("cut off"), nil},
	} {
		in := newIntake()
		server := NewServer(Observer{}, slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)))
		server.Use(decider(func(ctx context.Context, r *authz.Request) authz.Decision {
			if in.room.TryAcquire(maxIntakeBytes) {
				t.Errorf("%s: takes no room", name)
			}
			if !in.room.TryAcquire(maxIntakeBytes - maxMessageBytes/2) {
				t.Errorf("%s: a small Check takes the room of the largest", name)
			} else {
				in.room.Release(maxIntakeBytes - maxMessageBytes/2)
			}
			return tc.decide(ctx, r)
		}))
		s := &stream{ctx: t.Context(), failure: tc.failure}
		if err := in.serve(server, s); !errors.Is(err, tc.failure) || err == nil && s.answer == nil {
			t.Errorf("%s: got %v and answer %v", name, err, s.answer)
		}
		if !in.room.TryAcquire(maxIntakeBytes) {
			t.Errorf("%s: room is not given back", name)
		}
	}
}

// TestNoRoomIsADeny: a Check that finds no room in three quarters of its time is
// answered without being read.
func TestNoRoomIsADeny(t *testing.T) {
	in := newIntake()
	if !in.room.TryAcquire(maxIntakeBytes) {
		t.Fatal("no room to begin with")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	s := &stream{ctx: ctx}
	began := time.Now()
	err := in.serve(NewServer(Observer{}, slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil))), s)
	if err != nil || s.read || s.answer.GetStatus().GetCode() == 0 ||
		s.answer.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Errorf("got %v, read %v, answer %v; want a 503 without reading", err, s.read, s.answer)
	}
	if took := time.Since(began); took < 200*time.Millisecond || ctx.Err() != nil {
		t.Errorf("answered after %s, want three quarters of 400ms", took)
	}
}

// TestSendersWithoutDeadlineLeaveRoom: who never finishes a message and has no deadline
// holds room for ever, and shares half of it with his like.
func TestSendersWithoutDeadlineLeaveRoom(t *testing.T) {
	in := newIntake()
	for range maxIntakeBytes / 2 / maxMessageBytes {
		if _, err := in.enter(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	leave, err := in.enter(soon)
	if err != nil {
		t.Fatalf("got %v for a Check as Envoy sends it", err)
	}
	leave(maxMessageBytes)
	synctest.Test(t, func(t *testing.T) {
		for _, ctx := range []context.Context{context.Background(), late(t)} {
			began := time.Now()
			if _, err := in.enter(ctx); err == nil || time.Since(began) > longestCheck {
				t.Errorf("got %v after %s, want no room within %s", err, time.Since(began), longestCheck)
			}
		}
	})
	if !in.room.TryAcquire(maxIntakeBytes / 2) {
		t.Error("those that found no room took some")
	}
}

// late is a deadline that no Check has.
func late(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// TestACheckWithoutDeadlineEnds, whatever the policy waits for.
func TestACheckWithoutDeadlineEnds(t *testing.T) {
	s := NewServer(Observer{}, slog.New(slog.DiscardHandler))
	s.Use(decider(func(ctx context.Context, _ *authz.Request) authz.Decision {
		<-ctx.Done()
		return denied(authz.Unavailable, ctx.Err())
	}))
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, err := s.Check(context.Background(), request(nil)); err != nil || time.Since(began) != longestCheck {
			t.Errorf("answered after %s with error %v, want %s", time.Since(began), err, longestCheck)
		}
	})
}
