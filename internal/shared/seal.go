package shared

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bearergate/bearergate/internal/livefile"
)

const (
	minKeyBytes = 32
	nameBytes   = 24 // of an HMAC: nobody finds two of 2^96
	saltBytes   = 24
	expiryBytes = 8

	// version is the first byte of every entry. A replica that does not know it
	// reads nothing, and writes its own.
	version = 1
)

// errUnreadable says nothing of why: an entry that another wrote, for another name
// or under another key, is no entry.
var errUnreadable = errors.New("entry does not open")

// key is what is made of the content of the key file.
type key struct {
	names  []byte // HMAC-SHA256
	values []byte // of which the key of each entry is made
}

// overlap is how long after a change of the key entries of the log are written under
// the key before, too: replicas may see the change one after another, minutes apart,
// and a revocation has to reach each at once.
const overlap = 15 * time.Minute

// keyRing is the key in use, and the one before it, which is nil where there was none.
type keyRing struct {
	current, before *key
	since           time.Time // the current one is in use
}

// all returns the keys that open entries, the one in use first.
func (r *keyRing) all() []*key {
	if r.before == nil {
		return []*key{r.current}
	}
	return []*key{r.current, r.before}
}

// forLog returns the keys that entries of the log are written under.
func (r *keyRing) forLog() []*key {
	if time.Since(r.since) < overlap {
		return r.all()
	}
	return []*key{r.current}
}

// newKey derives two keys, so that a name tells nothing of how values are sealed.
func newKey(secret []byte) (*key, error) {
	names, err := hkdf.Key(sha256.New, secret, nil, "bearergate shared store: names", sha256.Size)
	if err != nil {
		return nil, err
	}
	values, err := hkdf.Key(sha256.New, secret, nil, "bearergate shared store: values", sha256.Size)
	return &key{names, values}, err
}

func openKeys(path string, log *slog.Logger) (*livefile.File[*keyRing], error) {
	var current *key
	return livefile.Open(path, log, func(content []byte) (*keyRing, error) {
		if len(content) < minKeyBytes {
			return nil, fmt.Errorf("key of %d bytes, want at least %d", len(content), minKeyBytes)
		}
		k, err := newKey(content)
		if err != nil {
			return nil, err
		}
		ring := &keyRing{k, current, time.Now()}
		current = k
		return ring, nil
	})
}

// id is what an entry is found by, and sealed for.
type id struct {
	kind  byte // one kind never stands for another
	space string
	key   [32]byte
}

const (
	kindValue = 'v'
	kindClaim = 'c'
	kindLog   = 'l'
)

// append adds the id to b, so that no two ids look the same.
func (i id) append(b []byte) []byte {
	b = append(b, i.kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(i.space))) //nolint:gosec // a constant of the program
	b = append(b, i.space...)
	return append(b, i.key[:]...)
}

// name is what the store knows the id by. The braces keep what belongs together on
// one node of a cluster.
func (k *key) name(prefix string, i id) string {
	mac := hmac.New(sha256.New, k.names)
	mac.Write(i.append(nil))
	return prefix + "{" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:nameBytes]) + "}"
}

// seal returns: version, salt, AES-256-GCM of content. The salt makes a key for this
// entry alone, whose nonce can be zero: random nonces under one key would last for
// 2^32 entries only (NIST SP 800-38D §8.3), which a large fleet writes in days.
func (k *key) seal(i id, bound, content []byte) []byte {
	b := make([]byte, 1+saltBytes, 1+saltBytes+len(content)+aes.BlockSize)
	b[0] = version
	_, _ = rand.Read(b[1:]) // it never fails
	return k.aead(b[1:]).Seal(b, make([]byte, 12), content, i.associated(bound))
}

// open returns what was sealed for i and bound under this key.
func (k *key) open(i id, bound, entry []byte) ([]byte, error) {
	if len(entry) < 1+saltBytes || entry[0] != version {
		return nil, errUnreadable
	}
	salt, sealed := entry[1:1+saltBytes], entry[1+saltBytes:]
	content, err := k.aead(salt).Open(nil, make([]byte, 12), sealed, i.associated(bound))
	if err != nil {
		return nil, errUnreadable
	}
	return content, nil
}

func (k *key) aead(salt []byte) cipher.AEAD {
	mac := hmac.New(sha256.New, k.values)
	mac.Write(salt)
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes are a key of AES-256
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block cipher is AES
	}
	return aead
}

// associated is what an entry is authenticated with: it opens nowhere else.
func (i id) associated(bound []byte) []byte {
	return append(i.append([]byte{version}), bound...)
}

// sealValue seals a value with the time of its end: the store forgets it then, but who
// writes the store could put it back.
func (k *key) sealValue(i id, bound, value []byte, end time.Time) []byte {
	content := binary.BigEndian.AppendUint64(nil, uint64(end.UnixMilli())) //nolint:gosec // after 1970
	return k.seal(i, bound, append(content, value...))
}

// openValue returns a value that has not ended.
func (k *key) openValue(i id, bound, entry []byte, now time.Time) ([]byte, error) {
	content, err := k.open(i, bound, entry)
	if err != nil || len(content) < expiryBytes {
		return nil, errUnreadable
	}
	end := binary.BigEndian.Uint64(content)
	if now := now.UnixMilli(); now < 0 || uint64(now) >= end {
		return nil, errUnreadable
	}
	return content[expiryBytes:], nil
}
