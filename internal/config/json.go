package config

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// readJSON reads exactly one JSON value without repeated names.
func readJSON(content []byte) (*node, error) {
	r := jsonReader{content: content, decoder: jsontext.NewDecoder(bytes.NewReader(content))}
	root, err := r.value()
	if err == nil {
		if _, err = r.decoder.ReadToken(); errors.Is(err, io.EOF) {
			return root, nil
		}
		if err == nil {
			err = errors.New("something follows the value")
		}
	}
	line, column := r.at(r.decoder.InputOffset())
	message := "not JSON"
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		line, column = r.at(syntax.ByteOffset)
		message = syntax.Err.Error()
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		message = "the file ends too early"
	}
	return nil, &syntaxError{line: line, column: column, message: message}
}

type jsonReader struct {
	content []byte
	decoder *jsontext.Decoder
}

// next returns the position of the next token.
func (r *jsonReader) next() (line, column int) {
	offset := r.decoder.InputOffset()
	for offset < int64(len(r.content)) && strings.IndexByte(" \t\r\n,:", r.content[offset]) >= 0 {
		offset++
	}
	return r.at(offset)
}

func (r *jsonReader) at(offset int64) (line, column int) {
	before := string(r.content[:min(offset, int64(len(r.content)))])
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}

func (r *jsonReader) value() (*node, error) {
	n := &node{}
	n.line, n.column = r.next()
	t, err := r.decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case '{':
		return n, r.object(n)
	case '[':
		return n, r.list(n)
	case '"':
		n.kind, n.text = text, t.String()
	case '0':
		n.kind, n.text = integer, t.String()
		if strings.ContainsAny(n.text, ".eE") {
			n.kind = float
		}
	case 't', 'f':
		n.kind, n.text = boolean, t.String()
	default:
		n.kind = null
	}
	return n, nil
}

func (r *jsonReader) object(n *node) error {
	n.kind = object
	for r.decoder.PeekKind() != '}' {
		line, column := r.next()
		t, err := r.decoder.ReadToken()
		if err != nil {
			return err
		}
		name := t.String()
		value, err := r.value()
		if err != nil {
			return err
		}
		n.members = append(n.members, member{name: name, value: value, line: line, column: column})
	}
	_, err := r.decoder.ReadToken()
	return err
}

func (r *jsonReader) list(n *node) error {
	n.kind = list
	for r.decoder.PeekKind() != ']' {
		value, err := r.value()
		if err != nil {
			return err
		}
		n.items = append(n.items, value)
	}
	_, err := r.decoder.ReadToken()
	return err
}
