package discovery

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/internal/safehttp"
)

// publication is what an authorization server answered with status 200.
type publication struct {
	header http.Header
	body   []byte
}

// The media types that are asked for. The API server of Kubernetes refuses whoever
// does not ask for its keys by their own (RFC 7517 §8.5.2); others know JSON only.
const (
	acceptMetadata = "application/json"
	acceptKeys     = "application/jwk-set+json, application/json"
)

// fetch gets a URL once. Only 200 counts.
func (i *Issuer) fetch(ctx context.Context, url, accept string, limit int64) (publication, error) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return publication{}, err
	}
	req.Header.Set("Accept", accept)
	resp, err := i.client.Do(req)
	if err != nil {
		return publication{}, safehttp.Short(err, i.cfg.RequestTimeout)
	}
	body, err := safehttp.Read(resp, limit)
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		return publication{}, fmt.Errorf("got status %d, want 200 (redirects are not followed)", status)
	case status != http.StatusOK:
		return publication{}, fmt.Errorf("got status %d, want 200", status)
	case err != nil:
		return publication{}, safehttp.Short(err, i.cfg.RequestTimeout)
	}
	return publication{resp.Header, body}, nil
}

// reach tries the configured introspection endpoint until it can be connected
// to: without discovery nothing else shows that it is there.
func (i *Issuer) reach(ctx context.Context) {
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	repeat(done, nil, func(ctx context.Context) (time.Duration, error) {
		err := i.connect(ctx, i.cfg.IntrospectionEndpoint)
		if err != nil && ctx.Err() != nil {
			return 0, err // stopped, not failed
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", i.cfg.IntrospectionEndpoint, safehttp.Short(err, i.cfg.RequestTimeout))
		}
		i.note("introspection endpoint", err)
		if err != nil {
			return 0, err
		}
		i.reached.Store(true)
		cancel()
		return 0, nil
	})
}
