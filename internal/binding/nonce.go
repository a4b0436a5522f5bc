package binding

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/bearergate/bearergate/internal/livefile"
)

// nonceEpoch is how long one nonce is given out. It is accepted in the next epoch,
// too: for 5 to 10 minutes.
const nonceEpoch = 5 * time.Minute

const minNonceKeyBytes = 32

// nonces are made of the time and a key, and of nothing else: none is remembered,
// and every replica with the same key takes those of every other (RFC 9449 §8).
type nonces struct {
	path string // of the file with the key; empty: there is none
	keys interface{ Value() *nonceKeys }
	now  func() time.Time

	made atomic.Pointer[madeNonces]
}

// nonceKeys are a key and the one before, which is nil where there was none.
type nonceKeys struct{ current, before []byte }

// madeNonces are those of one epoch and one pair of keys: they are asked for on
// every request, and change every few minutes.
type madeNonces struct {
	keys  *nonceKeys
	epoch int64
	fresh string
	ahead string    // what a replica whose clock is ahead gives out already
	old   [4]string // still accepted, but to be renewed; empty: there is none
}

// newNonces reads the file; an empty path stands for a key that nobody else has. Those
// that were in use before stay where the path is the same, with the keys that they
// have; otherwise their key is the one before, so that clients need not begin anew.
func newNonces(path string, before *nonces, log *slog.Logger, now func() time.Time) (*nonces, error) {
	if before != nil && before.path == path {
		return before, nil
	}
	var old []byte
	if before != nil {
		old = before.keys.Value().current
	}
	if path == "" {
		key := make([]byte, minNonceKeyBytes)
		_, _ = rand.Read(key) // it never fails
		return &nonces{keys: fixedKeys{&nonceKeys{key, old}}, now: now}, nil
	}
	file, err := livefile.Open(path, log, func(content []byte) (*nonceKeys, error) {
		if len(content) < minNonceKeyBytes {
			return nil, fmt.Errorf("key of %d bytes, want at least %d", len(content), minNonceKeyBytes)
		}
		keys := &nonceKeys{append([]byte(nil), content...), old}
		old = keys.current
		return keys, nil
	})
	if err != nil {
		return nil, err
	}
	return &nonces{path: path, keys: file, now: now}, nil
}

// fixedKeys are not in a file.
type fixedKeys struct{ keys *nonceKeys }

func (f fixedKeys) Value() *nonceKeys { return f.keys }

// fresh returns the nonce of this epoch.
func (n *nonces) fresh() string { return n.valid().fresh }

// accept says whether a nonce is one of ours and young enough, and whether the
// client should take a newer one from now on (RFC 9449 §8.2).
func (n *nonces) accept(nonce string) (ok, renew bool) {
	v := n.valid()
	if same(nonce, v.fresh) || same(nonce, v.ahead) {
		return true, false
	}
	for _, old := range v.old {
		if old != "" && same(nonce, old) {
			return true, true
		}
	}
	return false, false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (n *nonces) valid() *madeNonces {
	keys, epoch := n.keys.Value(), n.now().Unix()/int64(nonceEpoch/time.Second)
	if made := n.made.Load(); made != nil && made.keys == keys && made.epoch == epoch {
		return made
	}
	made := &madeNonces{
		keys:  keys,
		epoch: epoch,
		fresh: makeNonce(keys.current, epoch),
		ahead: makeNonce(keys.current, epoch+1),
		old:   [4]string{makeNonce(keys.current, epoch-1)},
	}
	if keys.before != nil {
		for i := range int64(3) {
			made.old[1+i] = makeNonce(keys.before, epoch-1+i)
		}
	}
	n.made.Store(made)
	return made
}

// makeNonce says what it is for, so that the key may serve other purposes.
func makeNonce(key []byte, epoch int64) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("DPoP-Nonce"))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(epoch))) //nolint:gosec // any 8 bytes will do
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
