package revocation

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/strictjws"
)

const polled = "https://transmitter.example.com"

// polls is a transmitter that is polled, inside a bubble: it answers as told.
type polls struct {
	*rig
	tr    *transmitter
	files [1]string // of the token

	answer func(n int, r polled1) (status int, body string) // status 0: it does not come
	asked  []polled1
	down   atomic.Bool
}

// polled1 is one request.
type polled1 struct {
	At            time.Duration // since the beginning
	Authorization string
	Body          map[string]any
}

func (p *polls) RoundTrip(r *http.Request) (*http.Response, error) {
	reply := func(status int, body string) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
			Request: r,
		}, nil
	}
	if p.down.Load() {
		return nil, errors.New("connection refused")
	}
	if r.Method == http.MethodGet {
		if r.URL.Path == "/keys" {
			text, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.tr.key.Public()}})
			return reply(http.StatusOK, string(text))
		}
		return reply(http.StatusOK, `{"issuer":"`+polled+`","jwks_uri":"`+polled+`/keys"}`)
	}
	one := polled1{At: time.Since(began), Authorization: r.Header.Get("Authorization")}
	if r.URL.String() != polled+"/poll" || r.Header.Get("Content-Type") != "application/json" {
		return reply(http.StatusNotFound, "")
	}
	text, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(text, &one.Body); err != nil {
		return nil, err
	}
	p.asked = append(p.asked, one)
	status, body := p.answer(len(p.asked), one)
	if status == 0 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return reply(status, body)
}

// began is when every bubble begins.
var began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func never(int, polled1) (int, string) { return 0, "" }

// inBubble runs a receiver that polls for so long.
func inBubble(t *testing.T, d time.Duration, answer func(p *polls, n int) (int, string), check func(*testing.T, *polls)) {
	synctest.Test(t, func(t *testing.T) {
		p := &polls{rig: &rig{lines: &lockedBuffer{}}, tr: &transmitter{url: polled, key: newKey("1")}}
		p.as = p.tr
		p.answer = func(n int, _ polled1) (int, string) { return answer(p, n) }
		p.files[0] = file(t, "poll-token")
		log := slog.New(slog.NewTextHandler(p.lines, nil))
		observer := Observer{Ended: func(_ context.Context, e Event) { p.events = append(p.events, e) }}
		p.set = NewSet(Options{Log: log, Events: observer})
		var err error
		p.Receiver, err = NewReceiver(Config{Keep: time.Hour, Events: []Transmitter{{
			Transmitter: polled, Issuer: here, Audience: gate, Delivery: DeliveryPoll, PollEndpoint: polled + "/poll",
			PollTokenFile: p.files[0],
		}}}, ReceiverOptions{
			Set: p.set, Issuers: issuers(), Log: log, Events: observer,
			Transport: func(http.RoundTripper) http.RoundTripper { return p },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		p.Run(ctx)
		check(t, p)
	})
}

// sets is an answer with events by their names.
func answerOf(more bool, sets map[string]string) (int, string) {
	text, err := json.Marshal(map[string]any{"sets": sets, "moreAvailable": more})
	if err != nil {
		panic(err)
	}
	return http.StatusOK, string(text)
}

const nothing = `{"sets":{}}`

func times(all []polled1) []time.Duration {
	var at []time.Duration
	for _, one := range all {
		at = append(at, one.At)
	}
	return at
}

func TestPollsAreLongAndAcknowledge(t *testing.T) {
	answer := func(p *polls, n int) (int, string) {
		switch n {
		case 1:
			return answerOf(true, map[string]string{"a": p.tr.set(claims{"jti": "a"}), "b": p.tr.set(claims{"jti": "b"})})
		case 2:
			if p.set.Len() != 1 {
				t.Error("acknowledged before it took effect")
			}
			return answerOf(false, map[string]string{
				"c": p.tr.set(claims{"jti": "c", "sub_id": claims{"format": "opaque", "id": "bob"}}),
				"d": p.tr.set(claims{"jti": "d", "aud": "other"}),
				"e": p.tr.set(claims{"jti": "f"}), // another name
				"g": "hello",
			})
		}
		return 0, ""
	}
	inBubble(t, 10*time.Second, answer, func(t *testing.T, p *polls) {
		if len(p.asked) != 3 {
			t.Fatalf("got %d polls, want 3", len(p.asked))
		}
		for n, one := range p.asked {
			if one.Authorization != "Bearer poll-token" || one.Body["returnImmediately"] != false || one.Body["maxEvents"] != 64.0 {
				t.Errorf("%d: got %+v", n, one)
			}
		}
		if at := times(p.asked); at[2] != at[0] {
			t.Errorf("got polls at %v, want them at once while events come", at)
		}
		if _, ok := p.asked[0].Body["ack"]; ok || p.asked[0].Body["setErrs"] != nil {
			t.Errorf("the first poll tells of something: %v", p.asked[0].Body)
		}
		if diff := cmp.Diff([]any{"a", "b"}, p.asked[1].Body["ack"]); diff != "" {
			t.Error(diff)
		}
		errs, _ := p.asked[2].Body["setErrs"].(map[string]any)
		codes := map[string]any{}
		for jti, e := range errs {
			codes[jti] = e.(map[string]any)["err"]
		}
		if diff := cmp.Diff(map[string]any{"d": codeAudience, "e": codeRequest, "g": codeRequest}, codes); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]any{"c"}, p.asked[2].Body["ack"]); diff != "" {
			t.Error(diff)
		}
		if p.set.Len() != 2 {
			t.Errorf("got %d revocations, want 2", p.set.Len())
		}
		want := []string{ResultRefused, ResultRefused, ResultRefused, ResultRevoked, ResultRevoked, ResultRevoked}
		got := p.results()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if stream := p.Streams()[0]; stream.Err != nil || time.Since(stream.Alive) != time.Since(began.Add(p.asked[2].At)) {
			t.Errorf("got %+v", stream)
		}
	})
}

