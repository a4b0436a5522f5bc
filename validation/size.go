package validation

// What Go takes for a value beside its content, on 64-bit machines. Measured, and
// rounded up.
const (
	stringBytes = 24 // the header of a string, with the slack of its allocation
	slackBytes  = 64 // of the claims: sizes of allocations are an eighth apart
	// entryBytes is an entry of a cache without what its token says: the digest, the
	// list element, the slot in the map, the positive.
	entryBytes = 384
	// maxEntryBytes is more than any entry may have: answers end at 64 KiB.
	maxEntryBytes = 1 << 30
)

// sizeOf estimates the memory that remembering p takes, as if it had nothing in
// common with others.
func sizeOf(p *positive) int64 {
	a := p.alike
	size := entryBytes + slackBytes + len(p.claims) + len(p.claims)/8 + len(p.subject) + len(a.clientID) + len(a.acr)
	for _, list := range [][]string{a.scopes, a.audience} {
		for _, text := range list {
			size += stringBytes + len(text)
		}
	}
	if p.confirmation != nil {
		size += 2*stringBytes + len(p.confirmation.JKT) + len(p.confirmation.X5TS256)
	}
	return int64(size)
}
