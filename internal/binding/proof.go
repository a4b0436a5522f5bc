package binding

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/jwk"
	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/internal/walk"
)

const (
	maxProofBytes = 8 << 10
	maxJTIBytes   = 256
	proofType     = "dpop+jwt"
)

// Proof is one request as the check of its proof sees it. Its texts are not kept.
type Proof struct {
	Field     string        // the DPoP header field, or all of them joined with commas; empty: there is none
	Method    string        // as in the request, byte for byte
	Scheme    string        // scheme and host as the gateway reports them
	Host      string        // with its port, where there is one
	Path      string        // with its query, where there is one
	Token     string        // the access token that was sent
	JKT       string        // cnf.jkt of the token (RFC 9449 §6.1)
	ClockSkew time.Duration // how far ahead of ours the clock of the client may be, besides max_age
}

// The results that [Options.Told] is told.
const (
	Accepted    = "accepted"
	Invalid     = "invalid" // another key's, too
	Replayed    = "replayed"
	NonceWanted = "nonce"
	Unavailable = "unavailable"
)

// Options are what [NewProofs] needs besides the configuration.
type Options struct {
	Replays Replays             // remembers the proofs that were accepted; required
	Log     *slog.Logger        // of a key file that changes; nil: nothing is logged
	Now     func() time.Time    // nil: time.Now
	Told    func(result string) // of every proof, also from several goroutines at once; nil: nobody
	Before  *Proofs             // that these replace, and whose nonces stay good; nil: there are none
}

// Proofs checks proofs of possession. It is safe for concurrent use, and may be
// replaced by another with the same Replays without one being accepted twice, and
// without a nonce being refused that was good.
type Proofs struct {
	algorithms []string
	maxAge     time.Duration
	origins    map[origin]bool // empty: what the gateway reports
	nonces     *nonces
	wantNonce  bool
	replays    Replays
	now        func() time.Time
	told       func(string)
}

// NewProofs returns the check of proofs that c describes, which is validated. It
// reads c.NonceKeyFile.
func NewProofs(c DPoP, o Options) (*Proofs, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if o.Replays == nil {
		return nil, errors.New("nothing remembers proofs")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Told == nil {
		o.Told = func(string) {}
	}
	var before *nonces
	if o.Before != nil {
		before = o.Before.nonces
	}
	nonces, err := newNonces(c.NonceKeyFile, before, o.Log, o.Now)
	if err != nil {
		return nil, err
	}
	p := &Proofs{
		algorithms: c.Algorithms,
		maxAge:     c.MaxAge,
		origins:    make(map[origin]bool, len(c.Origins)),
		nonces:     nonces,
		wantNonce:  c.Nonce == NonceRequired,
		replays:    o.Replays,
		now:        o.Now,
		told:       o.Told,
	}
	for _, text := range c.Origins {
		at, err := parseOrigin(text)
		if err != nil {
			return nil, err
		}
		p.origins[at] = true
	}
	return p, nil
}

// Nonce returns a fresh nonce for the DPoP-Nonce header, which goes with [ErrNonce].
func (p *Proofs) Nonce() string { return p.nonces.fresh() }

// Accept returns nil once for each proof that is good as RFC 9449 §4.3 and §7.1
// say. Otherwise its error is [ErrProof], [ErrKey], [ErrNonce] or [ErrUnavailable],
// judged in this order but for a proof that was used before, which is an ErrProof
// that is found last: what is refused for its key or its nonce is not remembered. A
// fresh nonce that the client should use from now on is in next; empty: it need not.
func (p *Proofs) Accept(ctx context.Context, w Proof) (next string, err error) {
	next, err = p.accept(ctx, w)
	p.told(resultOf(err))
	return next, err
}

// errReplayed is the ErrProof that is counted apart from the others. The memory may
// have forgotten a proof that is older than what it was asked to remember.
var errReplayed = fmt.Errorf("%w: it was used before", ErrProof)

func resultOf(err error) string {
	switch {
	case err == nil:
		return Accepted
	case errors.Is(err, ErrUnavailable):
		return Unavailable
	case errors.Is(err, ErrNonce):
		return NonceWanted
	case errors.Is(err, errReplayed):
		return Replayed
	}
	return Invalid
}

func (p *Proofs) accept(ctx context.Context, w Proof) (next string, err error) {
	log := walk.From(ctx)
	c := candidate{Proof: w, proofs: p, now: p.now()}
	for _, check := range checks() {
		if err := log.Err(room, check.name, check.of(&c)); err != nil {
			return "", err
		}
	}
	if p.wantNonce {
		if next, err = c.nonce(); log.Err(room, "nonce", err) != nil {
			return "", err
		}
	}
	if err := log.Err(room, "replay", c.claim(ctx)); err != nil {
		return "", err
	}
	return next, nil
}

// candidate is a proof that is being checked.
type candidate struct {
	Proof

	proofs *Proofs
	now    time.Time
	jws    *strictjws.JWS
	key    jwk.Key
	iat    time.Time
	jti    string
}

type check struct {
	name string
	of   func(*candidate) error
}

// checks are those that need nothing but the proof and the request, each once the
// one before has passed; what costs a verification comes when all that is cheap has
// passed.
func checks() [10]check {
	return [...]check{
		{"proof", (*candidate).read},
		{"typ", (*candidate).checkType},
		{"jwk", (*candidate).checkKey},
		{"htm", (*candidate).checkMethod},
		{"htu", (*candidate).checkTarget},
		{"iat", (*candidate).checkTime},
		{"jti", (*candidate).checkID},
		{"ath", (*candidate).checkToken},
		{"signature", (*candidate).checkSignature},
		{"jkt", (*candidate).checkThumbprint},
	}
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProof}, args...)...)
}

