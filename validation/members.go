package validation

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/bearergate/bearergate/internal/strictjws"
)

// Claims are the members of a token, as they came and in one piece, which is
// remembered for as long as the token is. They are decoded by those only who look at
// members that a [Token] has no field for. The zero value has none.
type Claims struct {
	own    string             // a JSON object
	read   []strictjws.Member // of own, as long as it is new; nil: own is to be read again
	common *template          // of which they have some members, too; nil: they have none
	shared uint32             // those, by their bits
}

// ClaimsOf returns the claims in a JSON object; it has none where that is not strict.
func ClaimsOf(object string) Claims { return Claims{own: object} }

// Map decodes all members but those that say nothing: null, and an empty aud.
// Numbers are json.Number with the very digits of the token, so that they print as
// they were sent. Each call decodes anew, and the caller may change what it gets.
func (c Claims) Map() map[string]any {
	all := map[string]any{}
	c.each(func(m member) {
		if says(m.Name, m.Value) {
			all[m.Name] = m.Value.Any()
		}
	})
	return all
}

type member = strictjws.Member

// each calls do for every member, without decoding it.
func (c Claims) each(do func(m member)) {
	for _, m := range c.members() {
		do(m)
	}
	if c.common == nil {
		return
	}
	for i, m := range c.common.members {
		if c.shared&(1<<i) != 0 {
			do(m)
		}
	}
}

// members are those of own.
func (c Claims) members() []strictjws.Member {
	if c.read != nil {
		return c.read
	}
	object, err := strictjws.ParseObject([]byte(c.own))
	if err != nil {
		return nil
	}
	return object.Members
}

// template has the members of one token, for others to have only what differs: of the
// members of most tokens, few do.
type template struct{ members []strictjws.Member }

const (
	maxTemplate      = 32      // members; each has a bit
	maxTemplateBytes = 2 << 10 // what is longer is seldom said twice
)

// newTemplate returns nil where claims are too many to be one.
func newTemplate(c Claims) *template {
	members := c.members()
	if len(c.own) > maxTemplateBytes || len(members) > maxTemplate {
		return nil
	}
	return &template{slices.Clone(members)}
}

// keep returns c without the members that t has as well, and which of its own these
// are. Behind them is the subject, unless it stands among them: see [positive].
func (t *template) keep(c Claims, subject string) (text string, at part, shared uint32) {
	var room [onStack]byte
	rest, shared := t.cut(c, room[:0])
	start := bytes.Index(rest, []byte(subject))
	if start < 0 || start+len(subject) == len(rest) {
		start = len(rest)
		rest = append(rest, subject...)
	}
	return string(rest), part{uint32(start), uint32(start + len(subject))}, shared //nolint:gosec // a token is short
}

// cut appends to rest the members of c that t does not have.
func (t *template) cut(c Claims, rest []byte) (own []byte, shared uint32) {
	if t == nil {
		return append(rest, c.own...), 0
	}
	rest = append(rest, '{')
	for _, m := range c.members() {
		if i := t.index(m); i >= 0 {
			shared |= 1 << i
			continue
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest, _ = jsontext.AppendQuote(rest, m.Name) // it was read from JSON
		rest = append(append(rest, ':'), m.Value...)
	}
	return append(rest, '}'), shared
}

// index returns where t has the very same member, or -1.
func (t *template) index(m strictjws.Member) int {
	for i := range t.members {
		if t.members[i] == m {
			return i
		}
	}
	return -1
}
