package revocation

import (
	"encoding/binary"
	"errors"
)

// How an entry stands in the log: numbers are big-endian.
//
//	version 1 | kind 1 | before 8 | told 8 | digest 16 | issuer
//
// The highest bit of kind says that only facts are dropped. Replicas of another version
// read what they know, and count the rest.
const (
	entryVersion = 1
	entryBytes   = 1 + 1 + 8 + 8 + len(digest{}) // before the issuer
	factsBit     = 0x80
)

// What is remembered besides revocations: an event or logout token that was accepted,
// by its jti.
const (
	kindEvent  Kind = 0x40
	kindLogout Kind = 0x41
)

// record is an entry on its way between replicas: with the name of its issuer, or for
// what was accepted that of who sent it.
type record struct {
	entry

	facts  bool
	issuer string
}

// maxIssuerBytes bounds what is taken for a name.
const maxIssuerBytes = 4096

var errForeign = errors.New("not an entry of this version")

func (r record) marshal() []byte {
	kind := byte(r.kind)
	if r.facts {
		kind |= factsBit
	}
	b := make([]byte, 0, entryBytes+len(r.issuer))
	b = append(b, entryVersion, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(r.before)) //nolint:gosec // read back as it was
	b = binary.BigEndian.AppendUint64(b, uint64(r.told))   //nolint:gosec // read back as it was
	b = append(b, r.key[:]...)
	return append(b, r.issuer...)
}

func unmarshal(b []byte) (record, error) {
	if len(b) < entryBytes || len(b) > entryBytes+maxIssuerBytes || b[0] != entryVersion {
		return record{}, errForeign
	}
	r := record{facts: b[1]&factsBit != 0, issuer: string(b[entryBytes:])}
	r.kind = Kind(b[1] &^ factsBit)
	r.before = int64(binary.BigEndian.Uint64(b[2:])) //nolint:gosec // as it was written
	r.told = int64(binary.BigEndian.Uint64(b[10:]))  //nolint:gosec // as it was written
	r.key = digest(b[18:entryBytes])
	accepted := r.kind == kindEvent || r.kind == kindLogout
	if !accepted && (r.kind == 0 || r.kind >= kinds) || accepted && r.facts {
		return record{}, errForeign
	}
	return r, nil
}
