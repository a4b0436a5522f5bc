package strictjws

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxKeyIDBytes bounds what is looked up and logged: the key ID is read before any
// signature is verified, so anybody can write it (J-07).
const maxKeyIDBytes = 256

// Header is what is used of a JOSE header (RFC 7515 §4.1).
type Header struct {
	Algorithm string
	KeyID     string         // of 1 to 256 bytes; empty: there is none
	Type      string         // typ in lower case, without "application/"; empty: there is none
	Key       jsontext.Value // jwk, a JSON object as it was written; nil unless Options.EmbeddedKey
}

// readHeader checks a JOSE header before any key is touched. What the type means
// is left to the caller.
func readHeader(content []byte, o Options) (Header, error) {
	object, err := ParseObject(content)
	if err != nil {
		return Header{}, err
	}
	var h Header
	members := members{object}
	// The algorithm is chosen by who accepts, never by who signs (J-03).
	if h.Algorithm, err = members.text("alg"); err != nil {
		return h, err
	}
	if !slices.Contains(o.Algorithms, h.Algorithm) {
		return h, &Error{ErrAlgorithm, "not one of the configured algorithms"}
	}
	if err := members.checkAbsent(); err != nil {
		return h, err
	}
	if h.Type, err = members.mediaType(); err != nil {
		return h, err
	}
	if h.KeyID, err = members.keyID(); err != nil {
		return h, err
	}
	if o.EmbeddedKey {
		h.Key = jsontext.Value(members.Get("jwk"))
		if h.Key.Kind() != '{' {
			return h, malformed("header jwk is not an object")
		}
	}
	return h, nil
}

// members are those of a header.
type members struct{ Object }

func (m members) has(name string) bool { return m.Get(name) != "" }

// text returns a member that must be a string.
func (m members) text(name string) (string, error) {
	text, ok := m.Get(name).Text()
	if !ok {
		return "", malformed("header " + name + " is not a string")
	}
	return text, nil
}

// checkAbsent refuses what would change how the rest is to be read. Nothing is
// understood, so nothing can be critical (RFC 7515 §4.1.11, J-05); b64, zip and
// enc have no place in a JWT (RFC 7797 §7), and cty JWT means that another one is
// inside (J-06).
func (m members) checkAbsent() error {
	for _, name := range [...]string{"crit", "b64", "zip", "enc"} {
		if m.has(name) {
			return malformed("header " + name + " is not allowed")
		}
	}
	if !m.has("cty") {
		return nil
	}
	if cty, err := m.text("cty"); err != nil || strings.EqualFold(cty, "jwt") {
		return malformed("nested token")
	}
	return nil
}

// mediaType returns typ, in which case and "application/" do not matter (RFC 7515
// §4.1.9).
func (m members) mediaType() (string, error) {
	if !m.has("typ") {
		return "", nil
	}
	typ, err := m.text("typ")
	if err != nil {
		return "", err
	}
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if typ == "" { // would pass for absent
		return "", malformed("header typ is empty")
	}
	return typ, nil
}

// keyID returns kid, which is only ever looked up.
func (m members) keyID() (string, error) {
	if !m.has("kid") {
		return "", nil
	}
	kid, err := m.text("kid")
	if err != nil || kid == "" || len(kid) > maxKeyIDBytes {
		return "", malformed(fmt.Sprintf("header kid is not a string of 1 to %d bytes", maxKeyIDBytes))
	}
	return kid, nil
}
