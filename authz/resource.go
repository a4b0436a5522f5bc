package authz

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bearergate/bearergate/internal/safehttp"
)

const wellKnown = "/.well-known/oauth-protected-resource" // RFC 9728 §3

// resource is a protected resource, all of it from the configuration: nothing
// a client sends, not even its Host, gets into the document (M-03).
type resource struct {
	identifier   string
	audience     []string // the identifier
	host         string   // without port
	path         string   // without a slash right after the host or at the end
	documentPath string
	documentURL  string
	document     []byte
	issuers      []string // that give tokens for it
	supported    []string // scopes
	scopes       []string // that a challenge names where nothing else is demanded
}

func newResource(r Resource, issuers []string, slashes bool) (*resource, error) {
	u, err := checkResource(r.Resource)
	if err != nil {
		return nil, err
	}
	if len(r.Issuers) > 0 {
		issuers = r.Issuers
	}
	path := u.EscapedPath()
	if path == "/" { // a slash right after the host is removed first (RFC 9728 §3.1)
		path = ""
	}
	normal := path
	if path != "" {
		if normal, err = normalPath(path, slashes); err != nil {
			return nil, err
		}
	}
	host, err := hostOnly(u.Host)
	if err != nil {
		return nil, err
	}
	// No challenge names it: it asks for a refresh token and is no right of the resource (B-07).
	offline := func(scope string) bool { return scope == "offline_access" }
	return &resource{
		identifier:   r.Resource,
		audience:     []string{r.Resource},
		host:         host,
		path:         normal,
		documentPath: wellKnown + strings.TrimSuffix(path, "/"),
		documentURL:  u.Scheme + "://" + u.Host + wellKnown + path,
		issuers:      issuers,
		supported:    r.ScopesSupported,
		scopes:       slices.DeleteFunc(slices.Clone(r.ScopesSupported), offline),
	}, nil
}

// writeDocuments makes the documents of all resources. What they say of bound tokens
// depends on the rules.
func (p *Policy) writeDocuments() error {
	var errs []error
	for _, r := range p.resources {
		d := document{
			Resource: r.identifier, AuthorizationServers: r.issuers, ScopesSupported: r.supported,
			BearerMethods: []string{"header"}, MTLS: p.cfg.MTLS != nil,
		}
		if p.dpop() {
			d.DPoPAlgorithms, d.DPoPRequired = p.cfg.DPoP.Algorithms, p.wantsDPoP(r)
		}
		var err error
		r.document, err = json.Marshal(d)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// document is the metadata of a resource (RFC 9728 §2).
type document struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	MTLS                 bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	DPoPAlgorithms       []string `json:"dpop_signing_alg_values_supported,omitempty"`
	DPoPRequired         bool     `json:"dpop_bound_access_tokens_required,omitempty"`
}

// wantsDPoP says whether no token passes on the resource but one that is bound to a
// key, whichever of its rules decides.
func (p *Policy) wantsDPoP(res *resource) bool {
	some := false
	for _, r := range p.rules {
		if r.resource != nil && r.resource != res || r.resource == nil && !r.meets(res) {
			continue
		}
		if takesTokens(r.Access) {
			if !p.needsDPoP(r, nil) {
				return false
			}
			some = true
		}
		if r.covers(res) { // nothing after it is looked at
			return some
		}
	}
	if takesTokens(p.cfg.DefaultAccess) {
		return p.needsDPoP(nil, nil)
	}
	return some
}

func takesTokens(access string) bool { return access != accessPublic && access != accessDeny }

// meets says whether the rule could decide a request on the resource. One that is
// reached by name can decide any.
func (r *rule) meets(res *resource) bool {
	return r.Match == nil || r.fitsHost(res) && (len(r.paths) == 0 ||
		slices.ContainsFunc(r.paths, func(p pattern) bool { return p.meets(res.segments(), r.Match.IgnoreCase) }))
}

// covers says whether the rule decides every request on the resource that it is asked
// about.
func (r *rule) covers(res *resource) bool {
	return r.Match != nil && r.fitsHost(res) && len(r.Match.Methods) == 0 && (len(r.paths) == 0 ||
		slices.ContainsFunc(r.paths, func(p pattern) bool {
			return p.rest && len(p.segments) <= len(res.segments()) && p.meets(res.segments(), r.Match.IgnoreCase)
		}))
}

func (r *rule) fitsHost(res *resource) bool {
	return len(r.Match.Hosts) == 0 || slices.Contains(r.Match.Hosts, res.host)
}

// segments are those of the path, which all paths on the resource begin with.
func (r *resource) segments() []string {
	if r.path == "" {
		return nil
	}
	return strings.Split(r.path[1:], "/")
}

// meets says whether some path that begins with those segments fits the pattern.
func (p pattern) meets(segments []string, ignoreCase bool) bool {
	for n, segment := range segments {
		if n >= len(p.segments) {
			return p.rest
		}
		want := p.segments[n]
		if want != "*" && want != segment && (!ignoreCase || !strings.EqualFold(want, segment)) {
			return false
		}
	}
	return true
}

// checkResource holds the identifier to RFC 9728 §1.2; http is for loopback
// hosts, where MCP servers are developed.
func checkResource(identifier string) (*url.URL, error) {
	if err := safehttp.CheckURL(identifier, true); err != nil {
		return nil, err
	}
	if strings.Contains(identifier, "?") {
		return nil, errors.New("has a query, want none")
	}
	if checkQuotable(identifier) != nil || strings.Contains(identifier, " ") { // it stands in challenges
		return nil, errors.New(`want visible ASCII, without spaces, " and \`)
	}
	return url.Parse(identifier)
}

// holds says whether a request to host and path is on the resource.
func (r *resource) holds(host, path string) bool {
	rest, below := strings.CutPrefix(path, r.path)
	return host == r.host && below && (rest == "" || rest[0] == '/')
}

// respond makes the decision that answers a request for the document. It
// needs no token (M-01), and any origin may read it (M-04).
func (r *resource) respond(method string) (Decision, bool) {
	header := http.Header{"Access-Control-Allow-Origin": {"*"}}
	d := Decision{Reason: Metadata, Header: header}
	switch method {
	case http.MethodGet:
		d.Document = r.document
		fallthrough
	case http.MethodHead:
		header.Set("Content-Type", "application/json")
		header.Set("Cache-Control", "public, max-age=3600")
	case http.MethodOptions:
		header.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		header.Set("Access-Control-Allow-Headers", "*")
		header.Set("Access-Control-Max-Age", "3600")
	default:
		return Decision{}, false
	}
	return d, true
}
