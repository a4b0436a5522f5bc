package envoy

import (
	"context"
	"errors"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/nowait"
)

// Decide decides a request for a caller within Envoy's own process, and tells of it, as
// a Check of the same request does. It waits no longer than ctx lasts, and a panic in it
// is a deny.
func (s *Server) Decide(ctx context.Context, r *authz.Request) (d authz.Decision) {
	defer func() {
		if p := recover(); p != nil {
			d = s.panicked(p)
		}
	}()
	s.judge(ctx, time.Now(), r, &d)
	return d
}

// hurried is the context of [Server.DecideNow].
var hurried = nowait.With(context.Background())

// DecideNow is [Server.Decide] for a thread that many requests share. Where that would
// have to wait, or to verify a signature, it says false, and nobody is told of the
// attempt; the request is then for Decide, on a thread of its own.
func (s *Server) DecideNow(r *authz.Request) (d authz.Decision, decided bool) {
	defer func() {
		if p := recover(); p != nil {
			d, decided = s.panicked(p), true
		}
	}()
	began := time.Now()
	early := newEarly(hurried, began, r)
	defer early.stop()
	ctx := s.events.Start(early, OperationCheck) // a span that has no end is never sent
	s.decide(ctx, r, &d)
	if errors.Is(d.Err, nowait.Err) {
		return authz.Decision{}, false
	}
	s.tell(ctx, r, &d, time.Since(began))
	return d, true
}

// Panicked makes a deny of a panic outside of a decision, and logs it.
func (s *Server) Panicked(p any) authz.Decision { return s.panicked(p) }

// Overloaded denies a request that there is no room to decide, and tells of it.
func (s *Server) Overloaded(ctx context.Context, r *authz.Request, err error) authz.Decision {
	d := denied(authz.Unavailable, err)
	s.tell(ctx, r, &d, 0)
	return d
}

// Local is what a client gets in place of the upstream's response.
type Local struct {
	Status int
	Header []authz.HeaderValue // fields of one name are apart, names in lower case
	Body   string
}

// Local returns what a client gets in place of the upstream's response; false: the
// request passes, with the changes of the decision. It is what the Check's answer has
// the client get.
func (s *Server) Local(d *authz.Decision) (local Local, instead bool) {
	switch d.Outcome() {
	case authz.Allow:
		if isText(d) {
			return Local{}, false
		}
		s.log.Error("answer", "error", errNoText)
		failed := denied(authz.Internal, errNoText)
		return localDeny(&failed), true
	case authz.Serve:
		return localDocument(d), true
	}
	return localDeny(d), true
}

// DecodeRoute reads what a route demands, by the keys of context_extensions.
func DecodeRoute(keys map[string]string) authz.Route { return decodeRoute(keys) }

// MetadataNamespace is where Envoy keeps the dynamic metadata of the ext_authz filter.
const MetadataNamespace = "envoy.filters.http.ext_authz"

// Metadata calls tell with each member of the dynamic metadata that is a text.
func Metadata(d *authz.Decision, tell func(name, value string)) {
	for name, value := range told(d) {
		tell(name, value)
	}
}

// Shadowed is the member of the metadata of decisions that a rule in shadow mode took.
const Shadowed = shadowed

// NonceHeader is the response header of an allow with a nonce.
const NonceHeader = nonceHeader

// MaxRequestID bounds what is kept of a request's ID, in bytes.
const MaxRequestID = maxRequestID