func TestEmptyPollsAreASecondApart(t *testing.T) {
	for name, body := range map[string]string{"empty": nothing, "more, it says": `{"sets":{},"moreAvailable":true}`} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 10*time.Second, func(*polls, int) (int, string) { return http.StatusOK, body }, func(t *testing.T, p *polls) {
				if n := len(p.asked); n < 9 || n > 10 {
					t.Errorf("got %d polls in 10 s, want about 10", n)
				}
			})
		})
	}
}

func TestEventsThatComeAgainAreNoCircle(t *testing.T) {
	inBubble(t, 10*time.Second, func(p *polls, _ int) (int, string) {
		return answerOf(true, map[string]string{"a": p.tr.set(claims{"jti": "a"}), "b": "hello"})
	}, func(t *testing.T, p *polls) {
		if n := len(p.asked); n < 9 || n > 12 {
			t.Errorf("got %d polls in 10 s, want about 10", n)
		}
	})
}

func TestPollsBackOffAfterErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"500":              {http.StatusInternalServerError, nothing},
		"401":              {http.StatusUnauthorized, nothing},
		"302":              {http.StatusFound, nothing},
		"202":              {http.StatusAccepted, nothing},
		"no JSON":          {http.StatusOK, "<html>"},
		"a list":           {http.StatusOK, "[]"},
		"no sets":          {http.StatusOK, "{}"},
		"sets a list":      {http.StatusOK, `{"sets":[]}`},
		"sets twice":       {http.StatusOK, `{"sets":{},"sets":{}}`},
		"too much of it":   {http.StatusOK, `{"sets":{}}` + strings.Repeat(" ", maxAnswerBytes)},
		"more than a body": {http.StatusOK, `{"sets":{}} {}`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2*time.Minute, func(*polls, int) (int, string) { return tc.status, tc.body }, func(t *testing.T, p *polls) {
				at := times(p.asked)
				var pauses []time.Duration
				for n := 1; n < len(at); n++ {
					pauses = append(pauses, (at[n]-at[n-1]).Round(time.Second)/time.Second)
				}
				if want := []time.Duration{1, 2, 4, 8, 16, 30, 30}; !slices.Equal(pauses, want) {
					t.Errorf("got pauses of %v, want %v", pauses, want)
				}
				if n := strings.Count(p.lines.String(), "cannot poll"); n != 1 {
					t.Errorf("got %d lines, want one: %s", n, p.lines)
				}
				if p.Streams()[0].Err == nil {
					t.Error("the stream has no problem")
				}
			})
		})
	}
}

