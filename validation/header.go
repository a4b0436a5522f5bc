package validation

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const maxKeyIDBytes = 256

// strictBase64 has no padding and no unused bits (J-02).
var strictBase64 = base64.RawURLEncoding.Strict() //nolint:gochecknoglobals // never changed

// header is what is used of a JOSE header.
type header struct {
	Algorithm, KeyID, Type string
}

// looksLikeJWT is the classification of strategy both: three parts, the first
// a JSON object with alg (I-27). A five-part JWE is not one. It is generous on
// purpose: what could pass for a JWT is judged as one, strictly, and never gets
// a second chance at the introspection endpoint.
func looksLikeJWT(token string) bool {
	first, _, ok := cutThree(token)
	if !ok {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(first, "="))
	if err != nil {
		return false
	}
	var object map[string]jsontext.Value
	if err := json.Unmarshal(raw, &object, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return false
	}
	_, ok = object["alg"]
	return ok
}

// cutThree returns the first two of exactly three parts. Line breaks, which
// base64 decoders skip, are in no token (J-01).
func cutThree(token string) (first, second string, ok bool) {
	if strings.Count(token, ".") != 2 || strings.ContainsAny(token, "\r\n") {
		return "", "", false
	}
	first, rest, _ := strings.Cut(token, ".")
	second, _, _ = strings.Cut(rest, ".")
	return first, second, true
}

// readJWS reads a compact JWS without a key: all three parts must be strict
// base64url before any of them counts, since a signature with unused bits would
// be a second spelling of one token (J-02).
func readJWS(raw string, algorithms []string) (h header, claims map[string]any, payload []byte, err error) {
	first, second, ok := cutThree(raw)
	if !ok {
		return h, nil, nil, fmt.Errorf("%w: not a JWT of three parts", ErrMalformed)
	}
	if _, err := strictBase64.DecodeString(raw[len(first)+len(second)+2:]); err != nil {
		return h, nil, nil, fmt.Errorf("%w: signature is not base64url", ErrMalformed)
	}
	head, _, err := decodePart(first)
	if err != nil {
		return h, nil, nil, err
	}
	if h, err = readHeader(head, algorithms); err != nil {
		return h, nil, nil, err
	}
	claims, payload, err = decodePart(second)
	return h, claims, payload, err
}

// decodePart returns the strict JSON object in one part of a compact JWS.
func decodePart(part string) (map[string]any, []byte, error) {
	raw, err := strictBase64.DecodeString(part)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: not base64url", ErrMalformed)
	}
	object, err := parseObject(raw)
	return object, raw, err
}

// readHeader checks a JOSE header before any key is touched: J-03, J-05, J-06,
// J-07. The type is left to the caller.
func readHeader(object map[string]any, algorithms []string) (header, error) {
	var h header
	alg, ok := object["alg"].(string)
	if !ok {
		return h, fmt.Errorf("%w: header alg is not a string", ErrMalformed)
	}
	if !slices.Contains(algorithms, alg) {
		return h, fmt.Errorf("%w: not one of the configured algorithms", ErrUnsupportedAlgorithm)
	}
	h.Algorithm = alg
	// crit: nothing is understood, so nothing can be critical. b64, zip and enc
	// have no place in a JWT, and cty JWT means that another one is inside.
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if _, ok := object[name]; ok {
			return h, fmt.Errorf("%w: header %s is not allowed", ErrMalformed, name)
		}
	}
	if cty, ok := object["cty"]; ok {
		if s, ok := cty.(string); !ok || strings.EqualFold(s, "jwt") {
			return h, fmt.Errorf("%w: nested token", ErrMalformed)
		}
	}
	if typ, ok := object["typ"]; ok {
		if h.Type, ok = typ.(string); !ok {
			return h, fmt.Errorf("%w: header typ is not a string", ErrMalformed)
		}
		h.Type = strings.TrimPrefix(strings.ToLower(h.Type), "application/")
		if h.Type == "" { // would pass for absent
			return h, fmt.Errorf("%w: header typ is empty", ErrMalformed)
		}
	}
	if kid, ok := object["kid"]; ok {
		if h.KeyID, ok = kid.(string); !ok || h.KeyID == "" || len(h.KeyID) > maxKeyIDBytes {
			return h, fmt.Errorf("%w: header kid is not a string of 1 to %d bytes", ErrMalformed, maxKeyIDBytes)
		}
	}
	return h, nil
}