// read wants one field with one compact JWS (RFC 9449 §4.3, 1, 2 and 5). Several fields
// are joined with commas somewhere on the way, and no JWS has one.
func (c *candidate) read() error {
	switch {
	case c.Field == "":
		return wrong("there is none")
	case strings.Contains(c.Field, ","):
		return wrong("there is more than one")
	case len(c.Field) > maxProofBytes:
		return wrong("got %d bytes, want at most %d", len(c.Field), maxProofBytes)
	}
	var err error
	c.jws, err = strictjws.Parse(c.Field, strictjws.Options{Algorithms: c.proofs.algorithms, EmbeddedKey: true})
	if err != nil {
		return wrong("%w", err)
	}
	return nil
}

// checkType keeps every other kind of JWT that the client's key has signed from
// passing for a proof (RFC 9449 §4.3, 4).
func (c *candidate) checkType() error {
	if c.jws.Header.Type != proofType {
		return wrong("typ is not %s", proofType)
	}
	return nil
}

// checkKey wants a public key, as strong as an authorization server's, that fits the
// algorithm (RFC 9449 §4.3, 5 and 7; J-10).
func (c *candidate) checkKey() error {
	var err error
	if c.key, err = jwk.Parse(c.jws.Header.Key); err != nil {
		return wrong("jwk: %w", err)
	}
	if !c.key.Fits(c.jws.Header.Algorithm) {
		return wrong("alg does not fit jwk")
	}
	return nil
}

// text returns a claim that must be text.
func (c *candidate) text(name string) (string, error) {
	text, ok := c.jws.Claims.Get(name).Text()
	if !ok {
		return "", wrong("%s is missing or not a string", name)
	}
	return text, nil
}

// checkMethod: methods have a case (RFC 9449 §4.3, 8; RFC 9110 §9.1).
func (c *candidate) checkMethod() error {
	htm, err := c.text("htm")
	if err == nil && htm != c.Method {
		return wrong("htm is not the method of the request")
	}
	return err
}

// checkTarget compares htu with the request (RFC 9449 §4.3, 9), both taken apart: as
// text, the same place has many spellings.
func (c *candidate) checkTarget() error {
	htu, err := c.text("htu")
	if err != nil {
		return err
	}
	to, err := parseTarget(htu)
	if err != nil {
		return wrong("htu %w", err)
	}
	if err := c.checkOrigin(to.origin); err != nil {
		return err
	}
	if !samePath(to.path, pathOf(c.Path)) {
		return wrong("the path of htu is not that of the request")
	}
	return nil
}

