package demo

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestServiceThatEndsIsNotWaitedFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	broken := errors.New("no such file")
	err := Run(ctx, Options{
		Check: true, Out: new(bytes.Buffer),
		Serve: func(context.Context, string, net.Listener, net.Listener) error { return broken },
	})
	if !errors.Is(err, broken) || !errors.Is(err, errEnded) || ctx.Err() != nil {
		t.Errorf("got %v, want at once that it ended, and why", err)
	}
}

func TestWithoutEnvoyTheRequestsAreShown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	asked := false
	err := Run(ctx, Options{Out: &out, Serve: func(ctx context.Context, _ string, _, admin net.Listener) error {
		pages := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.Path == "/readyz"
			w.WriteHeader(http.StatusOK)
			time.AfterFunc(50*time.Millisecond, cancel) // as Ctrl-C does
		})}
		go func() { <-ctx.Done(); _ = pages.Close() }()
		return pages.Serve(admin)
	}})
	if err != nil || !asked {
		t.Errorf("got %v, asked for readiness %t; want a clean end", err, asked)
	}
	if text := out.String(); !strings.Contains(text, "missing: no Envoy binary") || strings.Count(text, "\ncurl -i") != 7 {
		t.Errorf("got %s, want what is missing, and seven requests", text)
	}
}

func TestAnswersAreCompared(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Set("X-Auth-Sub", "alice") // as Bearergate has Envoy do
		echo(w, r)
	}))
	defer server.Close()
	token := [][2]string{{"Authorization", "Bearer x"}, {"X-Auth-Sub", "admin"}}
	for _, tc := range []struct {
		step step
		want string // of the error; empty: none
	}{
		{step{"a token", server.URL, token, 200, "alice", nil}, ""},
		{
			step{"the client's token", server.URL, token, 200, "alice", none},
			"the upstream: got a token, want none",
		},
		{step{"none", server.URL, nil, 401, "", nil}, ""},
		{
			step{"another subject", server.URL, token, 200, "admin", nil},
			`got status 200 and subject "alice", want 200 and "admin"`,
		},
		{
			step{"another status", server.URL, nil, 200, "alice", nil},
			`got status 401 and subject "", want 200 and "alice"`,
		},
	} {
		err := send(t.Context(), tc.step)
		if (err == nil) != (tc.want == "") || err != nil && err.Error() != tc.step.title+": "+tc.want {
			t.Errorf("%s: got %v, want %q", tc.step.title, err, tc.want)
		}
	}
}

func TestSharedDemoNeedsAStore(t *testing.T) {
	serve := func(context.Context, string, net.Listener, net.Listener) error { return errors.New("was started") }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for store, want := range map[string]error{"": errNoStore, "/bin/false": errEnded} {
		err := Run(ctx, Options{Check: true, Shared: true, Store: store, Out: new(bytes.Buffer), Serve: serve})
		if !errors.Is(err, want) || ctx.Err() != nil {
			t.Errorf("%q: got %v, want at once %v", store, err, want)
		}
	}
}
