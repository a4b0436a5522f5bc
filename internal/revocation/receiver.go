package revocation

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/time/rate"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/safehttp"
)

// The paths of the receiver.
const (
	PathEvents = "/events"
	PathLogout = "/backchannel-logout"
)

// maxBodyBytes bounds what is sent to the receiver.
const maxBodyBytes = 64 << 10

// Keys finds the key that an issuer signs its logout tokens with;
// *[discovery.Issuer] does.
type Keys interface {
	Key(ctx context.Context, keyID, alg string) (discovery.Key, error)
}

// ReceiverOptions are what a Receiver works with.
type ReceiverOptions struct {
	Set     *Set
	Issuers []Issuer // all that are configured
	// Keys finds the keys of an issuer of backchannel_logout; it returns nil where
	// there are none yet.
	Keys    func(issuer string) Keys
	Log     *slog.Logger
	Events  Observer           // of security events; revocations are told by the Set
	Fetches discovery.Observer // of transmitters' metadata and keys
	Now     func() time.Time   // nil: time.Now
	// Transport wraps that of all connections; nil: it stays what it is.
	Transport func(http.RoundTripper) http.RoundTripper
}

// Receiver takes security events and logout tokens of one configuration: as an
// http.Handler those that are sent, and while [Receiver.Run] runs those that are
// polled for. It is safe for concurrent use.
type Receiver struct {
	mux     *http.ServeMux
	log     *slog.Logger
	events  Observer
	now     func() time.Time
	set     *Set
	senders []*sender
	logouts map[string]*logoutReader // by issuer

	refusals *rate.Limiter // of log lines that anybody can cause
}

// NewReceiver returns a Receiver. It reads the files with tokens; nothing is fetched
// before Run. Its errors are [*field.Error]s below the section.
func NewReceiver(c Config, o ReceiverOptions) (*Receiver, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Keys == nil {
		o.Keys = func(string) Keys { return nil }
	}
	if err := c.Validate(o.Issuers); err != nil {
		return nil, err
	}
	r := &Receiver{
		mux: http.NewServeMux(), log: o.Log, events: o.Events, now: o.Now, set: o.Set,
		logouts: map[string]*logoutReader{}, refusals: rate.NewLimiter(rate.Every(time.Second), 10),
	}
	for n, t := range c.Events {
		issuer, _ := find(o.Issuers, t.Issuer)
		s, err := newSender(t, issuer, o)
		if err != nil {
			return nil, field.Under(fmt.Sprintf("events[%d]", n), err)
		}
		r.senders = append(r.senders, s)
	}
	for _, name := range c.BackchannelLogout {
		issuer, _ := find(o.Issuers, name)
		keys := func() Keys { return o.Keys(name) }
		r.logouts[name] = &logoutReader{issuer: issuer, keys: keys, now: o.Now}
	}
	if slices.ContainsFunc(r.senders, (*sender).pushes) {
		r.mux.HandleFunc("POST "+PathEvents, r.receiveEvent)
	}
	if len(r.logouts) > 0 {
		r.mux.HandleFunc("POST "+PathLogout, r.receiveLogout)
	}
	return r, nil
}

func (s *sender) pushes() bool { return s.Delivery != DeliveryPoll }

// Inherit takes over what before knows of the same transmitters, so that a reload does
// not have their keys fetched first. It is called before Run.
func (r *Receiver) Inherit(before *Receiver) {
	for _, s := range r.senders {
		for _, b := range before.senders {
			if b.Transmitter.Transmitter == s.Transmitter.Transmitter {
				s.inherit(b)
			}
		}
	}
}

// Run fetches the keys of transmitters, keeps them fresh, and polls, until ctx ends.
func (r *Receiver) Run(ctx context.Context) {
	var work sync.WaitGroup
	for _, s := range r.senders {
		work.Go(func() {
			s.run(ctx)
			s.close()
		})
	}
	work.Wait()
}

// Stream is how the events of one transmitter flow.
type Stream struct {
	Transmitter string
	// Alive is the last sign of life: an event that was accepted, or a poll that was
	// answered; before the first one when the Receiver began.
	Alive time.Time
	Err   error // why its keys cannot be had or the last poll failed; nil: all is well
}

// Streams returns those of all transmitters.
func (r *Receiver) Streams() []Stream {
	all := make([]Stream, 0, len(r.senders))
	for _, s := range r.senders {
		all = append(all, s.stream())
	}
	return all
}

// ServeHTTP answers POST /events and POST /backchannel-logout.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	r.mux.ServeHTTP(w, req)
}

