package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// readYAML reads one YAML document. Anchors, aliases, merge keys and tags are
// refused: a configuration that decides who may enter reads as it stands.
func readYAML(content []byte) (*node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return &node{kind: object, line: 1, column: 1}, nil
	} else if err != nil {
		return nil, yamlError(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, refuse(&second, "a second document, want one")
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	return fromYAML(document.Content[0])
}

// yamlLine finds the line in the parser's text: it gives it nowhere else.
var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

func yamlError(err error) error {
	out := &syntaxError{line: 1, column: 1, message: "not YAML"}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		out.line, _ = strconv.Atoi(m[1])
		out.message = m[2]
	}
	return out
}

func refuse(n *yaml.Node, message string) error {
	return &syntaxError{line: n.Line, column: n.Column, message: message}
}

func fromYAML(n *yaml.Node) (*node, error) {
	out := &node{line: n.Line, column: n.Column, text: n.Value}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return nil, refuse(n, "anchors and aliases are not supported")
	case n.Style&yaml.TaggedStyle != 0:
		return nil, refuse(n, "tags are not supported")
	case n.Kind == yaml.MappingNode:
		return out, out.addYAML(n.Content)
	case n.Kind == yaml.SequenceNode:
		out.kind = list
		for _, item := range n.Content {
			child, err := fromYAML(item)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, child)
		}
		return out, nil
	}
	kinds := map[string]kind{"!!str": text, "!!int": integer, "!!float": float, "!!bool": boolean, "!!null": null}
	var ok bool
	if out.kind, ok = kinds[n.ShortTag()]; !ok {
		out.kind = other
	}
	if out.kind == boolean {
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, refuse(n, "neither true nor false")
		}
		out.text = strconv.FormatBool(b)
	}
	return out, nil
}

func (n *node) addYAML(content []*yaml.Node) error {
	n.kind = object
	for i := 0; i+1 < len(content); i += 2 {
		key := content[i]
		switch {
		case key.ShortTag() == "!!merge":
			return refuse(key, "merge keys are not supported")
		case key.Kind != yaml.ScalarNode || key.Anchor != "":
			return refuse(key, "a key that is not a plain name")
		}
		value, err := fromYAML(content[i+1])
		if err != nil {
			return err
		}
		if err := n.add(member{name: key.Value, value: value, line: key.Line, column: key.Column}); err != nil {
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
