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
	"github.com/go-json-experiment/json/jsontext"

	"github.com/bearergate/bearergate/internal/safehttp"
)

// Metadata is what is used of the metadata document (RFC 8414 §2), overrides
// applied.
type Metadata struct {
	Issuer, JWKSURI, IntrospectionEndpoint, TokenEndpoint string

	JWKSFile string // where the keys are instead of JWKSURI, which is empty then

	// CriticalSubjectMembers are those without which a transmitter's event must not be
	// understood (Shared Signals Framework 1.0 §7.1).
	CriticalSubjectMembers []string

	Fetched time.Time // zero: configured, not fetched
	Source  string    // the documents that it is made of, by their URLs; empty: configured, not fetched
}

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
	Aliases struct {
		endpoints
		Token string `json:"token_endpoint"`
	} `json:"mtls_endpoint_aliases"` // RFC 8705 §5

	// Read where it is wanted only: elsewhere it may be anything.
	CriticalSubjectMembers jsontext.Value `json:"critical_subject_members"`

	pause time.Duration // until it is to be fetched again; no member, its header says so
}

type endpoints struct {
	Introspection string `json:"introspection_endpoint"`
}

// candidates returns where the metadata of issuer may be: first where RFC 8414 §3.1
// puts it, then where OpenID Connect servers have it, last where no specification
// does and some servers do (D-02). The issuer is cut as a string: whatever is
// percent-encoded in it stays so, or tenant t%2F1 would be taken for t/1 (D-01).
func candidates(issuer string) []string {
	origin, path := split(issuer)
	if path == "" {
		return []string{origin + oauthSuffix, origin + openidSuffix}
	}
	return []string{
		origin + oauthSuffix + path,
		origin + openidSuffix + path,
		origin + path + openidSuffix,
		origin + path + oauthSuffix,
	}
}

// candidatesOf is [candidates] of metadata that has a name of its own: where a
// specification of today puts it, then where servers have it that put it after the
// path, as OpenID Connect Discovery did.
func candidatesOf(issuer, name string) []string {
	origin, path := split(issuer)
	suffix := "/.well-known/" + name
	if path == "" {
		return []string{origin + suffix}
	}
	return []string{origin + suffix + path, origin + path + suffix}
}

// split cuts an issuer into what comes before its path and the path, without a slash
// at its end: a lone slash is no path (D-04).
func split(issuer string) (origin, path string) {
	scheme, rest, _ := strings.Cut(issuer, "://")
	host, path, _ := strings.Cut(rest, "/")
	if path = strings.TrimSuffix(path, "/"); path != "" {
		path = "/" + path
	}
	return scheme + "://" + host, path
}

// refreshMetadata fetches the metadata once, and adopts it if it is good.
func (i *Issuer) refreshMetadata(ctx context.Context) (time.Duration, error) {
	ctx = i.events.Start(ctx, OperationMetadata)
	fetched, err := i.fetchMetadata(ctx)
	if ctx.Err() != nil && err != nil {
		return 0, err // stopped, not failed
	}
	i.note("metadata", err)
	i.events.End(ctx, Event{OperationMetadata, i.cfg.Issuer, err})
	if err != nil {
		return 0, err
	}
	found := fetched.metadata
	before := i.metadata.Swap(found)
	if i.cfg.JWKSURI == "" && i.file == nil && (before == nil || before.JWKSURI != found.JWKSURI) {
		i.announceURI()
	}
	return fetched.pause, nil
}

// fetchedMetadata is what one round of fetches gave.
type fetchedMetadata struct {
	metadata *Metadata
	pause    time.Duration // until the next round in the background
}

// fetchMetadata asks one candidate after the other, until nothing is missing.
// Whatever is no valid document of this issuer leads on to the next (D-07):
// every candidate is held to the same issuer, so going on never chooses another
// one (D-05). The time is bounded by RequestTimeout for each of few candidates.
func (i *Issuer) fetchMetadata(ctx context.Context) (fetchedMetadata, error) {
	m := i.cfg.configured()
	pause := i.cfg.RefreshInterval
	var wrong, used []string
	for _, url := range i.cfg.candidates() {
		doc, err := i.fetchDocument(ctx, url)
		if err == nil {
			pause = min(pause, doc.pause)
			used = append(used, url)
			if err = i.complete(m, doc); err == nil {
				m.Fetched, m.Source = i.now(), strings.Join(used, " and ")
				return fetchedMetadata{m, pause}, nil
			}
		}
		wrong = append(wrong, url+": "+err.Error())
	}
	return fetchedMetadata{}, fmt.Errorf("no usable document: %s%s", strings.Join(wrong, "; "), i.cfg.without())
}