func TestAcksAreToldAgainAfterAnError(t *testing.T) {
	inBubble(t, 20*time.Second, func(p *polls, n int) (int, string) {
		switch n {
		case 1:
			return answerOf(false, map[string]string{"a": p.tr.set(claims{"jti": "a"}), "b": "hello"})
		case 2, 3:
			return http.StatusInternalServerError, ""
		case 4:
			return http.StatusOK, nothing
		}
		return 0, ""
	}, func(t *testing.T, p *polls) {
		for _, n := range []int{1, 2, 3} {
			if p.asked[n].Body["ack"] == nil || p.asked[n].Body["setErrs"] == nil {
				t.Errorf("poll %d: got %v, want ack and setErrs", n, p.asked[n].Body)
			}
		}
		if p.asked[4].Body["ack"] != nil || p.asked[4].Body["setErrs"] != nil {
			t.Errorf("told once more than needed: %v", p.asked[4].Body)
		}
		if !strings.Contains(p.lines.String(), "again") || p.Streams()[0].Err != nil {
			t.Error("that all is well again is not told")
		}
	})
}

func TestPollsThatServersKeepForLongAreNoErrors(t *testing.T) {
	inBubble(t, 5*time.Minute, func(*polls, int) (int, string) { return 0, "" }, func(t *testing.T, p *polls) {
		first := p.asked[0].At
		want := []time.Duration{first, first + 91*time.Second, first + 182*time.Second, first + 273*time.Second}
		if got := times(p.asked); !slices.Equal(got, want) {
			t.Errorf("got polls at %v, want %v", got, want)
		}
		if strings.Contains(p.lines.String(), "level=ERROR") {
			t.Errorf("got %s", p.lines)
		}
	})
}

func TestWhatNobodyCanJudgeIsLeftForLater(t *testing.T) {
	inBubble(t, 90*time.Minute, func(p *polls, n int) (int, string) {
		if n == 1 {
			p.down.Store(true) // from now on
			return 0, ""
		}
		return http.StatusOK, nothing
	}, func(t *testing.T, p *polls) {
		raw := p.tr.set()
		// The keys are older than they may be, and nobody can get others.
		if err := p.senders[0].take(t.Context(), raw, "jti-1"); !errors.Is(err, errNoKeys) {
			t.Fatalf("got %v, want no keys", err)
		}
		if err := p.senders[0].poll.takeAll(t.Context(), mustParse(t, `{"jti-1":"`+raw+`"}`)); !errors.Is(err, errNoKeys) {
			t.Errorf("got %v, want no keys", err)
		}
		if acks, errs := p.senders[0].poll.acks, p.senders[0].poll.errs; len(acks) != 0 || len(errs) != 0 {
			t.Errorf("got %v and %v told, want nothing", acks, errs)
		}
	})
}

func TestPollsWaitForKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &polls{rig: &rig{lines: &lockedBuffer{}}, tr: &transmitter{url: polled, key: newKey("1")}, answer: never}
		p.down.Store(true)
		r, err := NewReceiver(Config{Keep: time.Hour, Events: []Transmitter{{
			Transmitter: polled, Issuer: here, Audience: gate, Delivery: DeliveryPoll, PollEndpoint: polled + "/poll",
		}}}, ReceiverOptions{
			Set: NewSet(Options{}), Issuers: issuers(), Transport: func(http.RoundTripper) http.RoundTripper { return p },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(p.asked) != 0 {
			t.Error("polled without keys")
		}
		p.down.Store(false)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if len(p.asked) != 1 || p.asked[0].Authorization != "" {
			t.Errorf("got %v, want one poll without a token", p.asked)
		}
		cancel()
		<-done
	})
}

func TestPollTokenIsReRead(t *testing.T) {
	inBubble(t, 20*time.Second, func(p *polls, n int) (int, string) {
		if n == 2 {
			if err := os.WriteFile(p.files[0], []byte("another-token\n"), 0o600); err != nil {
				t.Error(err)
			}
		}
		return http.StatusOK, nothing
	}, func(t *testing.T, p *polls) {
		if got := p.asked[len(p.asked)-1].Authorization; got != "Bearer another-token" {
			t.Errorf("got %s, want the new token", got)
		}
	})
}

