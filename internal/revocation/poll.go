package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bearergate/bearergate/internal/livefile"
	"github.com/bearergate/bearergate/internal/recovered"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/internal/strictjws"
)

const (
	// maxEvents is how many events one poll asks for.
	maxEvents = 64
	// maxAnswerBytes has room for that many of the largest that could be pushed.
	maxAnswerBytes = maxEvents*maxBodyBytes + 64<<10
	// longPoll is how long an answer without events may be in coming.
	longPoll = 90 * time.Second

	emptyPause = time.Second // after an answer that brought nothing new
	firstPause = time.Second // after the first error; it doubles
	lastPause  = 30 * time.Second
)

// poller asks one transmitter for events (RFC 8936).
type poller struct {
	sender *sender
	client *http.Client
	token  *livefile.File[credential] // nil: none is sent

	// What the next request tells of the events that came, until one was answered.
	acks []string
	errs map[string]problem
}

// keysPause is between looks whether there are keys to judge events by.
const keysPause = 100 * time.Millisecond

// problem is why an event is refused (RFC 8936 §2.4).
type problem struct {
	Code        string `json:"err"`
	Description string `json:"description"`
}

func newPoller(s *sender, o ReceiverOptions) (*poller, error) {
	p := &poller{sender: s}
	var err error
	if p.client, err = o.client(s.issuer, 0); err != nil { // ask bounds the time
		return nil, err
	}
	if s.PollTokenFile != "" {
		p.token, err = openCredential(s.PollTokenFile, s.log)
	}
	return p, err
}

// run polls until ctx ends, once there are keys to judge events by.
func (p *poller) run(ctx context.Context) {
	for p.sender.source.Ready() != nil {
		if !sleep(ctx, keysPause) {
			return
		}
	}
	pause := firstPause
	for ctx.Err() == nil {
		wait, err := recovered.Call(func() (time.Duration, error) { return p.poll(ctx) })
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errQuiet):
			wait = emptyPause
		case err != nil:
			p.note(err)
			wait = pause
			pause = min(2*pause, lastPause)
		default:
			p.note(nil)
			pause = firstPause
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// note logs what changed.
func (p *poller) note(err error) {
	before := p.sender.polled(err)
	switch {
	case err != nil && before == nil:
		p.sender.log.Error("cannot poll for security events", "error", err)
	case err == nil && before != nil:
		p.sender.log.Info("polling for security events again")
	}
}

func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// request is RFC 8936 §2.2.
type request struct {
	MaxEvents         int                `json:"maxEvents"`
	ReturnImmediately bool               `json:"returnImmediately"`
	Acks              []string           `json:"ack,omitempty"`
	Errs              map[string]problem `json:"setErrs,omitempty"`
}

// errQuiet says that a poll took as long as one may, which says nothing.
var errQuiet = errors.New("no answer in the time of a long poll")

// poll asks once, and returns how long to wait before the next time. What it tells of
// the events that came last is told again if there is no answer.
func (p *poller) poll(ctx context.Context) (time.Duration, error) {
	content, err := p.ask(ctx)
	if err != nil {
		return 0, err
	}
	events, err := readAnswer(content)
	if err != nil {
		return 0, err
	}
	told := p.told()
	p.acks, p.errs = nil, map[string]problem{}
	if err := p.takeAll(ctx, events); err != nil {
		return 0, err
	}
	// What came is acknowledged at once, and so more comes at once, if there is more.
	// But a transmitter that sends again what it was told of is not to be asked in a
	// circle.
	if slices.ContainsFunc(events.Members, func(m strictjws.Member) bool { return !told[m.Name] }) {
		return 0, nil
	}
	return emptyPause, nil
}

// told returns the events that the last request told of.
func (p *poller) told() map[string]bool {
	told := map[string]bool{}
	for _, jti := range p.acks {
		told[jti] = true
	}
	for jti := range p.errs {
		told[jti] = true
	}
	return told
}

// takeAll takes the events of an answer. Those that nobody can judge now are left for
// the transmitter to send again, which is an error.
func (p *poller) takeAll(ctx context.Context, events strictjws.Object) error {
	var later error
	for _, m := range events.Members {
		err := p.take(ctx, m)
		var wrong *refusal
		switch {
		case err == nil:
			p.acks = append(p.acks, m.Name)
		case errors.As(err, &wrong):
			p.errs[m.Name] = problem{wrong.code, wrong.description}
		default:
			later = err
		}
	}
	return later
}

// take takes one event, whose name in the answer is its jti.
func (p *poller) take(ctx context.Context, m strictjws.Member) error {
	raw, ok := m.Value.Text()
	if !ok || len(raw) > maxBodyBytes {
		err := refused(codeRequest, "not a text of at most 64 KiB")
		p.sender.refuse(ctx, err)
		return err
	}
	return p.sender.take(ctx, raw, m.Name)
}

// ask sends one request, and returns the body of the answer.
func (p *poller) ask(ctx context.Context) ([]byte, error) {
	body, err := json.Marshal(request{MaxEvents: maxEvents, Acks: p.acks, Errs: p.errs}, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, longPoll)
	defer cancel()
	r, err := http.NewRequestWithContext(bounded, http.MethodPost, p.sender.PollEndpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if p.token != nil {
		r.Header.Set("Authorization", "Bearer "+p.token.Value().text)
	}
	response, err := p.client.Do(r)
	if err != nil {
		return nil, p.failed(bounded, err)
	}
	content, err := safehttp.Read(response, maxAnswerBytes)
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: got status %d, want 200", p.sender.PollEndpoint, response.StatusCode)
	}
	if err != nil {
		return nil, p.failed(bounded, err)
	}
	return content, nil
}

// failed tells a server that keeps polls for longer than we do from one that is away.
func (p *poller) failed(bounded context.Context, err error) error {
	if errors.Is(bounded.Err(), context.DeadlineExceeded) {
		return errQuiet
	}
	return fmt.Errorf("%s: %w", p.sender.PollEndpoint, safehttp.Short(err, longPoll))
}

// readAnswer returns the events of an answer by their jti (RFC 8936 §2.3). Whether more
// are available is not looked at: where some came, more are asked for anyway.
func readAnswer(content []byte) (strictjws.Object, error) {
	o, err := strictjws.ParseObject(content)
	if err != nil {
		return o, errors.New("the answer is not a strict JSON object")
	}
	events, err := object("sets", o.Get("sets"))
	if err != nil {
		return events, errors.New("sets is missing or not an object")
	}
	return events, nil
}
