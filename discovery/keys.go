package discovery

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/recovered"
	"github.com/bearergate/bearergate/internal/safehttp"
)

// Key is one verification key that a JWKS holds, found fit for what it is to be
// used for: by its type and size, and by what the JWKS allows it (J-10).
type Key struct {
	ID         string // kid; may be empty
	Algorithm  string // alg of the JWK; empty: any that fits the key's type
	Public     crypto.PublicKey
	Thumbprint string // RFC 7638, SHA-256, base64url
	Fetched    time.Time
	File       string // that it was read from; empty: it was fetched
}

const (
	maxKeySetBytes = 1 << 20
	maxKeys        = 1000
)

// keySet is what one fetch of the JWKS left usable. It never changes.
type keySet struct {
	byID        map[string][]Key
	thumbprints map[string]bool
	fetched     time.Time
}

// find returns the only key of that ID that fits alg. Several are ambiguous,
// and none of them is used (J-07, J-11).
func (k *keySet) find(keyID, alg string) (Key, bool) {
	if keyID != "" {
		return only(k.byID[keyID], alg)
	}
	var all []Key
	for _, keys := range k.byID {
		all = append(all, keys...)
	}
	return only(all, alg)
}

func only(keys []Key, alg string) (Key, bool) {
	fitting := 0
	var found Key
	for _, key := range keys {
		if key.fits(alg) {
			found = key
			fitting++
		}
	}
	return found, fitting == 1
}

// refreshKeys fetches the keys once, whoever asks at the same time.
func (i *Issuer) refreshKeys(ctx context.Context) (time.Duration, error) {
	result := <-i.fetches.DoChan("keys", func() (any, error) {
		return recovered.Call(func() (time.Duration, error) { return i.replaceKeys(ctx) })
	})
	pause, _ := result.Val.(time.Duration)
	return pause, result.Err
}

// replaceKeys fetches the keys. A set that cannot be had, or that has no usable
// key, leaves the last good ones in use (J-11, L-06).
func (i *Issuer) replaceKeys(ctx context.Context) (time.Duration, error) {
	ctx = i.events.Start(ctx, OperationKeys)
	fetched, err := i.fetchKeys(ctx)
	if err != nil && ctx.Err() != nil {
		return 0, err // stopped, not failed
	}
	i.note("keys", err)
	i.events.End(ctx, Event{OperationKeys, i.cfg.Issuer, err})
	if err != nil {
		return 0, err
	}
	i.keys.Store(fetched.set)
	i.alarm(ctx, fetched.alarm)
	return fetched.pause, nil
}

// alarm tells of secret keys among those published; nil: there are none.
func (i *Issuer) alarm(ctx context.Context, secrets error) {
	if secrets == nil {
		return
	}
	i.log.Error("the JWKS holds keys that must not be there; they are ignored", "error", safehttp.Line(secrets.Error()))
	i.events.End(ctx, Event{OperationKeys, i.cfg.Issuer, secrets})
}

// fetchedKeys is what one fetch of the JWKS gave.
type fetchedKeys struct {
	set   *keySet
	alarm error         // secret keys among those published; nil: none
	pause time.Duration // until the next fetch in the background
}

func (i *Issuer) fetchKeys(ctx context.Context) (fetchedKeys, error) {
	uri := i.keysURI()
	if uri == "" {
		return fetchedKeys{}, errors.New("no jwks_uri yet")
	}
	got, err := i.fetch(ctx, uri, acceptKeys, maxKeySetBytes)
	if err != nil {
		return fetchedKeys{}, fmt.Errorf("%s: %w", uri, err)
	}
	keys, err := usableKeys(got.body)
	if err != nil {
		return fetchedKeys{}, fmt.Errorf("%s: %w", uri, err)
	}
	return fetchedKeys{i.indexed(keys), keys.alarm, i.pause(got.header)}, nil
}

// usableKeys is [parseKeySet] for those who need at least one key.
func usableKeys(body []byte) (sortedKeys, error) {
	keys, err := parseKeySet(body)
	if err == nil && len(keys.usable) == 0 {
		why := safehttp.Line(fmt.Sprint(errors.Join(keys.skipped, keys.alarm)))
		err = fmt.Errorf("no usable key among those published: %s", why)
	}
	return keys, err
}

// indexed makes the set that is used of the keys that were published.
func (i *Issuer) indexed(keys sortedKeys) *keySet {
	if keys.skipped != nil {
		i.log.Warn("some keys of the JWKS are not usable", "error", safehttp.Line(keys.skipped.Error()))
	}
	return index(keys.usable, i.now(), i.cfg.JWKSFile)
}

func (i *Issuer) keysURI() string {
	if m := i.metadata.Load(); m != nil {
		return m.JWKSURI
	}
	return i.cfg.JWKSURI
}

func index(keys []Key, fetched time.Time, file string) *keySet {
	set := &keySet{byID: map[string][]Key{}, thumbprints: map[string]bool{}, fetched: fetched}
	for _, key := range keys {
		key.Fetched, key.File = fetched, file
		same := func(k Key) bool { return k.Thumbprint == key.Thumbprint && k.Algorithm == key.Algorithm }
		if !slices.ContainsFunc(set.byID[key.ID], same) { // the very same key twice is one key
			set.byID[key.ID] = append(set.byID[key.ID], key)
		}
		set.thumbprints[key.Thumbprint] = true
	}
	return set
}

// pause is the time to the next background refresh: what max-age says, but
// neither longer than the configured interval nor shorter than the configured
// minimum.
func (i *Issuer) pause(header http.Header) time.Duration {
	pause := i.cfg.RefreshInterval
	for _, directive := range strings.Split(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		if err != nil {
			continue
		}
		floor := min(i.cfg.MinRefreshInterval, i.cfg.RefreshInterval)
		pause = min(pause, max(floor, time.Duration(seconds)*time.Second))
	}
	return pause
}
