package revocation

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/strictjws"
)

// The codes of RFC 8935 §2.4.
const (
	codeRequest        = "invalid_request"
	codeKey            = "invalid_key"
	codeIssuer         = "invalid_issuer"
	codeAudience       = "invalid_audience"
	codeAuthentication = "authentication_failed"
	codeDenied         = "access_denied"
)

// refusal is what is wrong with what was sent. Its text is fixed: nothing of what came
// is in it.
type refusal struct {
	code, description string

	// signed: it comes from whom it says it comes from, so that somebody has to look
	// after it. The others anybody could send.
	signed bool
}

func (r *refusal) Error() string { return r.code + ": " + r.description }

func refused(code, description string) error { return &refusal{code: code, description: description} }

// errNoKeys says that nobody can tell whether what was sent is genuine: it is to be
// sent again.
var errNoKeys = errors.New("cannot verify signatures now")

// parse reads a JWS that nothing is known of yet.
func parse(raw string, algorithms []string) (*strictjws.JWS, error) {
	jws, err := strictjws.Parse(raw, strictjws.Options{Algorithms: algorithms})
	switch {
	case errors.Is(err, strictjws.ErrAlgorithm):
		return nil, refused(codeKey, "its algorithm is not one that is accepted")
	case err != nil:
		return nil, refused(codeRequest, "not a signed JWT")
	}
	return jws, nil
}

// verify holds a JWS to a key of its issuer.
func verify(ctx context.Context, jws *strictjws.JWS, keys Keys) error {
	if keys == nil {
		return errNoKeys
	}
	key, err := keys.Key(ctx, jws.Header.KeyID, jws.Header.Algorithm)
	switch {
	case errors.Is(err, discovery.ErrUnknownKey):
		return refused(codeKey, "the issuer publishes no such key")
	case err != nil:
		return errors.Join(errNoKeys, err)
	}
	if jws.Verify(key.Public) != nil {
		return refused(codeKey, "bad signature")
	}
	return nil
}

// unverifiedIssuer returns iss of a JWT of which nothing else is known: it chooses
// whose keys count, and nothing more.
func unverifiedIssuer(raw string) (string, error) {
	claims, err := strictjws.UnverifiedClaims(raw)
	if err != nil {
		return "", refused(codeRequest, "not a signed JWT")
	}
	issuer, ok := claims.Get("iss").Text()
	if !ok {
		return "", refused(codeIssuer, "iss is not a text")
	}
	return issuer, nil
}

// text returns a member that must be a text with something in it.
func text(o strictjws.Object, name string) (string, error) {
	value, ok := o.Get(name).Text()
	if !ok || value == "" {
		return "", refused(codeRequest, name+" is missing, empty or not a text")
	}
	return value, nil
}

// object returns the members of a value that must be an object. It was found well
// formed with what it is a part of.
func object(name string, value strictjws.Value) (strictjws.Object, error) {
	if value == "" || value[0] != '{' {
		return strictjws.Object{}, refused(codeRequest, name+" is missing or not an object")
	}
	o, err := strictjws.ParseObject([]byte(value))
	if err != nil {
		return strictjws.Object{}, refused(codeRequest, name+" is not a strict JSON object")
	}
	return o, nil
}

// maxNumericDate bounds dates to the numbers that a double holds exactly, as those of
// tokens are (J-22).
const maxNumericDate = 1 << 53

// date returns a member that must be a NumericDate, of seconds and parts of them (RFC
// 7519 §2).
func date(o strictjws.Object, name string) (time.Time, error) {
	digits, ok := o.Get(name).Number()
	if !ok {
		return time.Time{}, refused(codeRequest, name+" is missing or not a number")
	}
	seconds, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.Abs(seconds) > maxNumericDate {
		return time.Time{}, refused(codeRequest, name+" is not a date")
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

// checkAudience wants aud to be a text or a list of texts with ours among them.
func checkAudience(o strictjws.Object, want string) error {
	value := o.Get("aud")
	if one, ok := value.Text(); ok {
		if one == want {
			return nil
		}
		return refused(codeAudience, "meant for somebody else")
	}
	var all []string
	if jsontext.Value(value).Kind() != '[' || json.Unmarshal([]byte(value), &all) != nil {
		return refused(codeAudience, "aud is neither a text nor a list of texts")
	}
	for _, one := range all {
		if one == want {
			return nil
		}
	}
	return refused(codeAudience, "meant for somebody else")
}
