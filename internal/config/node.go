package config

import "fmt"

// node is a value of the file, whatever the format, and where it stands.
type node struct {
	kind         kind
	text         string // of a scalar
	members      []member
	items        []*node
	line, column int // from 1
}

// member is one key of an object.
type member struct {
	name         string
	value        *node
	line, column int
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
	return [...]string{"an object", "a list", "a string", "a number", "a number", "true or false", "nothing", "something else"}[k]
}

// syntaxError is a mistake that keeps the file from being read at all.
type syntaxError struct {
	line, column int
	message      string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.line, e.column, e.message) }

// position returns the position of a path such as rules[2].match, or of the
// nearest part of it that stands in the file.
func (n *node) position(path []step) (line, column int) {
	line, column = n.line, n.column
	for _, s := range path {
		next, l, c := n.child(s)
		if next == nil {
			return line, column
		}
		n, line, column = next, l, c
	}
	return line, column
}

func (n *node) child(s step) (value *node, line, column int) {
	if s.name == "" {
		if n.kind == list && s.index < len(n.items) {
			item := n.items[s.index]
			return item, item.line, item.column
		}
		return nil, 0, 0
	}
	for _, m := range n.members {
		if m.name == s.name {
			return m.value, m.line, m.column
		}
	}
	return nil, 0, 0
}
