package strictfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML reads one YAML document. Anchors, aliases, merge keys and tags are
// refused: a configuration that decides who may enter reads as it stands.
func readYAML(content []byte) (*node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return &node{kind: object, place: place{line: 1, column: 1}}, nil
	} else if err != nil {
		return nil, yamlError(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, refuse(&second, "a second document, want one")
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	r := yamlReader{cursor: newCursor(content, yamlNewlines)}
	return r.value(document.Content[0])
}

// yamlLine finds the line in the parser's text: it gives it nowhere else.
var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

func yamlError(err error) error {
	out := &syntaxError{line: 1, column: 1, message: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		out.line, _ = strconv.Atoi(m[1])
		out.message = m[2]
	}
	return out
}

func refuse(n *yaml.Node, message string) error {
	return &syntaxError{line: n.Line, column: n.Column, message: message}
}

type yamlReader struct{ cursor *cursor }

func (r yamlReader) value(n *yaml.Node) (*node, error) {
	out := &node{place: r.cursor.position(n.Line, n.Column), text: n.Value}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return nil, refuse(n, "anchors and aliases are not supported")
	case n.Style&yaml.TaggedStyle != 0:
		return nil, refuse(n, "tags are not supported")
	case n.Kind == yaml.MappingNode:
		return out, r.object(out, n.Content)
	case n.Kind == yaml.SequenceNode:
		out.kind = list
		for _, item := range n.Content {
			child, err := r.value(item)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, child)
		}
		return out, nil
	}
	out.kind = kindOf(n.ShortTag())
	if out.kind == boolean {
		var b bool
		if err := n.Decode(&b); err != nil {
			return nil, refuse(n, "neither true nor false")
		}
		out.text = strconv.FormatBool(b)
	}
	return out, nil
}

func kindOf(tag string) kind {
	switch tag {
	case "!!str":
		return text
	case "!!int":
		return integer
	case "!!float":
		return float
	case "!!bool":
		return boolean
	case "!!null":
		return null
	}
	return other
}

func (r yamlReader) object(n *node, content []*yaml.Node) error {
	n.kind = object
	for i := 0; i+1 < len(content); i += 2 {
		key := content[i]
		switch {
		case key.ShortTag() == "!!merge":
			return refuse(key, "merge keys are not supported")
		case key.Kind != yaml.ScalarNode || key.Anchor != "":
			return refuse(key, "a key that is not a plain name")
		}
		if before := n.member(key.Value); before != nil {
			return refuse(key, fmt.Sprintf("this key is already given in line %d", before.line))
		}
		at := r.cursor.position(key.Line, key.Column)
		value, err := r.value(content[i+1])
		if err != nil {
			return err
		}
		n.add(member{name: key.Value, value: value, place: at})
	}
	return nil
}
