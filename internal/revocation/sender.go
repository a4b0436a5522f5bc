package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/livefile"
	"github.com/bearergate/bearergate/internal/safehttp"
)

// wellKnown is where a transmitter publishes what it is (Shared Signals Framework 1.0
// §7.2).
const wellKnown = "ssf-configuration"

// sender is one transmitter, and what is known of its events.
type sender struct {
	setReader

	set    *Set
	source *discovery.Issuer
	client *http.Client
	log    *slog.Logger
	events Observer

	push *livefile.File[credential] // nil: none is asked for, or it is polled
	poll *poller                    // nil: it pushes

	refusals *rate.Limiter // of log lines that anybody can cause

	mu    sync.Mutex
	alive time.Time
	err   error // how the last poll ended
}

func newSender(t Transmitter, issuer Issuer, o ReceiverOptions) (*sender, error) {
	s := &sender{set: o.Set, events: o.Events, log: o.Log.With("transmitter", t.Transmitter), alive: o.Now()}
	s.refusals = rate.NewLimiter(rate.Every(time.Second), 10)
	var err error
	if s.client, err = o.client(issuer, issuer.RequestTimeout); err != nil {
		return nil, err
	}
	s.source, err = discovery.New(discovery.Config{
		Issuer: t.Transmitter, WellKnown: wellKnown, NeedKeys: true, CAFile: issuer.CAFile,
		InsecureHTTP: issuer.InsecureHTTP, RequestTimeout: issuer.RequestTimeout, Intervals: issuer.Intervals,
	}, discovery.Options{Client: s.client, Log: s.log, Events: o.Fetches, Now: o.Now})
	if err != nil {
		return nil, err
	}
	s.setReader = setReader{Transmitter: t, issuer: issuer, keys: s.source, critical: s.criticalMembers, now: o.Now}
	if t.Delivery == DeliveryPoll {
		s.poll, err = newPoller(s, o)
		return s, err
	}
	if t.PushTokenFile != "" {
		s.push, err = openCredential(t.PushTokenFile, s.log)
	}
	return s, err
}

// criticalMembers returns those of subjects that the transmitter wants understood.
func (s *sender) criticalMembers() ([]string, error) {
	m, err := s.source.Metadata()
	return m.CriticalSubjectMembers, err
}

// take judges a token and does what it says. An error that is no [*refusal] says that
// it is to come again. A token that came under the name of a jti must have that one.
func (s *sender) take(ctx context.Context, raw, name string) error {
	f, err := s.read(ctx, raw)
	if err == nil && name != "" && f.jti != name {
		err = &refusal{codeRequest, "its jti is not the name that it came under", true}
	}
	if err != nil {
		s.refuse(ctx, err)
		return err
	}
	result := ResultDuplicate
	if s.set.accept(ctx, kindEvent, s.Transmitter.Transmitter, f.jti, f.all...) {
		result = f.result()
		s.tell(f)
	}
	s.mu.Lock()
	s.alive = s.now()
	s.mu.Unlock()
	s.events.End(ctx, Event{Operation: OperationEvent, Transmitter: s.Transmitter.Transmitter, Result: result})
	return nil
}

func (f *found) result() string {
	switch f.effect {
	case effectRevoke:
		return ResultRevoked
	case effectDrop:
		return ResultDropped
	case effectAnswer:
		return ResultAnswered
	case effectNone:
	}
	return ResultIgnored
}

// tell logs what came, without whom it is about.
func (s *sender) tell(f found) {
	if f.event == eventStreamUpdated && f.status != "enabled" {
		s.log.Error("the transmitter sends no more events", "status", safehttp.Line(f.status))
		return
	}
	s.log.Info("security event", "event", f.event, "result", f.result(), "jti", safehttp.Line(f.jti))
}

// refuse counts what was refused, and logs it: as an alarm if the transmitter sent it,
// and not too often if anybody could have.
func (s *sender) refuse(ctx context.Context, err error) {
	var wrong *refusal
	if !errors.As(err, &wrong) {
		return // nobody can tell; the fetch of keys has its own line
	}
	if wrong.signed {
		s.log.Error("a security event is refused", "error", err)
	} else if s.refusals.AllowN(s.now(), 1) {
		s.log.Warn("a security event is refused", "error", err)
	}
	s.events.End(ctx, Event{
		Operation: OperationEvent, Transmitter: s.Transmitter.Transmitter, Result: ResultRefused,
	})
}

// polled notes how a poll ended, and returns how the one before did.
func (s *sender) polled(err error) (before error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.err = s.err, err
	if err == nil {
		s.alive = s.now()
	}
	return before
}

func (s *sender) stream() Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := Stream{Transmitter: s.Transmitter.Transmitter, Alive: s.alive, Err: s.err}
	if state.Err == nil {
		state.Err = s.source.Ready()
	}
	return state
}

// run keeps the keys fresh, and polls where the transmitter is to be polled.
func (s *sender) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { s.source.Run(ctx) })
	if s.poll != nil {
		work.Go(func() { s.poll.run(ctx) })
	}
}

func (s *sender) close() {
	s.client.CloseIdleConnections()
	if s.poll != nil {
		s.poll.client.CloseIdleConnections()
	}
}

// inherit takes over what is known of the same transmitter.
func (s *sender) inherit(before *sender) {
	s.source.Inherit(before.source)
	before.mu.Lock()
	defer before.mu.Unlock()
	s.alive = before.alive
}

// client makes connections in the trust of an issuer.
func (o ReceiverOptions) client(issuer Issuer, timeout time.Duration) (*http.Client, error) {
	client, err := safehttp.New(safehttp.Options{
		Timeout: timeout, CAFile: issuer.CAFile, InsecureHTTP: issuer.InsecureHTTP, Log: o.Log,
	})
	if err == nil && o.Transport != nil {
		client.Transport = o.Transport(client.Transport)
	}
	return client, err
}

// openCredential reads a file with what authorizes a call.
func openCredential(path string, log *slog.Logger) (*livefile.File[credential], error) {
	return livefile.Open(path, log, parseCredential)
}

// credential is what follows Bearer. It prints as nothing.
type credential struct{ text string }

// Format keeps it out of whatever is printed.
func (credential) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// parseCredential cuts off one newline at the end.
func parseCredential(content []byte) (credential, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	for _, b := range []byte(text) {
		if b < ' ' || b > '~' {
			return credential{}, errors.New("has more than one line or other than visible ASCII, want a token")
		}
	}
	if text == "" || text != strings.TrimSpace(text) {
		return credential{}, errors.New("is empty or has spaces around it, want a token")
	}
	if len(text) > 7 && strings.EqualFold(text[:7], "bearer ") {
		return credential{}, errors.New("begins with Bearer, want the token alone")
	}
	return credential{text}, nil
}
