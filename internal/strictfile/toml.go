package strictfile

import (
	"errors"
	"strings"

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
			return nil, &syntaxError{line: line, column: column, message: strings.TrimPrefix(decode.Error(), "toml: ")}
		}
		return nil, &syntaxError{line: 1, column: 1, message: "not TOML"}
	}
	r := tomlReader{root: &node{kind: object, place: place{line: 1, column: 1}}, cursor: newCursor(content, newlines)}
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
	cursor *cursor
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
		at := r.position(key)
		last := keys.IsLast()
		next := r.child(n, key, at)
		if last && appending {
			next.kind = list
			next.items = append(next.items, &node{kind: object, place: at, text: string(key.Data)})
		}
		if next.kind == list && len(next.items) > 0 {
			next = next.items[len(next.items)-1]
		}
		n = next
	}
	return n
}

// child returns the value of a key of n, and makes an object of it if there is
// none.
func (r *tomlReader) child(n *node, key *unstable.Node, at place) *node {
	if m := n.member(string(key.Data)); m != nil {
		return m.value
	}
	made := &node{kind: object, place: at}
	n.add(member{name: string(key.Data), value: made, place: at})
	return made
}

func (r *tomlReader) keyValue(n *node, e *unstable.Node) {
	var parts []*unstable.Node
	for keys := e.Key(); keys.Next(); {
		parts = append(parts, keys.Node())
	}
	for _, key := range parts[:len(parts)-1] {
		n = r.child(n, key, r.position(key))
	}
	key := parts[len(parts)-1]
	at := r.position(key)
	n.add(member{name: string(key.Data), value: r.value(e.Value(), at), place: at})
}

// value has the position of its key where the parser does not say its own.
func (r *tomlReader) value(e *unstable.Node, at place) *node {
	out := &node{place: at, text: string(e.Data)}
	if e.Raw.Length > 0 {
		out.place = r.position(e)
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
			out.items = append(out.items, r.value(children.Node(), out.place))
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

func (r *tomlReader) position(e *unstable.Node) place { return r.cursor.offset(int(e.Raw.Offset)) }
