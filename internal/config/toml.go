package config

import (
	"errors"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// readTOML has go-toml check the whole document, redefinitions included, and
// then reads it once more for the positions.
func readTOML(content []byte) (*node, error) {
	var all map[string]any
	if err := toml.Unmarshal(content, &all); err != nil {
		var decode *toml.DecodeError
		if errors.As(err, &decode) {
			line, column := decode.Position()
			return nil, &syntaxError{line: line, column: column, message: decode.Error()}
		}
		return nil, &syntaxError{line: 1, column: 1, message: "not TOML"}
	}
	r := tomlReader{root: &node{kind: object, line: 1, column: 1}}
	r.table = r.root
	r.parser.Reset(content)
	for r.parser.NextExpression() {
		r.expression(r.parser.Expression())
	}
	if r.parser.Error() != nil {
		return nil, &syntaxError{line: 1, column: 1, message: "not TOML"}
	}
	return r.root, nil
}

type tomlReader struct {
	parser unstable.Parser
	root   *node
	table  *node // that key-value pairs belong to
}

func (r *tomlReader) expression(e *unstable.Node) {
	switch e.Kind {
	case unstable.Table:
		r.table = r.descend(r.root, e.Key(), false)
	case unstable.ArrayTable:
		r.table = r.descend(r.root, e.Key(), true)
	case unstable.KeyValue:
		r.keyValue(r.table, e)
	}
}

// descend walks a dotted key below n and makes what is missing; with appending
// the last part is a list, which gets another item.
func (r *tomlReader) descend(n *node, keys unstable.Iterator, appending bool) *node {
	for keys.Next() {
		key := keys.Node()
		line, column := r.position(key)
		next, _, _ := n.child(step{name: string(key.Data)})
		last := keys.IsLast()
		if next == nil {
			next = &node{kind: object, line: line, column: column}
			if last && appending {
				next.kind = list
			}
			n.members = append(n.members, member{name: string(key.Data), value: next, line: line, column: column})
		}
		if last && appending {
			next.items = append(next.items, &node{kind: object, line: line, column: column})
		}
		if next.kind == list && len(next.items) > 0 {
			next = next.items[len(next.items)-1]
		}
		n = next
	}
	return n
}

func (r *tomlReader) keyValue(n *node, e *unstable.Node) {
	var parts []*unstable.Node
	for keys := e.Key(); keys.Next(); {
		parts = append(parts, keys.Node())
	}
	for _, key := range parts[:len(parts)-1] {
		next, _, _ := n.child(step{name: string(key.Data)})
		if next == nil {
			line, column := r.position(key)
			next = &node{kind: object, line: line, column: column}
			n.members = append(n.members, member{name: string(key.Data), value: next, line: line, column: column})
		}
		n = next
	}
	key := parts[len(parts)-1]
	line, column := r.position(key)
	n.members = append(n.members, member{name: string(key.Data), value: r.value(e.Value(), line, column), line: line, column: column})
}

// value has the position of its key where the parser does not say its own.
func (r *tomlReader) value(e *unstable.Node, line, column int) *node {
	out := &node{line: line, column: column, text: string(e.Data)}
	if e.Raw.Length > 0 {
		out.line, out.column = r.position(e)
	}
	switch e.Kind {
	case unstable.String:
		out.kind = text
	case unstable.Bool:
		out.kind = boolean
	case unstable.Integer:
		out.kind = integer
	case unstable.Float:
		out.kind = float
	case unstable.Array:
		out.kind = list
		for children := e.Children(); children.Next(); {
			out.items = append(out.items, r.value(children.Node(), out.line, out.column))
		}
	case unstable.InlineTable:
		out.kind = object
		for children := e.Children(); children.Next(); {
			r.keyValue(out, children.Node())
		}
	default:
		out.kind = other
	}
	return out
}

func (r *tomlReader) position(e *unstable.Node) (line, column int) {
	start := r.parser.Shape(e.Raw).Start
	return start.Line, start.Column
}
