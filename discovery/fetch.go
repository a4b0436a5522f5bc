package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/bearergate/bearergate/internal/safehttp"
)

// maxErrorRunes bounds what an error says of one fetch.
const maxErrorRunes = 200

// fetch gets a URL once. Only 200 counts.
func (s *Server) fetch(ctx context.Context, url string, limit int64) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, s.short(err)
	}
	body, err := safehttp.Read(resp, limit)
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		return nil, nil, fmt.Errorf("got status %d, want 200 (redirects are not followed)", status)
	case status != http.StatusOK:
		return nil, nil, fmt.Errorf("got status %d, want 200", status)
	case err != nil:
		return nil, nil, s.short(err)
	}
	return body, resp.Header, nil
}

// reach tries the configured introspection endpoint until it can be connected
// to: without discovery nothing else shows that it is there.
func (s *Server) reach(ctx context.Context) {
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	repeat(done, nil, func(ctx context.Context) (time.Duration, error) {
		err := safehttp.Reach(ctx, s.cfg.IntrospectionEndpoint)
		if err != nil && ctx.Err() != nil {
			return 0, err // stopped, not failed
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", s.cfg.IntrospectionEndpoint, s.short(err))
		}
		s.note("introspection endpoint", err)
		if err != nil {
			return 0, err
		}
		s.reached.Store(true)
		cancel()
		return 0, nil
	})
}

// short makes one short line of what went wrong with a call. net/http quotes
// answers that it cannot read, and names from certificates: what a stranger
// wrote must neither fill nor break the log.
func (s *Server) short(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no answer within %s: %w", s.cfg.RequestTimeout, context.DeadlineExceeded)
	}
	var call *url.Error
	if errors.As(err, &call) { // the caller names the URL
		err = call.Err
	}
	if text := line(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// line is text without what net/http quotes of an answer, as one line.
func line(text string) string {
	if before, _, ok := strings.Cut(text, "malformed "); ok {
		return before + "malformed answer"
	}
	text = strings.ReplaceAll(text, "\n", "; ") // of errors that were joined
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxErrorRunes {
		return string(runes[:maxErrorRunes]) + "…"
	}
	return text
}
