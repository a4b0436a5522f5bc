package validation

// What Go takes for a value beside its content, on 64-bit machines. Measured, and
// rounded up.
const (
	stringBytes = 24 // the header of a string, with the slack of its allocation
	// entryBytes is an entry of a cache without what its token says: the digest, the
	// list element with the positive in it, the slot in the map.
	entryBytes = 320
	alikeBytes = 256
	// memberBytes is a member of a template without its text.
	memberBytes = 32
	// maxEntryBytes is more than any entry may have: answers end at 64 KiB.
	maxEntryBytes = 1 << 30
)

// sizeOf estimates the memory that remembering p takes, without what it has in common
// with others: that is counted for who brought it.
func sizeOf(p *positive) int64 {
	size := entryBytes + sizeOfText(p.text)
	if p.confirmation != nil {
		size += 2*stringBytes + sizeOfText(p.confirmation.JKT) + sizeOfText(p.confirmation.X5TS256)
	}
	return int64(size)
}

func sizeOfAlike(a *alike) int64 {
	size := alikeBytes + sizeOfText(a.issuer) + sizeOfText(a.clientID) + sizeOfText(a.acr) + sizeOfText(a.scope)
	for _, list := range [][]string{a.scopes, a.audience} {
		for _, text := range list {
			size += stringBytes + sizeOfText(text)
		}
	}
	return int64(size)
}

func (t *template) size() int64 {
	size := 0
	if t != nil {
		for _, m := range t.members {
			size += memberBytes + sizeOfText(m.Name) + sizeOfText(string(m.Value))
		}
	}
	return int64(size)
}

// sizeOfText: sizes of allocations are up to an eighth apart.
func sizeOfText(text string) int { return len(text) + len(text)/8 }
