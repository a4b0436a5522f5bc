// Package clientauth authenticates us at an authorization server (RFC 6749 §2.3):
// by a secret, by an assertion that a private key signs, by a client certificate,
// or by an access token of our own. It is for every call that needs it, such as
// introspection, and knows nothing of what is called or answered.
package clientauth

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/livefile"
)

// The methods, as client_auth_method names them.
const (
	Basic         = "client_secret_basic"
	Post          = "client_secret_post"
	PrivateKeyJWT = "private_key_jwt"
	TLS           = "tls_client_auth"
	Bearer        = "bearer"
	None          = "none"
)

// Config is who we are at one authorization server, and how we prove it. It holds
// no secret that could be printed.
type Config struct {
	Method   string // one of the constants; the zero value is none of them
	ClientID string // may be empty with [None] only

	// Of [Basic], [Post] and [Bearer]: Secret is asked at each call, unless there is
	// a SecretFile.
	Secret     func() string
	SecretFile string // re-read when it changes; one trailing newline is cut off

	KeyFile  string // PEM, of [PrivateKeyJWT] and [TLS]; re-read when it changes
	KeyID    string // kid of the assertion of [PrivateKeyJWT]; empty: none
	CertFile string // PEM, of [TLS]; re-read when it changes
	Audience string // of the assertion: the issuer, which no other server is (RFC 7523 §3)

	Scopes []string // that [Bearer] asks for
}

// Options are what a Method works with.
type Options struct {
	Client        *http.Client           // of [Bearer]: asks for the token
	TokenEndpoint func() (string, error) // of [Bearer]: where; asked whenever a token is needed
	Log           *slog.Logger
	Now           func() time.Time // of [PrivateKeyJWT]; nil: time.Now
}

// Method authenticates calls. It is safe for concurrent use.
type Method interface {
	// Authenticate adds to the header and the form of one call. An error says that
	// the call cannot be made now; it quotes no secret and no answer.
	Authenticate(ctx context.Context, header http.Header, form url.Values) error
	// Rejected says that the server refused what Authenticate added.
	Rejected()
}

// New returns the method of c, and an error if it is not known or if a file that
// it needs cannot be used.
func New(c Config, o Options) (Method, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	switch c.Method {
	case Basic, Post, Bearer:
		secret, err := c.secret(o.Log)
		if err != nil {
			return nil, err
		}
		switch c.Method {
		case Basic:
			return basic{c.ClientID, secret}, nil
		case Post:
			return post{c.ClientID, secret}, nil
		}
		return &bearer{cfg: c, o: o, secret: secret}, nil
	case PrivateKeyJWT:
		key, err := livefile.Open(c.KeyFile, o.Log, parsePrivateKey)
		if err != nil {
			return nil, err
		}
		return assertion{c, key, o.Now}, nil
	case TLS, None:
		return named{c.ClientID}, nil // the certificate, if any, is the connection's
	}
	return nil, fmt.Errorf("client_auth_method %q is not known", c.Method)
}

// secret returns where the client secret is to be had at each call.
func (c Config) secret(log *slog.Logger) (func() string, error) {
	if c.SecretFile == "" {
		if c.Secret == nil {
			return nil, errors.New("no client secret")
		}
		return c.Secret, nil
	}
	file, err := livefile.Open(c.SecretFile, log, parseSecret)
	if err != nil {
		return nil, err
	}
	return file.Value, nil
}

// CheckSecret says whether a file of that content can be a SecretFile.
func CheckSecret(content []byte) error {
	_, err := parseSecret(content)
	return err
}

// parseSecret cuts one trailing newline off.
func parseSecret(content []byte) (string, error) {
	secret := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if secret == "" {
		return "", errors.New("the secret is empty")
	}
	return secret, nil
}

// Certificate returns where the certificate of [TLS] is to be had at each
// handshake; nil for every other method.
func Certificate(c Config, log *slog.Logger) (func() (*tls.Certificate, error), error) {
	if c.Method != TLS {
		return nil, nil
	}
	pair, err := livefile.OpenPair(c.CertFile, c.KeyFile, log)
	if err != nil {
		return nil, err
	}
	return func() (*tls.Certificate, error) { return pair.Current(), nil }, nil
}

// basic is client_secret_basic: both parts form-encoded before they are joined
// (RFC 6749 §2.3.1), or else a colon in the ID would move the border.
type basic struct {
	id     string
	secret func() string
}

func (a basic) Authenticate(_ context.Context, header http.Header, _ url.Values) error {
	credentials := url.QueryEscape(a.id) + ":" + url.QueryEscape(a.secret())
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	return nil
}

func (basic) Rejected() {}

// post is client_secret_post.
type post struct {
	id     string
	secret func() string
}

func (a post) Authenticate(_ context.Context, _ http.Header, form url.Values) error {
	form.Set("client_id", a.id)
	form.Set("client_secret", a.secret())
	return nil
}

func (post) Rejected() {}

// named names the client and proves nothing: none, or tls_client_auth (RFC 8705
// §2), where the connection does.
type named struct{ id string }

func (a named) Authenticate(_ context.Context, _ http.Header, form url.Values) error {
	if a.id != "" {
		form.Set("client_id", a.id)
	}
	return nil
}

func (named) Rejected() {}
