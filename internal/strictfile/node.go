package strictfile

import "fmt"

// node is a value of the file, whatever the format, and where it stands.
type node struct {
	place

	kind    kind
	text    string // of a scalar
	members []member
	items   []*node
	names   map[string]int // indices of members, once there are many
	shown   bool           // an error may show it: it belongs to a known key that holds no secret
}

// member is one key of an object.
type member struct {
	place

	name  string
	value *node
	shown bool // an error may show the name: it is no part of a value that is not shown
}

type kind int

const (
	object kind = iota
	list
	text
	integer
	float
	boolean
	null
	other // what no key of ours can be: dates, binary
)

func (k kind) String() string {
	return [...]string{
		object: "an object", list: "a list", text: "a string", integer: "a number", float: "a number",
		boolean: "true or false", null: "nothing", other: "something else",
	}[k]
}

// syntaxError is a mistake that keeps the file from being read at all.
type syntaxError struct {
	line, column int
	message      string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.line, e.column, e.message) }

func (n *node) isScalar() bool { return n.kind != object && n.kind != list }

// position returns the place of a path such as rules[2].match, or of the
// nearest part of it that stands in the file.
func (n *node) position(path []step) place {
	at := n.place
	for _, s := range path {
		switch {
		case s.name != "":
			m := n.member(s.name)
			if m == nil {
				return at
			}
			n, at = m.value, m.place
		case n.kind == list && s.index < len(n.items):
			n = n.items[s.index]
			at = n.place
		default:
			return at
		}
	}
	return at
}

// indexed is from how many members on an object has an index of their names.
const indexed = 16

// member returns the member of that name, or nil; it is valid until add.
func (n *node) member(name string) *member {
	if n.names != nil {
		if i, ok := n.names[name]; ok {
			return &n.members[i]
		}
		return nil
	}
	for i := range n.members {
		if n.members[i].name == name {
			return &n.members[i]
		}
	}
	return nil
}

func (n *node) add(m member) {
	n.members = append(n.members, m)
	switch {
	case n.names != nil:
		n.names[m.name] = len(n.members) - 1
	case len(n.members) == indexed:
		n.names = map[string]int{}
		for i, m := range n.members {
			n.names[m.name] = i
		}
	}
}
