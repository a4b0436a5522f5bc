package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/livefile"
)

// policy lets a page load its own style and script, send its form and read its events,
// and nothing from or to anywhere else: what a client wrote, and got past the escaping,
// would still do nothing.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secured keeps other sites from framing, reading or posting to the pages.
func secured(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		sameOrigin.ServeHTTP(w, r)
	})
}

// digest is the SHA-256 of a token: comparing digests in constant time tells neither
// how much of a token was right nor how long it is.
type digest [sha256.Size]byte

// Token is what people must know to see the pages. It is safe for concurrent use.
type Token struct {
	log *slog.Logger

	mu   sync.Mutex
	path string
	file *livefile.File[digest] // nil: no token is asked for
}

// NewToken returns a Token that nobody is asked for.
func NewToken(log *slog.Logger) *Token { return &Token{log: log} }

// Use takes the token from the file at path from now on; an empty path: none is asked
// for. After an error everything is as it was.
func (t *Token) Use(path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if path == t.path {
		return nil
	}
	var file *livefile.File[digest]
	if path != "" {
		var err error
		if file, err = livefile.Open(path, t.log, parseToken); err != nil {
			return err
		}
	}
	t.path, t.file = path, file
	return nil
}

func parseToken(content []byte) (digest, error) {
	token, err := config.AdminToken(content)
	return sha256.Sum256([]byte(token.Reveal())), err
}

// wanted returns the digest of the token; false: none is asked for.
func (t *Token) wanted() (digest, bool) {
	t.mu.Lock()
	file := t.file
	t.mu.Unlock()
	if file == nil {
		return digest{}, false
	}
	return file.Value(), true
}

// shown says whether the request has the token: after Bearer, or, for browsers, which
// can say that in no other way, as the password of anybody. What a browser then sends
// by itself opens nothing to other sites: they can read no answer, and what they post
// is refused before it gets here.
func shown(r *http.Request, want digest) bool {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return false
	}
	got := ""
	if scheme, rest, _ := strings.Cut(fields[0], " "); strings.EqualFold(scheme, "Bearer") {
		got = rest
	} else if _, password, ok := r.BasicAuth(); ok {
		got = password
	}
	is := sha256.Sum256([]byte(got))
	return subtle.ConstantTimeCompare(is[:], want[:]) == 1
}

// Why somebody does not get to see a page.
const (
	noToken = "server.admin_address can be reached from other machines, and server.admin_token_file is not set: " +
		"only /livez, /readyz and /metrics are served without it\n"
	wrongToken = "the token of server.admin_token_file is needed: as Authorization: Bearer TOKEN, " +
		"or in a browser as the password, with any user\n"
	otherHost = "without server.admin_token_file the pages are served only to who asks for " +
		"localhost or a loopback address by that name\n"
)

// guard lets those through who may see the pages.
func (p *Pages) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, asked := p.o.Token.wanted()
		switch {
		case asked && !shown(r, want):
			w.Header().Add("WWW-Authenticate", `Bearer realm="bearergate"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="bearergate", charset="UTF-8"`)
			text(w, http.StatusUnauthorized, wrongToken)
		case !asked && !p.o.Loopback:
			text(w, http.StatusForbidden, noToken)
		case !asked && !isLoopback(r.Host):
			text(w, http.StatusForbidden, otherHost)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isLoopback says whether host, which may have a port, names this machine. Any site
// could have its own name resolve to 127.0.0.1, and so read in its visitors' browsers
// what only they can reach (DNS rebinding); no site can have one of these names.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 §6.3
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Unmap().IsLoopback()
}
