package lint

import (
	"slices"
	"strings"

	"github.com/bearergate/bearergate/internal/headername"
)

// identity knows the headers by which an upstream believes who is asking.
type identity struct {
	names []string // in lower case, with dashes
	known bool     // from the service's configuration
}

func newIdentity(p *Policy) identity {
	if p == nil {
		return identity{names: []string{"x-auth-client-id", "x-auth-scope", "x-auth-sub"}}
	}
	id := identity{known: true}
	for _, name := range p.Headers {
		id.names = append(id.names, dashed(name))
	}
	slices.Sort(id.names)
	return id
}

// dashed makes one of all spellings that upstreams may take for each other.
func dashed(name string) string {
	return headername.Dashed(strings.TrimSpace(name))
}

// has says whether an upstream could take the header for one of ours. While ours are
// not known, everything that begins like the default ones is.
func (id identity) has(name string) bool {
	name = dashed(name)
	return slices.Contains(id.names, name) || !id.known && strings.HasPrefix(name, "x-auth-")
}

// in returns the first identity header that a text names, or "".
func (id identity) in(text string) string {
	text = dashed(text)
	for _, name := range id.names {
		if strings.Contains(text, name) {
			return name
		}
	}
	return ""
}
