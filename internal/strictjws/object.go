package strictjws

import (
	stdjson "encoding/json"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

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

// Object decodes exactly one JSON object: names are compared exactly, duplicates
// and invalid UTF-8 are mistakes, nothing may follow (J-20). Numbers become
// encoding/json.Number. It is for what comes without a signature, too, so that
// both are read alike. Its errors are of kind [ErrMalformed].
func Object(content []byte) (map[string]any, error) {
	var object map[string]any
	if err := json.Unmarshal(content, &object, exactNumbers); err != nil {
		// The decoder's text may quote the input, so it is not passed on.
		return nil, malformed("not a strict JSON object")
	}
	if object == nil {
		return nil, malformed("null, want a JSON object")
	}
	return object, nil
}
