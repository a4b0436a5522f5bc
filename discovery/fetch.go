package discovery

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/internal/safehttp"
)

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
		return nil, nil, safehttp.Short(err, s.cfg.RequestTimeout)
	}
	body, err := safehttp.Read(resp, limit)
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		return nil, nil, fmt.Errorf("got status %d, want 200 (redirects are not followed)", status)
	case status != http.StatusOK:
		return nil, nil, fmt.Errorf("got status %d, want 200", status)
	case err != nil:
		return nil, nil, safehttp.Short(err, s.cfg.RequestTimeout)
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
			err = fmt.Errorf("%s: %w", s.cfg.IntrospectionEndpoint, safehttp.Short(err, s.cfg.RequestTimeout))
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
