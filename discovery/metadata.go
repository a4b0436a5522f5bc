package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json"

	"github.com/bearergate/bearergate/internal/safehttp"
)

const (
	maxMetadataBytes = 1 << 20

	oauthSuffix  = "/.well-known/oauth-authorization-server" // RFC 8414 §3
	openidSuffix = "/.well-known/openid-configuration"       // OpenID Connect Discovery §4
)

// document is the part of a metadata document that is looked at. Names are
// compared exactly and may not repeat (D-10).
type document struct {
	oidc.ProviderConfig

	endpoints
	Aliases endpoints `json:"mtls_endpoint_aliases"` // RFC 8705 §5
}

type endpoints struct {
	Introspection string `json:"introspection_endpoint"`
}

// candidates returns where the metadata of issuer may be, in the order of
// D-02. The issuer is cut as a string: whatever is percent-encoded in it stays
// so (D-01).
func candidates(issuer string) []string {
	scheme, rest, _ := strings.Cut(issuer, "://")
	host, path, _ := strings.Cut(rest, "/")
	origin := scheme + "://" + host
	path = strings.TrimSuffix(path, "/")
	if path == "" { // a lone slash is no path (D-04)
		return []string{origin + oauthSuffix, origin + openidSuffix}
	}
	path = "/" + path
	return []string{
		origin + oauthSuffix + path,
		origin + openidSuffix + path,
		origin + path + openidSuffix,
		origin + path + oauthSuffix,
	}
}

// refreshMetadata fetches the metadata once, and adopts it if it is good.
func (s *Server) refreshMetadata(ctx context.Context) (time.Duration, error) {
	found, pause, err := s.fetchMetadata(ctx)
	if ctx.Err() != nil && err != nil {
		return 0, err // stopped, not failed
	}
	s.note("metadata", err)
	if s.hooks.Discovery != nil {
		s.hooks.Discovery(s.cfg.Issuer, err)
	}
	if err != nil {
		return 0, err
	}
	before := s.metadata.Swap(found)
	if s.cfg.JWKSURI == "" && (before == nil || before.JWKSURI != found.JWKSURI) {
		select {
		case s.newURI <- struct{}{}:
		default: // already said
		}
	}
	return pause, nil
}

// fetchMetadata asks one candidate after the other. Only a client error leads
// on to the next: neither an outage nor a document that is wrong may choose
// which document counts (D-05, D-07).
func (s *Server) fetchMetadata(ctx context.Context) (*Metadata, time.Duration, error) {
	var tried []string
	for _, url := range candidates(s.cfg.Issuer) {
		body, header, status, err := s.fetch(ctx, url, maxMetadataBytes)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", url, err)
		}
		if status != http.StatusOK {
			tried = append(tried, fmt.Sprintf("%s: %d", url, status))
			continue
		}
		m, err := s.adopt(body, header)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", url, err)
		}
		return m, s.pause(header), nil
	}
	return nil, 0, fmt.Errorf("no metadata document (%s)", strings.Join(tried, ", "))
}

// fetch gets url once. Statuses are 200 and those client errors that mean
// "not here"; all else is an error.
func (s *Server) fetch(ctx context.Context, url string, limit int64) ([]byte, http.Header, int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, 0, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, 0, err
	}
	body, err := safehttp.Read(resp, limit)
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return nil, nil, 0, fmt.Errorf("got status %d, want 200", status)
	case status >= 400 && status < 500:
		return nil, nil, status, nil
	case status != http.StatusOK:
		return nil, nil, 0, fmt.Errorf("got status %d, want 200", status)
	case err != nil:
		return nil, nil, 0, err
	}
	return body, resp.Header, http.StatusOK, nil
}

// adopt makes Metadata of a document that names the right issuer and has all
// that is needed.
func (s *Server) adopt(body []byte, header http.Header) (*Metadata, error) {
	if kind := safehttp.MediaType(header); kind != "application/json" { // D-08: an HTML page is no document
		return nil, fmt.Errorf("got content type %q, want application/json", kind)
	}
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, errors.New("not a strict JSON object with the members of RFC 8414")
	}
	if doc.IssuerURL != s.cfg.Issuer { // D-05, RFC 8414 §3.3
		return nil, fmt.Errorf("got issuer %.200q, want %q", doc.IssuerURL, s.cfg.Issuer)
	}
	if s.cfg.MutualTLS && doc.Aliases.Introspection != "" {
		doc.Introspection = doc.Aliases.Introspection
	}
	m := &Metadata{Issuer: doc.IssuerURL, Fetched: s.now()}
	var errs []error
	for _, e := range []struct {
		name            string
		to              *string
		given, override string
		needed          bool
	}{
		{"jwks_uri", &m.JWKSURI, doc.JWKSURL, s.cfg.JWKSURI, s.cfg.NeedKeys},
		{"introspection_endpoint", &m.IntrospectionEndpoint, doc.Introspection, s.cfg.IntrospectionEndpoint, s.cfg.NeedIntrospection},
		{"token_endpoint", &m.TokenEndpoint, doc.TokenURL, s.cfg.TokenEndpoint, s.cfg.NeedToken},
	} {
		*e.to = e.given
		if e.override != "" {
			*e.to = e.override
		}
		if !e.needed {
			continue
		}
		if *e.to == "" {
			errs = append(errs, fmt.Errorf("no %s, and none is configured", e.name)) // D-11
		} else if err := safehttp.CheckURL(*e.to, s.cfg.InsecureHTTP); err != nil {
			errs = append(errs, fmt.Errorf("%s %w", e.name, err)) // D-12
		}
	}
	return m, errors.Join(errs...)
}
