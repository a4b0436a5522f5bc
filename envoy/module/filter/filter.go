package filter

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
)

// state is how far a stream has come. Nothing of the request goes on in any but passed.
type state uint8

const (
	undecided state = iota
	waiting         // for a decision that is made elsewhere
	passed
	denied // or answered by ourselves
	gone   // the stream has ended
)

// filter is one stream. Envoy calls it on the thread of the stream, and so does the
// scheduler: nothing in it is locked, but for what goes on elsewhere meanwhile.
type filter struct {
	shared.EmptyHttpFilter
	*filters

	handle shared.HttpFilterHandle
	state  state
	nonce  string // for the response; empty: none
	later  *later // what goes on elsewhere; nil: nothing
}

// OnRequestHeaders implements shared.HttpFilter: what needs no waiting is decided here
// and now, and all else elsewhere, while Envoy keeps the request.
func (f *filter) OnRequestHeaders(headers shared.HeaderMap, _ bool) (status shared.HeadersStatus) {
	defer func() {
		if p := recover(); p != nil {
			f.fail(p)
			status = shared.HeadersStatusStop
		}
	}()
	all := fields(headers.GetAll())
	panicAt("headers", all)
	r := new(request)
	r.Route = f.route
	r.read(all, f.handle)
	d, decided := f.engine.checks.DecideNow(&r.Request)
	if !decided {
		return f.wait(headers, r)
	}
	if !f.apply(headers, all, r, &d) {
		return shared.HeadersStatusStop
	}
	return shared.HeadersStatusContinue
}

// wait has the request decided elsewhere.
func (f *filter) wait(headers shared.HeaderMap, r *request) shared.HeadersStatus {
	bytes, l := r.keep(), f.inLater() // which may panic, and nothing is held for it yet
	if !f.engine.room.enter(bytes) {
		d := f.engine.checks.Overloaded(context.Background(), &r.Request, errNoRoom)
		f.apply(headers, headers.GetAll(), r, &d)
		return shared.HeadersStatusStop
	}
	ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
	l.cancel = cancel
	f.state = waiting
	go func() {
		defer f.engine.room.leave(bytes)
		defer cancel()
		d := f.engine.checks.Decide(ctx, &r.Request)
		l.schedule(func() { f.resume(r, &d) })
	}()
	return shared.HeadersStatusStopAllAndWatermark
}

// resume goes on with a request that was decided elsewhere.
func (f *filter) resume(r *request, d *authz.Decision) {
	defer func() {
		if p := recover(); p != nil {
			f.fail(p)
		}
	}()
	if f.state != waiting {
		return
	}
	headers := f.handle.RequestHeaders()
	all := fields(headers.GetAll())
	panicAt("resume", all)
	if f.apply(headers, all, r, d) {
		f.handle.ContinueRequest()
	}
}

// apply does what was decided: it says true where the request goes on, and answers it
// where not. Nothing is done with the stream after an answer: it may be gone by then.
func (f *filter) apply(headers shared.HeaderMap, all fields, r *request, d *authz.Decision) bool {
	local, instead := f.engine.checks.Local(d)
	f.tell(d)
	if instead {
		f.answer(&local, d.Reason.String())
		return false
	}
	remove := all.present(d.Remove)
	panicAt("apply", all)
	for _, h := range d.Set {
		headers.Set(h.Name, h.Value)
	}
	for _, name := range remove {
		headers.Remove(name)
	}
	f.nonce = d.Nonce
	if d.Lasts > 0 {
		f.endWithToken(r, d)
	}
	f.state = passed
	return true
}

// tell keeps the dynamic metadata, under the name that ext_authz has for it. The SDK
// knows no booleans: that a decision was not enforced is a text.
func (f *filter) tell(d *authz.Decision) {
	envoy.Metadata(d, func(name, value string) { f.handle.SetMetadata(envoy.MetadataNamespace, name, value) })
	if d.Shadow {
		f.handle.SetMetadata(envoy.MetadataNamespace, envoy.Shadowed, "true")
	}
}

func (f *filter) answer(local *envoy.Local, reason string) {
	f.state = denied
	headers := make([][2]string, 0, len(local.Header)+1)
	for _, h := range local.Header {
		headers = append(headers, [2]string{h.Name, h.Value})
	}
	if f.isGRPC() {
		headers = append(headers, [2]string{"grpc-status", grpcStatus(local.Status)})
	}
	status := uint32(local.Status) //nolint:gosec // statuses are below 600
	f.handle.SendLocalResponse(status, headers, []byte(local.Body), "bearergate_"+reason)
}

