package envoy

import (
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// nested wraps content in messages of those field numbers, the innermost first.
func nested(content []byte, numbers ...protowire.Number) []byte {
	for _, number := range numbers {
		content = protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
	}
	return content
}

// TestAMapHasNoRawValues: only a HeaderValue has a third field, and the generated code
// skips it in an entry of a map.
func TestAMapHasNoRawValues(t *testing.T) {
	odd := func(key, value, raw string) []byte {
		return appendText(appendText(appendText(nil, entryKey, key), entryValue, value), entryRawValue, raw)
	}
	for name, raw := range map[string][]byte{
		"authorization": nested(odd("authorization", "Bearer a", "Bearer b"), httpHeaders, requestHTTP, attributesRequest, checkAttributes),
		"looked up":     nested(odd("mcp-name", "a", "b"), httpHeaders, requestHTTP, attributesRequest, checkAttributes),
		"rule":          nested(odd("bearergate.rule", "strict", "public"), attributesExtensions, checkAttributes),
	} {
		t.Run(name, func(t *testing.T) { sameRequest(t, raw) })
	}
}

// TestManyFieldsOfANameAreJoinedAtOnce: a message of 1 MiB must not be copied once for
// each of its fields.
func TestManyFieldsOfANameAreJoinedAtOnce(t *testing.T) {
	var pairs []string
	for range 40_000 {
		pairs = append(pairs, "mcp-name", "v")
	}
	m := message{wire: wire(t, rawHeaders(pairs...))}
	if len(m.wire) > maxMessageBytes || !m.read() {
		t.Fatal("not a message that is read in place")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = m.request.Header("mcp-name")
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
		t.Errorf("got %d MiB allocated for one header", took>>20)
	}
}
