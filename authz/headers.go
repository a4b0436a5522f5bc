package authz

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/bearergate/bearergate/internal/headername"
	"github.com/bearergate/bearergate/validation"
)

// managed is one header to the upstream.
type managed struct {
	name  string
	claim string
}

// injector makes the header changes of every allow: each managed header is set
// from the token or removed, so that an upstream can believe it whoever sent the
// request (docs/contract.md §5).
type injector struct {
	headers []managed
	always  []string // to remove whatever happens, but for what carries the upstream's token
	all     []string // to remove where nothing is set
	// beside has for each header that carries an upstream's token what is always removed
	// when it is set: a name is never both.
	beside map[string][]string
	others bool // there are claims among them that a token has no field for
	spare  int  // how many headers rules may set on top
}

// newInjector: forwardToken leaves Authorization to the upstream, others go in any case.
func newInjector(headers map[string]string, upstream []string, forwardToken bool, others ...string) *injector {
	in := &injector{always: others, beside: map[string][]string{}}
	for name, claim := range headers {
		name = strings.ToLower(name)
		in.headers = append(in.headers, managed{name: name, claim: claim})
		in.others = in.others || !slices.Contains([]string{"sub", "client_id", "scope", "iss"}, claim)
		for _, spelling := range headername.Spellings(name) {
			if spelling != name {
				in.always = append(in.always, spelling)
			}
		}
	}
	sort.Slice(in.headers, func(i, j int) bool { return in.headers[i].name < in.headers[j].name })
	for _, name := range upstream {
		in.always = append(in.always, headername.Spellings(name)...)
	}
	if !forwardToken {
		in.always = append(in.always, "authorization")
	}
	slices.Sort(in.always)
	in.always = slices.Clip(slices.Compact(in.always))
	for _, name := range upstream {
		others := slices.DeleteFunc(slices.Clone(in.always), func(other string) bool { return other == name })
		in.beside[name] = slices.Clip(others)
	}
	in.all = in.always
	for _, h := range in.headers {
		in.all = append(in.all, h.name)
	}
	in.all = slices.Clip(in.all)
	return in
}

// changes returns the headers to set and to remove for t, with the header of the
// upstream's own token, if it gets one; a nil t has no claims. A name is never in both:
// Envoy removes last, and what was set would be gone (E-03).
func (in *injector) changes(t *validation.Token, upstream HeaderValue) (set []HeaderValue, remove []string) {
	if t == nil {
		return nil, in.all
	}
	room := len(in.headers) + in.spare
	if upstream.Name != "" {
		room++
	}
	remove = in.always
	set = make([]HeaderValue, 0, room)
	if upstream.Name != "" {
		set, remove = append(set, upstream), in.beside[upstream.Name]
	}
	var claims map[string]any
	if in.others {
		claims = t.Claims.Map()
	}
	for _, h := range in.headers {
		if value := h.value(t, claims); value != "" {
			set = append(set, HeaderValue{h.name, value})
			continue
		}
		remove = append(remove, h.name) // the shared list is full, and stays as it is
	}
	return set, remove
}

// value returns the encoded value of the header, or "" to remove it: some releases
// of Envoy drop a header that is set to nothing, and let the client's own stay (E-02).
func (h managed) value(t *validation.Token, claims map[string]any) string {
	switch h.claim {
	case "sub":
		return encode(t.Subject, true)
	case "client_id":
		return encode(t.ClientID, true)
	case "scope":
		return encode(t.Scope(), true)
	case "iss":
		return encode(t.Issuer, true)
	}
	return render(find(claims, h.claim))
}

// find returns the claim of that name, or descends along its dots. Names may
// have dots of their own, as in kubernetes.io: the longest one comes first. No
// object is looked at twice, so that the claims bound the work.
func find(claims map[string]any, name string) any {
	if value := claims[name]; value != nil { // null counts as absent
		return value
	}
	for end := strings.LastIndexByte(name, '.'); end >= 0; end = strings.LastIndexByte(name[:end], '.') {
		if object, ok := claims[name[:end]].(map[string]any); ok {
			if value := find(object, name[end+1:]); value != nil {
				return value
			}
		}
	}
	return nil
}

func render(value any) string {
	list, ok := value.([]any)
	if !ok {
		return scalar(value, true)
	}
	parts := make([]string, 0, len(list))
	for _, member := range list {
		part := scalar(member, false)
		if part == "" {
			return ""
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

func scalar(value any, spaces bool) string {
	switch v := value.(type) {
	case string:
		return encode(v, spaces)
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	}
	return ""
}

// encode leaves visible ASCII but `%`, and inner spaces if they are allowed, as
// they are, and percent-encodes all other bytes: nothing can break a header
// (E-09, A-18) and no two claims look alike.
func encode(s string, spaces bool) string {
	plain := func(i int) bool {
		c := s[i]
		return c > ' ' && c < 0x7f && c != '%' || c == ' ' && spaces && i > 0 && i < len(s)-1
	}
	if isClean(s, spaces) {
		return s
	}
	var out strings.Builder
	for i := range len(s) {
		if plain(i) {
			out.WriteByte(s[i])
			continue
		}
		fmt.Fprintf(&out, "%%%02X", s[i])
	}
	return out.String()
}

// isClean says whether encode leaves s as it is.
func isClean(s string, spaces bool) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '%' || c == ' ' && !spaces {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}