// receiveEvent is RFC 8935 §2. The body of whoever is not authorized is not read.
func (r *Receiver) receiveEvent(w http.ResponseWriter, req *http.Request) {
	s, raw, err := r.readEvent(w, req)
	if err == nil {
		err = s.take(req.Context(), raw, "")
	} else {
		r.refuse(req.Context(), s, err)
	}
	var wrong *refusal
	switch {
	case err == nil:
		w.WriteHeader(http.StatusAccepted)
	case errors.As(err, &wrong):
		answer(w, map[string]string{"err": wrong.code, "description": wrong.description})
	default:
		unavailable(w)
	}
}

// readEvent returns what was pushed, and who says to have sent it.
func (r *Receiver) readEvent(w http.ResponseWriter, req *http.Request) (*sender, string, error) {
	authorized := r.authorized(req.Header.Values("Authorization"))
	if len(authorized) == 0 {
		return nil, "", refused(codeAuthentication, "the right authorization is missing")
	}
	if safehttp.MediaType(req.Header) != "application/"+typeSET {
		return nil, "", refused(codeRequest, "the content type is not application/"+typeSET)
	}
	raw, err := body(w, req)
	if err != nil {
		return nil, "", err
	}
	issuer, err := unverifiedIssuer(raw)
	if err != nil {
		return nil, "", err
	}
	named := func(s *sender) bool { return s.pushes() && s.Transmitter.Transmitter == issuer }
	n := slices.IndexFunc(r.senders, named)
	if n < 0 {
		return nil, "", refused(codeIssuer, "iss is not a transmitter that may push")
	}
	s := r.senders[n]
	if !slices.Contains(authorized, s) {
		return s, "", refused(codeDenied, "the authorization is another transmitter's")
	}
	return s, raw, nil
}

// authorized returns the transmitters that whoever sends these fields may be. All are
// compared, and in constant time.
func (r *Receiver) authorized(fields []string) []*sender {
	var got [sha256.Size]byte
	if len(fields) == 1 {
		value := fields[0]
		if scheme, rest, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			value = rest
		}
		got = sha256.Sum256([]byte(value))
	}
	var all []*sender
	for _, s := range r.senders {
		if !s.pushes() {
			continue
		}
		if s.push == nil {
			all = append(all, s)
			continue
		}
		want := sha256.Sum256([]byte(s.push.Value().text))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			all = append(all, s)
		}
	}
	return all
}

// refuse is [sender.refuse] of what got to no transmitter.
func (r *Receiver) refuse(ctx context.Context, s *sender, err error) {
	if s != nil {
		s.refuse(ctx, err)
		return
	}
	if r.refusals.AllowN(r.now(), 1) {
		r.log.Warn("a security event is refused", "error", err)
	}
	r.events.End(ctx, Event{Operation: OperationEvent, Result: ResultRefused})
}

// receiveLogout is OpenID Connect Back-Channel Logout 1.0 §2.5 to §2.8.
func (r *Receiver) receiveLogout(w http.ResponseWriter, req *http.Request) {
	err := r.logout(w, req)
	var wrong *refusal
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK)
	case errors.As(err, &wrong):
		if r.refusals.AllowN(r.now(), 1) {
			r.log.Warn("a logout token is refused", "error", err)
		}
		answer(w, map[string]string{"error": codeRequest, "error_description": wrong.description})
	default:
		unavailable(w)
	}
}

func (r *Receiver) logout(w http.ResponseWriter, req *http.Request) error {
	raw, err := logoutToken(w, req)
	if err != nil {
		return err
	}
	issuer, err := unverifiedIssuer(raw)
	if err != nil {
		return err
	}
	reader, ok := r.logouts[issuer]
	if !ok {
		return refused(codeIssuer, "iss is not an issuer whose logout tokens are taken")
	}
	found, err := reader.read(req.Context(), raw)
	if err != nil {
		return err
	}
	if !r.set.accept(req.Context(), kindLogout, issuer, found.jti, found.revokes) {
		return refused(codeRequest, "a token of this jti was accepted before")
	}
	return nil
}

// logoutToken returns the one that a form has.
func logoutToken(w http.ResponseWriter, req *http.Request) (string, error) {
	if safehttp.MediaType(req.Header) != "application/x-www-form-urlencoded" {
		return "", refused(codeRequest, "the content type is not application/x-www-form-urlencoded")
	}
	content, err := body(w, req)
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(content)
	if err != nil || len(form["logout_token"]) != 1 {
		return "", refused(codeRequest, "want a form with one logout_token")
	}
	return form.Get("logout_token"), nil
}

func body(w http.ResponseWriter, req *http.Request) (string, error) {
	content, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBodyBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return "", refused(codeRequest, "the body is larger than 64 KiB")
	case err != nil:
		return "", refused(codeRequest, "the body did not come whole, and in time")
	}
	return string(content), nil
}

func answer(w http.ResponseWriter, members map[string]string) {
	content, _ := json.Marshal(members, json.Deterministic(true)) // texts always can be
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Language", "en")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(content)
}

// unavailable has the sender try again: with 400 it would give up.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
}
