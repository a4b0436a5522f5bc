package strictfile

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// readJSON reads exactly one JSON value without repeated names.
func readJSON(content []byte) (*node, error) {
	r := jsonReader{
		content: content,
		decoder: jsontext.NewDecoder(bytes.NewReader(content)),
		cursor:  newCursor(content, newlines),
	}
	root, err := r.value()
	if err == nil {
		if _, err = r.decoder.ReadToken(); errors.Is(err, io.EOF) {
			return root, nil
		}
		if err == nil {
			err = errors.New("something follows the value")
		}
	}
	at := r.cursor.offset(int(r.decoder.InputOffset()))
	message := "not JSON"
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at = r.cursor.offset(int(syntax.ByteOffset))
		message = syntax.Err.Error()
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		message = "the file ends too early"
	}
	return nil, &syntaxError{line: at.line, column: at.column, message: message}
}

type jsonReader struct {
	content []byte
	decoder *jsontext.Decoder
	cursor  *cursor
}

// next returns the place of the next token.
func (r *jsonReader) next() place {
	offset := int(r.decoder.InputOffset())
	for offset < len(r.content) && strings.IndexByte(" \t\r\n,:", r.content[offset]) >= 0 {
		offset++
	}
	return r.cursor.offset(offset)
}

func (r *jsonReader) value() (*node, error) {
	n := &node{place: r.next()}
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
		at := r.next()
		t, err := r.decoder.ReadToken()
		if err != nil {
			return err
		}
		name := t.String()
		value, err := r.value()
		if err != nil {
			return err
		}
		n.add(member{name: name, value: value, place: at})
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
