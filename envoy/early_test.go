package envoy

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/authz"
)

// TestAnEndedContextSaysWhy: package context promises an error once Done is closed,
// and ends the whole process where a parent breaks that.
func TestAnEndedContextSaysWhy(t *testing.T) {
	parent, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	e := newEarly(parent, time.Now(), nil)
	done := e.Done()
	e.stop()
	select {
	case <-done:
		if e.Err() == nil {
			t.Error("got no error of a context that has ended")
		}
	default:
	}
}

// TestContextsMadeOfAnEndedOne are made by a policy that goes on in the background, or
// by one whose own context ended a moment before: no recover of ours is in their way.
func TestContextsMadeOfAnEndedOne(t *testing.T) {
	const variable = "BEARERGATE_TEST_EARLY"
	if os.Getenv(variable) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // this very test
		again.Env = append(os.Environ(), variable+"=1")
		if said, err := again.CombinedOutput(); err != nil {
			line, _, _ := strings.Cut(string(said), "\n")
			t.Errorf("the process ended with %v: %s", err, line)
		}
		return
	}
	for range 20_000 {
		parent, cancel := context.WithTimeout(t.Context(), time.Hour)
		e := newEarly(parent, time.Now(), nil)
		_, stop := context.WithCancel(e) // as http.Client and errgroup do
		stop()
		e.stop()
		cancel()
	}
}

// TestABackgroundCallDoesNotKeepTheRequest: introspection goes on under a context made
// of the Check's after the intake gave the room for its message back, up to 1,088 of
// them for an issuer.
func TestABackgroundCallDoesNotKeepTheRequest(t *testing.T) {
	var kept context.Context //nolint:containedctx // as a call under way has it
	s := NewServer(Observer{}, slog.New(slog.DiscardHandler))
	s.Use(decider(func(ctx context.Context, _ *authz.Request) authz.Decision {
		kept = context.WithoutCancel(ctx)
		return authz.Decision{Reason: authz.Unavailable}
	}))
	freed := make(chan bool)
	func() {
		raw := append(wire(t, full()), make([]byte, 0, maxMessageBytes)...)
		runtime.AddCleanup(&raw[0], func(freed chan bool) { close(freed) }, freed)
		if _, err := s.Answer(t.Context(), raw, nil); err != nil {
			t.Fatal(err)
		}
	}()
	for range 50 {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the message is kept for as long as the call")
	runtime.KeepAlive(kept)
}