// isGRPC says whether Envoy answers the request as gRPC wants it. It is asked in the
// wake of a panic, too.
func (f *filter) isGRPC() bool {
	defer func() { _ = recover() }()
	rest, ok := strings.CutPrefix(f.handle.RequestHeaders().GetOne("content-type"), "application/grpc")
	return ok && (rest == "" || rest[0] == '+')
}

// grpcStatus is what Envoy makes of a status. The SDK has it make OK of all, unless the
// answer has one.
func grpcStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "13" // INTERNAL
	case http.StatusUnauthorized:
		return "16" // UNAUTHENTICATED
	case http.StatusForbidden:
		return "7" // PERMISSION_DENIED
	case http.StatusNotFound:
		return "12" // UNIMPLEMENTED
	case http.StatusServiceUnavailable:
		return "14" // UNAVAILABLE
	}
	return "2" // UNKNOWN
}

// fail denies after a panic. If even that fails, the request stands still until Envoy's
// own timeouts: it does not pass.
func (f *filter) fail(p any) {
	defer func() { _ = recover() }()
	d := f.engine.checks.Panicked(p)
	if f.state == denied || f.state == gone {
		return
	}
	f.state = denied
	local, _ := f.engine.checks.Local(&d)
	f.tryTell(&d)
	f.answer(&local, d.Reason.String())
}

// tryTell is tell where that may be what panicked.
func (f *filter) tryTell(d *authz.Decision) {
	defer func() { _ = recover() }()
	f.tell(d)
}

// streamGrace is how long after a token's end its stream is ended here: Envoy's router
// ends a response in time, and this is for what it does not end.
const streamGrace = 100 * time.Millisecond

// endWithToken has the stream end when its token does, whatever the stream is by then.
func (f *filter) endWithToken(r *request, d *authz.Decision) {
	l := f.inLater()
	l.timer = time.AfterFunc(d.Lasts+streamGrace, func() { l.schedule(func() { f.endAs(authz.Expired) }) })
	if len(r.Authorization) == 1 {
		f.engine.streams.add(f, d, r.Authorization[0])
	}
}

// endAs ends a stream whose token is good no longer. The client gets an answer if nothing
// of the upstream's was sent yet; else the stream is cut.
func (f *filter) endAs(reason authz.Reason) {
	defer func() {
		if p := recover(); p != nil {
			f.fail(p)
		}
	}()
	if f.state != passed {
		return
	}
	d := authz.Decision{Reason: reason}
	local, _ := f.engine.checks.Local(&d)
	f.answer(&local, d.Reason.String())
}

// inLater returns what holds the stream for those who come back to it.
func (f *filter) inLater() *later {
	if f.later == nil {
		f.later = &later{scheduler: f.handle.GetScheduler()}
	}
	return f.later
}

// OnRequestBody implements shared.HttpFilter.
func (f *filter) OnRequestBody(shared.BodyBuffer, bool) shared.BodyStatus {
	if f.state == passed {
		return shared.BodyStatusContinue
	}
	return shared.BodyStatusStopNoBuffer
}

// OnRequestTrailers implements shared.HttpFilter.
func (f *filter) OnRequestTrailers(shared.HeaderMap) shared.TrailersStatus {
	if f.state == passed {
		return shared.TrailersStatusContinue
	}
	return shared.TrailersStatusStop
}

// OnResponseHeaders implements shared.HttpFilter: a nonce goes with what passes, too
// (RFC 9449 §8.2).
func (f *filter) OnResponseHeaders(headers shared.HeaderMap, _ bool) shared.HeadersStatus {
	defer func() { _ = recover() }() // the response is the client's, with a nonce or without
	if f.nonce != "" {
		headers.Set(envoy.NonceHeader, f.nonce)
	}
	return shared.HeadersStatusContinue
}

// OnStreamComplete implements shared.HttpFilter. Nobody touches the stream after it.
func (f *filter) OnStreamComplete() {
	defer func() { _ = recover() }()
	f.state = gone
	if f.later == nil {
		return
	}
	f.later.end()
	if f.later.timer != nil {
		f.engine.streams.remove(f)
	}
}
