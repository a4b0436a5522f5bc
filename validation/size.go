package validation

import stdjson "encoding/json"

// What Go takes for a value beside its content, on 64-bit machines: the header of
// a string with the slack of its allocation, of a slice, of a map, and a map's
// slot for a name and a value. Measured, and rounded up.
const (
	stringBytes = 24
	sliceBytes  = 40
	mapBytes    = 320
	slotBytes   = 48
	scalarBytes = 16
	// entryBytes is an entry of a cache without what its token says: the digest,
	// the list element, the slot in the map, the Token.
	entryBytes = 640
)

// sizeOfToken estimates the memory that remembering t takes.
func sizeOfToken(t *Token) int64 {
	size := int64(entryBytes) + sizeOf(t.Claims)
	for _, list := range [][]string{t.Scopes, t.Audience} {
		size += sliceBytes + int64(len(list))*stringBytes
	}
	return size
}

func sizeOf(value any) int64 {
	switch v := value.(type) {
	case string:
		return stringBytes + int64(len(v))
	case stdjson.Number:
		return stringBytes + int64(len(v))
	case []any:
		size := int64(sliceBytes)
		for _, member := range v {
			size += scalarBytes + sizeOf(member)
		}
		return size
	case map[string]any:
		size := int64(mapBytes)
		for name, member := range v {
			size += slotBytes + int64(len(name)) + sizeOf(member)
		}
		return size
	}
	return scalarBytes
}
