package strictjws

import (
	stdjson "encoding/json"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Object is a strict JSON object that was read once: every byte was checked, and
// where its members stand is known, but none was decoded. Most of a token is never
// asked for, and what is asked for is mostly a part of the text.
type Object struct {
	Text    string // as it came
	Members []Member
}

// Member has parts of the text, but for a name that was written with escapes.
type Member struct {
	Name  string
	Value Value
}

// usualBytes are those of a member, mostly.
const usualBytes = 32

// ParseObject reads exactly one JSON object: names are compared exactly, duplicates
// and invalid UTF-8 are mistakes, at every depth, and nothing may follow (J-20). It
// is for what comes without a signature, too, so that both are read alike. Its errors
// are of kind [ErrMalformed].
func ParseObject(content []byte) (Object, error) {
	o := Object{Text: string(content), Members: make([]Member, 0, 1+min(len(content), 4<<10)/usualBytes)}
	if err := json.Unmarshal(content, &o); err != nil {
		if errors.Is(err, errNull) {
			return Object{}, malformed("null, want a JSON object")
		}
		// The decoder's text may quote the input, so it is not passed on.
		return Object{}, malformed("not a strict JSON object")
	}
	return o, nil
}

var (
	errNull     = errors.New("null")
	errNoObject = errors.New("no object")
)

// UnmarshalJSONFrom implements json.UnmarshalerFrom: it has the decoder check
// everything, and notes where the members of the outermost object are.
func (o *Object) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case '{':
	case 'n':
		return errNull
	default:
		return errNoObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := o.next(dec)
		if err != nil {
			return err
		}
		value, err := o.next(dec)
		if err != nil {
			return err
		}
		text, _ := name.Text() // the decoder takes no other name
		o.Members = append(o.Members, Member{text, value})
	}
	_, err := dec.ReadToken()
	return err
}

// next returns the part of the text that is the decoder's next value.
func (o *Object) next(dec *jsontext.Decoder) (Value, error) {
	value, err := dec.ReadValue()
	if err != nil {
		return "", err
	}
	end := int(dec.InputOffset())
	return Value(o.Text[end-len(value) : end]), nil
}

// Get returns the member of that name, or "" where there is none.
func (o Object) Get(name string) Value {
	for i := range o.Members {
		if o.Members[i].Name == name {
			return o.Members[i].Value
		}
	}
	return ""
}

// Map decodes all members. Numbers become encoding/json.Number, as they were
// written; the zero Object has no members.
func (o Object) Map() map[string]any {
	all := make(map[string]any, len(o.Members))
	for _, m := range o.Members {
		all[m.Name] = m.Value.Any()
	}
	return all
}

// Value is a JSON value as it was written, found well formed by [ParseObject]; "" is
// none.
type Value string

// IsNull says whether v is the word null.
func (v Value) IsNull() bool { return v == "null" }

// Text returns the text that a JSON string stands for; false: v is something else.
func (v Value) Text() (string, bool) {
	if v == "" || v[0] != '"' {
		return "", false
	}
	if strings.IndexByte(string(v), '\\') < 0 {
		return string(v[1 : len(v)-1]), true
	}
	text, err := jsontext.AppendUnquote(nil, v)
	return string(text), err == nil
}

// Number returns the digits of a JSON number as they were written; false: v is
// something else.
func (v Value) Number() (string, bool) {
	if v == "" || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return "", false
	}
	return string(v), true
}

// Any decodes v as [Object.Map] does; nil: it is null, or none.
func (v Value) Any() any {
	if number, ok := v.Number(); ok {
		return stdjson.Number(number)
	}
	if text, ok := v.Text(); ok {
		return text
	}
	var value any
	if v == "" || json.Unmarshal([]byte(v), &value, exactNumbers) != nil {
		return nil
	}
	return value
}

// exactNumbers decodes numbers as encoding/json.Number instead of float64.
//
//nolint:gochecknoglobals // never changed
var exactNumbers = json.WithUnmarshalers(json.UnmarshalFromFunc(decodeNumber))

func decodeNumber(dec *jsontext.Decoder, v *any) error {
	if dec.PeekKind() != '0' {
		return errors.ErrUnsupported
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	*v = stdjson.Number(raw)
	return nil
}
