package discovery

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/bearergate/bearergate/internal/jwk"
)

// sortedKeys are the members of a JWKS, told apart by what becomes of them.
type sortedKeys struct {
	usable  []Key
	skipped error // why each of the others is left out
	alarm   error // the same of secret keys, which should never have been published
}

// parseKeySet sorts the keys of a JWKS one by one: a bad one costs no other.
func parseKeySet(body []byte) (sortedKeys, error) {
	all, err := splitKeySet(body)
	if err != nil {
		return sortedKeys{}, err
	}
	var keys sortedKeys
	for i, raw := range all {
		key, err := parseKey(raw)
		switch {
		case err == nil:
			keys.usable = append(keys.usable, key)
		case errors.Is(err, jwk.ErrSecret):
			// It should never have been published.
			keys.alarm = errors.Join(keys.alarm, fmt.Errorf("keys[%d]: %w in the JWKS", i, err))
		default:
			keys.skipped = errors.Join(keys.skipped, fmt.Errorf("keys[%d]: %w", i, err))
		}
	}
	return keys, nil
}

// splitKeySet returns the members of the array keys as they came: a mistake
// inside one of them is for [parseKey] to find, so that it costs that key only
// . The object around them may name no member twice: of two lists of keys
// nobody could say which one counts (D-10).
func splitKeySet(body []byte) ([]jsontext.Value, error) {
	var set map[string]jsontext.Value
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	names := 0
	count := json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, _ *jsontext.Value) error {
		if dec.StackDepth() == 1 {
			names++
		}
		return errors.ErrUnsupported
	}))
	if err := json.Unmarshal(body, &set, lenient, count); err != nil || names != len(set) {
		return nil, errors.New("not a JSON object with distinct members")
	}
	var keys []jsontext.Value
	if err := json.Unmarshal(set["keys"], &keys, lenient); err != nil {
		return nil, errors.New("no array of keys in it")
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("got %d keys, want at most %d", len(keys), maxKeys)
	}
	return keys, nil
}

// parseKey accepts a key that was made to verify signatures, and is fit to (J-10).
func parseKey(raw []byte) (Key, error) {
	key, err := jwk.Parse(raw)
	if err != nil {
		return Key{}, err
	}
	return Key{ID: key.ID, Algorithm: key.Algorithm, Public: key.Public, Thumbprint: key.Thumbprint}, nil
}

// fits says whether the key can verify signatures of alg.
func (k Key) fits(alg string) bool { return jwk.Fits(k.Public, k.Algorithm, alg) }
