package authz

// Request is one HTTP request as the gateway reports it.
type Request struct {
	ID     string // the gateway's request ID; for logs only
	Method string
	Scheme string // http or https, as the gateway believes it; empty: it does not say
	Host   string // as sent, a port included
	Path   string // the request target, query included, undecoded

	// Authorization holds the value of each Authorization field. Values that a
	// gateway joined with commas stay one entry and are refused (B-02).
	Authorization []string
	// Header returns the value of any other field, by its lower-case name; nil
	// has none.
	Header func(name string) (value string, ok bool)

	// PeerCertificate is the client's, which the gateway has verified: PEM that is
	// encoded as in a URL. Empty: there was none, or the gateway does not tell.
	PeerCertificate string
	// PeerThumbprint is that of the client's certificate (x5t#S256, RFC 8705 §3.1), where
	// the gateway tells no more of it.
	PeerThumbprint string

	Route Route
}

// Route is what the gateway's own route configuration demands (docs/contract.md §3).
type Route struct {
	Rule, Issuer, Audience string
	Scopes                 []string

	// An entry that is present and empty is not an entry that is absent.
	HasRule, HasIssuer, HasAudience, HasScopes bool

	// Unknown is a bearergate.* key that does not exist; it denies.
	Unknown string
}