// TestAnswersOfTheSpecification has the answer that RFC 8936 §2.5 shows, whose events
// nobody signed.
func TestAnswersOfTheSpecification(t *testing.T) {
	const example = `{"sets":{
		"4d3559ec67504aaba65d40b0363faad8":"eyJhbGciOiJub25lIn0.eyJqdGkiOiI0ZDM1NTllYzY3NTA0YWFiYTY1ZDQwYjAzNjNmYWFkOCIsImlhdCI6MTQ1ODQ5NjQwNCwiaXNzIjoiaHR0cHM6Ly9zY2ltLmV4YW1wbGUuY29tIiwiYXVkIjpbImh0dHBzOi8vc2NpbS5leGFtcGxlLmNvbS9GZWVkcy85OGQ1MjQ2MWZhNWJiYzg3OTU5M2I3NzU0IiwiaHR0cHM6Ly9zY2ltLmV4YW1wbGUuY29tL0ZlZWRzLzVkNzYwNDUxNmIxZDA4NjQxZDc2NzZlZTciXSwiZXZlbnRzIjp7InVybjppZXRmOnBhcmFtczpzY2ltOmV2ZW50OmNyZWF0ZSI6eyJyZWYiOiJodHRwczovL3NjaW0uZXhhbXBsZS5jb20vVXNlcnMvNDRmNjE0MmRmOTZiZDZhYjYxZTc1MjFkOSIsImF0dHJpYnV0ZXMiOlsiaWQiLCJuYW1lIiwidXNlck5hbWUiLCJwYXNzd29yZCIsImVtYWlscyJdfX19.",
		"3d0c3cf797584bd193bd0fb1bd4e7d30":"eyJhbGciOiJub25lIn0.eyJqdGkiOiIzZDBjM2NmNzk3NTg0YmQxOTNiZDBmYjFiZDRlN2QzMCIsImlhdCI6MTQ1ODQ5NjAyNSwiaXNzIjoiaHR0cHM6Ly9zY2ltLmV4YW1wbGUuY29tIiwiYXVkIjpbImh0dHBzOi8vamh1Yi5leGFtcGxlLmNvbS9GZWVkcy85OGQ1MjQ2MWZhNWJiYzg3OTU5M2I3NzU0IiwiaHR0cHM6Ly9qaHViLmV4YW1wbGUuY29tL0ZlZWRzLzVkNzYwNDUxNmIxZDA4NjQxZDc2NzZlZTciXSwic3ViIjoiaHR0cHM6Ly9zY2ltLmV4YW1wbGUuY29tL1VzZXJzLzQ0ZjYxNDJkZjk2YmQ2YWI2MWU3NTIxZDkiLCJldmVudHMiOnsidXJuOmlldGY6cGFyYW1zOnNjaW06ZXZlbnQ6cGFzc3dvcmRSZXNldCI6eyJpZCI6IjQ0ZjYxNDJkZjk2YmQ2YWI2MWU3NTIxZDkifSwiaHR0cHM6Ly9leGFtcGxlLmNvbS9zY2ltL2V2ZW50L3Bhc3N3b3JkUmVzZXRFeHQiOnsicmVzZXRBdHRlbXB0cyI6NX19fQ."}}`
	inBubble(t, 5*time.Second, func(_ *polls, n int) (int, string) {
		if n == 1 {
			return http.StatusOK, example
		}
		return 0, ""
	}, func(t *testing.T, p *polls) {
		if p.asked[1].Body["ack"] != nil {
			t.Error("unsigned events are acknowledged")
		}
		errs, _ := p.asked[1].Body["setErrs"].(map[string]any)
		for _, jti := range []string{"4d3559ec67504aaba65d40b0363faad8", "3d0c3cf797584bd193bd0fb1bd4e7d30"} {
			if e, _ := errs[jti].(map[string]any); e["err"] != codeKey || e["description"] == "" {
				t.Errorf("%s: got %v, want %s", jti, e, codeKey)
			}
		}
	})
}

func mustParse(t *testing.T, text string) strictjws.Object {
	t.Helper()
	o, err := strictjws.ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}