func (c *candidate) checkOrigin(got origin) error {
	if len(c.proofs.origins) > 0 {
		if !c.proofs.origins[got] {
			return wrong("the origin of htu is none of the configured ones")
		}
		return nil
	}
	want, err := newOrigin(c.Scheme, c.Host)
	if err != nil {
		return wrong("the origin of the request: %w", err)
	}
	if got != want {
		return wrong("the origin of htu is not that of the request, %s", want)
	}
	return nil
}

// maxDate is the greatest number of seconds that is a date: beyond it, numbers are not
// exact (J-22).
const maxDate = 1 << 53

// checkTime wants iat to lie around now (RFC 9449 §4.3, 11, and §11.1).
func (c *candidate) checkTime() error {
	number, ok := c.jws.Claims.Get("iat").Number()
	if !ok {
		return wrong("iat is missing or not a number")
	}
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil || seconds < 0 || seconds > maxDate {
		return wrong("iat is no date")
	}
	whole, part := math.Modf(seconds)
	c.iat = time.Unix(int64(whole), int64(part*1e9))
	// The distance of two dates may not fit a Duration, which is good enough to be told,
	// and not to be compared.
	maxAge, ahead := c.proofs.maxAge, c.proofs.maxAge+c.ClockSkew
	switch {
	case c.iat.Before(c.now.Add(-maxAge)):
		return wrong("iat is %s old, want at most %s", c.now.Sub(c.iat).Round(time.Second), maxAge)
	case c.iat.After(c.now.Add(ahead)):
		return wrong("iat lies %s ahead, want at most %s", c.iat.Sub(c.now).Round(time.Second), ahead)
	}
	return nil
}

// checkID: jti is remembered, whatever it is, as its digest.
func (c *candidate) checkID() error {
	var err error
	if c.jti, err = c.text("jti"); err != nil {
		return err
	}
	if len(c.jti) < 1 || len(c.jti) > maxJTIBytes {
		return wrong("jti has %d bytes, want 1 to %d", len(c.jti), maxJTIBytes)
	}
	return nil
}

// checkToken: a proof goes with one token (RFC 9449 §4.3, 12).
func (c *candidate) checkToken() error {
	ath, err := c.text("ath")
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(c.Token))
	if !same(ath, base64.RawURLEncoding.EncodeToString(sum[:])) {
		return wrong("ath is not of the token that was sent")
	}
	return nil
}

// checkSignature verifies it by the key that came along (RFC 9449 §4.3, 6).
func (c *candidate) checkSignature() error {
	if err := c.jws.Verify(c.key.Public); err != nil {
		return wrong("%w", err)
	}
	return nil
}

// checkThumbprint: the proof is good; is it by whom the token was given to (RFC 9449
// §4.3, 12, and §6.1)?
func (c *candidate) checkThumbprint() error {
	if subtle.ConstantTimeCompare([]byte(c.key.Thumbprint), []byte(c.JKT)) != 1 {
		return fmt.Errorf("%w: the thumbprint of jwk is not jkt of the token", ErrKey)
	}
	return nil
}

// nonce wants one of ours (RFC 9449 §4.3, 10). It is looked at only where nonces are
// required: another may be an authorization server's, which clients mix up.
func (c *candidate) nonce() (next string, err error) {
	nonce, _ := c.jws.Claims.Get("nonce").Text()
	if nonce == "" {
		return "", fmt.Errorf("%w: there is none", ErrNonce)
	}
	ok, renew := c.proofs.nonces.accept(nonce)
	if !ok {
		return "", fmt.Errorf("%w: it is old, or not ours", ErrNonce)
	}
	if renew {
		return c.proofs.nonces.fresh(), nil
	}
	return "", nil
}

// claim has the proof remembered for as long as its iat could pass (RFC 9449 §11.1,
// P-10).
func (c *candidate) claim(ctx context.Context) error {
	r := Replay{
		Key: sha256.Sum256([]byte(c.key.Thumbprint)),
		// Thumbprints have one length, so that no two pairs are one text.
		Proof:  sha256.Sum256([]byte(c.key.Thumbprint + c.jti)),
		Issued: c.iat,
		Until:  c.iat.Add(c.proofs.maxAge + time.Nanosecond), // an age of max_age may pass
	}
	first, err := c.proofs.replays.Claim(ctx, r)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !first:
		return errReplayed
	}
	return nil
}
