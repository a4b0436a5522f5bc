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
	document, err := json.Marshal(struct {
		Resource             string   `json:"resource"`
		AuthorizationServers []string `json:"authorization_servers,omitempty"`
		ScopesSupported      []string `json:"scopes_supported,omitempty"`
		BearerMethods        []string `json:"bearer_methods_supported"`
	}{r.Resource, issuers, r.ScopesSupported, []string{"header"}})
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
		document:     document,
		scopes:       slices.DeleteFunc(slices.Clone(r.ScopesSupported), offline),
	}, nil
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
