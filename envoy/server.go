// Package envoy holds everything that knows Envoy: the ext_authz Check server,
// the way from a CheckRequest to an authz.Request and from an authz.Decision
// to a CheckResponse, the gRPC listener and its health service. It decides
// nothing; without a policy everything is denied.
package envoy

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/observe"
)

// OperationCheck is the operation that an Event tells of.
const OperationCheck = "envoy.service.auth.v3.Authorization/Check"

// Event is a decision and how long it took.
type Event struct {
	Request  *authz.Request
	Decision *authz.Decision
	Took     time.Duration
}

// Observer is told of decisions; the zero Observer is told nothing. Its functions must
// not block, and must be safe for concurrent use. [RequestOf] tells of what a decision
// begins.
type Observer = observe.Observer[Event]

// Policy decides requests; *authz.Policy is one.
type Policy interface {
	Decide(ctx context.Context, r *authz.Request) authz.Decision
}

// Server answers Check. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	policy atomic.Pointer[Policy]
	events Observer
	log    *slog.Logger
	named  atomic.Bool // decisions have an ID
}

// NewServer returns a Server that denies everything until [Server.Use].
func NewServer(events Observer, log *slog.Logger) *Server {
	return &Server{events: events, log: log}
}

// Use puts a policy in force between two requests: each request is decided by
// one policy from beginning to end.
func (s *Server) Use(p Policy) { s.policy.Store(&p) }

// Identify has each decision given an ID, or none any more. Whoever is told of the
// decision, and the dynamic metadata, have it.
func (s *Server) Identify(decisions bool) { s.named.Store(decisions) }

// newID returns 128 random bits in hex. It is an identifier and no secret.
func newID() string {
	var bits [16]byte
	binary.NativeEndian.PutUint64(bits[:8], rand.Uint64()) //nolint:gosec // no secret
	binary.NativeEndian.PutUint64(bits[8:], rand.Uint64()) //nolint:gosec // no secret
	var text [2 * len(bits)]byte
	hex.Encode(text[:], bits[:])
	return string(text[:])
}

// Check implements the ext_authz service for callers within the process. It never
// fails but for a request or an answer that cannot be written.
func (s *Server) Check(ctx context.Context, check *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	request, err := proto.Marshal(check)
	if err != nil {
		return nil, err
	}
	answer, err := s.Answer(ctx, request, nil)
	if err != nil {
		return nil, err
	}
	response := new(authv3.CheckResponse)
	return response, proto.Unmarshal(answer, response)
}

// check is one Check while it is decided, in one piece of memory. Its context is
// apart: a call that goes on after the Check holds that, and must not hold the rest.
type check struct {
	message
	decision authz.Decision
}

// Answer appends to room the CheckResponse that answers a CheckRequest, both as bytes
// on the wire; the request belongs to the Server from then on. To Envoy an error would
// be an outage of ours, which failure_mode_allow lets pass (E-06): the only one is that
// of bytes which are no CheckRequest.
func (s *Server) Answer(ctx context.Context, request, room []byte) (response []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			d := s.panicked(p)
			response, err = s.answer(&d, room), nil
		}
	}()
	began := time.Now()
	c := &check{message: message{wire: request}}
	if err := c.parse(); err != nil {
		return nil, err
	}
	s.judge(ctx, began, &c.request, &c.decision)
	return s.answer(&c.decision, room), nil
}

// judge decides a request that came then, and tells of it.
func (s *Server) judge(ctx context.Context, began time.Time, r *authz.Request, d *authz.Decision) {
	early := newEarly(ctx, began, r)
	defer early.stop()
	ctx = s.events.Start(early, OperationCheck)
	s.decide(ctx, r, d)
	s.tell(ctx, r, d, time.Since(began))
}

// answer is respond, or what is left when even that fails.
func (s *Server) answer(d *authz.Decision, room []byte) []byte {
	response, err := respond(d, room)
	if err != nil {
		s.log.Error("answer", "error", err)
		failed := denied(authz.Internal, err)
		failed.ID = d.ID
		response, _ = respond(&failed, room)
	}
	return response
}

// overloaded answers a Check that was not even read.
func (s *Server) overloaded(ctx context.Context, err error) []byte {
	d := s.Overloaded(ctx, &authz.Request{}, fmt.Errorf("too many bytes of Checks are under way: %w", err))
	return s.answer(&d, nil)
}

// tell has a decision named, counted and logged.
func (s *Server) tell(ctx context.Context, r *authz.Request, d *authz.Decision, took time.Duration) {
	if s.named.Load() {
		d.ID = newID()
	}
	s.events.End(ctx, Event{r, d, took})
	s.record(ctx, r, d, took)
}

func (s *Server) decide(ctx context.Context, r *authz.Request, d *authz.Decision) {
	defer func() {
		if p := recover(); p != nil {
			*d = s.panicked(p)
		}
	}()
	policy := s.policy.Load()
	if policy == nil {
		*d = denied(authz.Unavailable, errors.New("no configuration in use yet"))
		return
	}
	*d = (*policy).Decide(ctx, r)
}

// panicked makes a deny of a panic. What it panicked with may hold a token, and is
// not logged.
func (s *Server) panicked(p any) authz.Decision {
	s.log.Error("panic", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	return denied(authz.Internal, errors.New("panic"))
}

func denied(reason authz.Reason, err error) authz.Decision {
	d := authz.Decision{Reason: reason, Err: err}
	if reason == authz.Unavailable {
		d.RetryAfter = time.Second
	}
	return d
}

// record writes one line per decision: of a deny at info, of what could not be
// decided at warn, of what is ours to mend at error, of an allow at debug.
// Nothing of the token or the headers is in it (docs/contract.md §8).
func (s *Server) record(ctx context.Context, r *authz.Request, d *authz.Decision, took time.Duration) {
	level, text := slog.LevelInfo, "denied"
	switch {
	case d.Reason.Outcome() != authz.Deny:
		level, text = slog.LevelDebug, "allowed"
	case d.Shadow:
		text = "would be denied"
	case d.Reason == authz.Unavailable:
		level, text = slog.LevelWarn, "cannot decide"
	case d.Reason == authz.Internal || d.Reason == authz.Misconfigured:
		level = slog.LevelError
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("reason", d.Reason.String()), slog.String("issuer", d.Issuer), slog.String("rule", d.Rule),
		slog.String("request_id", r.ID), slog.Float64("duration_ms", float64(took.Microseconds())/1000),
	}
	if d.Shadow {
		attributes = append(attributes, slog.Bool("shadow", true))
	}
	if d.Err != nil {
		attributes = append(attributes, slog.String("error", d.Err.Error()))
	}
	s.log.LogAttrs(ctx, level, text, attributes...)
}
