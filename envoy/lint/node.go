package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of a file: more than any configuration has, less than would hurt.
const (
	maxNodes  = 4_000_000
	maxCopies = 200_000 // by aliases, which can make much of little
	maxDepth  = 200
)

// node is a value of a file that remembers where it stands. A nil node is one that
// is absent, and has nothing in it.
type node struct {
	file string
	line int // of the key where it has one

	isObject, isList bool
	keys             []string
	children         []*node

	text   string // of a scalar
	quoted bool   // a string for sure
	block  bool   // a literal or folded block, whose text begins on the next line
}

func (n *node) name() string {
	if n == nil {
		return ""
	}
	return n.file
}

func (n *node) at() int {
	if n == nil {
		return 1
	}
	return max(n.line, 1)
}

// member returns the value of exactly that key.
func (n *node) member(key string) *node {
	if n == nil {
		return nil
	}
	for i, k := range n.keys {
		if k == key {
			return n.children[i]
		}
	}
	return nil
}

// get descends along fields; protobuf's JSON takes failure_mode_allow and
// failureModeAllow for one.
func (n *node) get(path ...string) *node {
	for _, field := range path {
		n = n.field(field)
	}
	return n
}

func (n *node) field(name string) *node {
	if n == nil {
		return nil
	}
	for i, k := range n.keys {
		if plainName(k) == plainName(name) {
			return n.children[i]
		}
	}
	return nil
}

func plainName(field string) string {
	if strings.HasPrefix(field, "@") {
		return field
	}
	return strings.ToLower(strings.ReplaceAll(field, "_", ""))
}

// near returns what is at path, or else the last thing on the way to it: where
// something is missing.
func (n *node) near(path ...string) *node {
	for _, field := range path {
		next := n.field(field)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// items returns the members of a list.
func (n *node) items() []*node {
	if n == nil || !n.isList {
		return nil
	}
	return n.children
}

// item returns a member of a list, or nil.
func (n *node) item(i int) *node {
	if items := n.items(); i < len(items) {
		return items[i]
	}
	return nil
}

func (n *node) string() string {
	if n == nil || n.isObject || n.isList {
		return ""
	}
	return n.text
}

func (n *node) isTrue() bool { return strings.EqualFold(n.string(), "true") }

// walk visits n and everything in it, with its key.
func (n *node) walk(visit func(key string, n *node)) {
	if n == nil {
		return
	}
	visit("", n)
	n.descend(visit)
}

func (n *node) descend(visit func(key string, n *node)) {
	for i, child := range n.children {
		key := ""
		if n.isObject {
			key = n.keys[i]
		}
		visit(key, child)
		child.descend(visit)
	}
}

// parse reads all documents of a file, YAML or JSON. offset is how many lines stand
// before it where it is part of another file.
func parse(name string, content []byte, offset int) ([]*node, error) {
	if json.Valid(content) {
		// YAML takes JSON for its own, but for tabs. Inside a JSON string there is none.
		content = bytes.ReplaceAll(content, []byte("\t"), []byte(" "))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	reader := &reader{file: name, offset: offset}
	var all []*node
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(document.Content) == 0 {
			continue
		}
		n, err := reader.value(document.Content[0], document.Content[0].Line, 0)
		if err != nil {
			return nil, err
		}
		if n.isObject || n.isList || n.text != "" && n.text != "null" {
			all = append(all, n)
		}
	}
}

// reader makes a tree without aliases of what the parser gives.
type reader struct {
	file   string
	offset int // of an embedded file
	nodes  int

	inAlias, copies int
}

func (r *reader) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.file, line+r.offset, fmt.Sprintf(format, args...))
}

func (r *reader) value(y *yaml.Node, line, depth int) (*node, error) {
	if y.Kind == yaml.AliasNode {
		y = y.Alias
		r.inAlias++
		defer func() { r.inAlias-- }()
	}
	if r.inAlias > 0 {
		r.copies++
	}
	if r.nodes++; r.nodes > maxNodes || r.copies > maxCopies || depth > maxDepth || y == nil {
		return nil, r.errorf(line, "too large: want at most %d values, %d deep", maxNodes, maxDepth)
	}
	n := &node{file: r.file, line: line + r.offset}
	switch y.Kind {
	case yaml.MappingNode:
		n.isObject = true
		return n, r.object(n, y, depth)
	case yaml.SequenceNode:
		n.isList = true
		for _, item := range y.Content {
			child, err := r.value(item, item.Line, depth+1)
			if err != nil {
				return nil, err
			}
			n.children = append(n.children, child)
		}
	default:
		n.text = y.Value
		n.block = y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
		switch y.ShortTag() {
		case "!!null":
			n.text = ""
			n.quoted = false
		case "!!bool", "!!int", "!!float":
			n.text = plainScalar(y)
		default:
			n.quoted = true
		}
	}
	return n, nil
}

// plainScalar writes a YAML number or truth value as JSON does.
func plainScalar(y *yaml.Node) string {
	var v any
	if err := y.Decode(&v); err != nil {
		return y.Value
	}
	out, err := json.Marshal(v)
	if err != nil { // .inf, .nan
		return y.Value
	}
	return string(out)
}

func (r *reader) object(n *node, y *yaml.Node, depth int) error {
	var merged []*node
	given := make(map[string]bool, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		child, err := r.value(y.Content[i+1], y.Content[i].Line, depth+1)
		switch {
		case err != nil:
			return err
		case key.ShortTag() == "!!merge":
			merged = append(merged, child)
			continue
		case key.Kind != yaml.ScalarNode:
			return r.errorf(key.Line, "a key that is not a plain name")
		case given[key.Value]:
			return r.errorf(key.Line, "%s is given twice", key.Value)
		}
		given[key.Value] = true
		n.keys, n.children = append(n.keys, key.Value), append(n.children, child)
	}
	for _, m := range merged {
		for i, key := range m.keys {
			if !given[key] {
				given[key] = true
				n.keys, n.children = append(n.keys, key), append(n.children, m.children[i])
			}
		}
	}
	*n = *unwrap(n)
	return nil
}

// unwrap takes the configuration out of a TypedStruct: a filter is what it is,
// however it is wrapped.
func unwrap(n *node) *node {
	if !strings.HasSuffix(n.member("@type").string(), "xds.type.v3.TypedStruct") &&
		!strings.HasSuffix(n.member("@type").string(), "udpa.type.v1.TypedStruct") {
		return n
	}
	out := &node{file: n.file, line: n.line, isObject: true}
	out.keys, out.children = []string{"@type"}, []*node{n.field("type_url")}
	if out.children[0] == nil {
		return n
	}
	if value := n.field("value"); value != nil {
		out.keys, out.children = append(out.keys, value.keys...), append(out.children, value.children...)
	}
	return out
}

// embedded reads the file that a string holds, as a ConfigMap's data do; nil if it
// is none.
func (n *node) embedded() []*node {
	if n == nil || !strings.Contains(n.text, "\n") {
		return nil
	}
	offset := n.line - 1
	if n.block {
		offset = n.line
	}
	all, err := parse(n.file, []byte(n.text), offset)
	if err != nil {
		return nil // it may be anything
	}
	return all
}
