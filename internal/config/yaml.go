package config

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// readYAML reads one YAML document. Anchors, aliases, merge keys and tags are
// refused: a configuration that decides who may enter reads as it stands.
func readYAML(content []byte) (*node, error) {
	file, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil, yamlError(err)
	}
	var documents []ast.Node
	for _, d := range file.Docs {
		if d.Body != nil {
			documents = append(documents, d.Body)
		}
	}
	switch len(documents) {
	case 0:
		return &node{kind: object, line: 1, column: 1}, nil
	case 1:
		return fromYAML(documents[0])
	}
	return nil, refuse(documents[1].GetToken(), "a second document, want one")
}

func yamlError(err error) error {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		return refuse(syntax.GetToken(), syntax.GetMessage())
	}
	return &syntaxError{line: 1, column: 1, message: "not YAML"}
}

func refuse(t *token.Token, message string) error {
	return &syntaxError{line: t.Position.Line, column: t.Position.Column, message: message}
}

func fromYAML(n ast.Node) (*node, error) {
	t := n.GetToken()
	out := &node{line: t.Position.Line, column: t.Position.Column}
	switch v := n.(type) {
	case *ast.MappingNode:
		return out, out.addYAML(v.Values)
	case *ast.MappingValueNode:
		return out, out.addYAML([]*ast.MappingValueNode{v})
	case *ast.SequenceNode:
		out.kind = list
		for _, item := range v.Values {
			child, err := fromYAML(item)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, child)
		}
	case *ast.StringNode:
		out.kind, out.text = text, v.Value
	case *ast.LiteralNode:
		out.kind, out.text = text, v.Value.Value
	case *ast.IntegerNode:
		out.kind, out.text = integer, fmt.Sprint(v.Value)
	case *ast.FloatNode:
		out.kind, out.text = float, v.Token.Value
	case *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = float, t.Value
	case *ast.BoolNode:
		out.kind, out.text = boolean, fmt.Sprint(v.Value)
	case *ast.NullNode:
		out.kind = null
	case *ast.AnchorNode, *ast.AliasNode:
		return nil, refuse(t, "anchors and aliases are not supported")
	case *ast.TagNode:
		return nil, refuse(t, "tags are not supported")
	default:
		return nil, refuse(t, "not supported")
	}
	return out, nil
}

func (n *node) addYAML(values []*ast.MappingValueNode) error {
	n.kind = object
	for _, v := range values {
		t := v.Key.GetToken()
		if v.Key.IsMergeKey() {
			return refuse(t, "merge keys are not supported")
		}
		key, ok := v.Key.(ast.ScalarNode)
		if !ok {
			return refuse(t, "a key that is not a scalar")
		}
		name := fmt.Sprint(key.GetValue())
		value, err := fromYAML(v.Value)
		if err != nil {
			return err
		}
		if err := n.add(member{name: name, value: value, line: t.Position.Line, column: t.Position.Column}); err != nil {
			return err
		}
	}
	return nil
}

// add refuses a key that is there already.
func (n *node) add(m member) error {
	for _, other := range n.members {
		if other.name == m.name {
			return &syntaxError{line: m.line, column: m.column, message: fmt.Sprintf("key %q is already given in line %d", m.name, other.line)}
		}
	}
	n.members = append(n.members, m)
	return nil
}