// configured is what needs no fetch.
func (c Config) configured() *Metadata {
	return &Metadata{
		Issuer: c.Issuer, JWKSURI: c.JWKSURI, JWKSFile: c.JWKSFile,
		IntrospectionEndpoint: c.IntrospectionEndpoint, TokenEndpoint: c.TokenEndpoint,
	}
}

func (c Config) candidates() []string {
	if c.MetadataURL != "" {
		return []string{c.MetadataURL}
	}
	if c.WellKnown != "" {
		return candidatesOf(c.Issuer, c.WellKnown)
	}
	return candidates(c.Issuer)
}

// without names the keys that spare what was tried, if there are any.
func (c Config) without() string {
	switch {
	case c.WellKnown != "":
		return ""
	case c.MetadataURL != "":
		return " (" + c.needed() + " would do without)"
	}
	return " (metadata_url, or " + c.needed() + ", would do without)"
}

// fetchDocument fetches a document that names the right issuer.
func (i *Issuer) fetchDocument(ctx context.Context, url string) (document, error) {
	got, err := i.fetch(ctx, url, acceptMetadata, maxMetadataBytes)
	if err != nil {
		return document{}, err
	}
	doc, err := i.read(got.body, got.header)
	doc.pause = i.pause(got.header)
	return doc, err
}

// read holds a body to what a metadata document is. The issuer in it is the
// proof; the content type is not: documents lie on file servers too. A page of
// HTML is none, whatever it says (D-08).
func (i *Issuer) read(body []byte, header http.Header) (document, error) {
	var doc document
	switch kind := safehttp.MediaType(header); kind {
	case "text/html", "application/xhtml+xml":
		return doc, fmt.Errorf("got content type %q, want application/json", kind)
	}
	if err := json.Unmarshal(body, &doc); err != nil { // its text could quote the body
		return doc, errors.New("not a strict JSON object with the members of RFC 8414")
	}
	// Otherwise whoever may publish one document could speak for any issuer (RFC 8414
	// §3.3, D-05).
	if doc.IssuerURL != i.cfg.Issuer {
		return doc, fmt.Errorf("got issuer %.200q, want %q", doc.IssuerURL, i.cfg.Issuer)
	}
	return doc, nil
}

// complete fills in what m does not have yet. Its error says what is needed
// and still missing, for the next candidate to give (D-11).
func (i *Issuer) complete(m *Metadata, doc document) error {
	if i.cfg.MutualTLS && doc.Aliases.Introspection != "" {
		doc.Introspection = doc.Aliases.Introspection
	}
	if i.cfg.MutualTLS && doc.Aliases.Token != "" {
		doc.TokenURL = doc.Aliases.Token
	}
	var errs []string
	if critical := doc.CriticalSubjectMembers; i.cfg.WellKnown != "" && critical != nil {
		if err := json.Unmarshal(critical, &m.CriticalSubjectMembers); err != nil {
			errs = append(errs, "critical_subject_members is not a list of names")
		}
	}
	for _, e := range i.cfg.endpoints() {
		to := e.of(m)
		if *to != "" {
			continue
		}
		given := e.given(doc)
		if given == "" {
			if e.needed {
				errs = append(errs, "no "+e.name)
			}
			continue
		}
		// Keys that travel in the clear could be anybody's, and so could be the
		// endpoint that gets our credentials (D-12).
		if err := safehttp.CheckURL(given, i.cfg.InsecureHTTP); err != nil {
			if e.needed {
				errs = append(errs, e.name+" "+err.Error())
			}
			continue
		}
		*to = given
	}
	if len(errs) > 0 {
		return errors.New(strings.Join(errs, ", "))
	}
	return nil
}

// endpoint is one that may be needed: how it is configured and where it is in
// a document.
type endpoint struct {
	name, configured string
	needed           bool // or tokens cannot be decided
	wanted           bool // it is looked for, at least
	of               func(*Metadata) *string
	given            func(document) string
}

func (c Config) endpoints() []endpoint {
	all := []endpoint{
		{
			"jwks_uri", c.JWKSURI, c.NeedKeys, c.NeedKeys || c.WantKeys,
			func(m *Metadata) *string { return &m.JWKSURI }, func(d document) string { return d.JWKSURL },
		},
		{
			"introspection_endpoint", c.IntrospectionEndpoint, c.NeedIntrospection, c.NeedIntrospection || c.WantIntrospection,
			func(m *Metadata) *string { return &m.IntrospectionEndpoint }, func(d document) string { return d.Introspection },
		},
		{
			"token_endpoint", c.TokenEndpoint, c.NeedToken, c.NeedToken || c.WantToken,
			func(m *Metadata) *string { return &m.TokenEndpoint }, func(d document) string { return d.TokenURL },
		},
	}
	if c.JWKSFile != "" { // then nothing is asked where keys are
		return all[1:]
	}
	return all
}
