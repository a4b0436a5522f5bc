package validation

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/bearergate/bearergate/internal/livefile"
)

const (
	assertionType     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" //nolint:gosec // RFC 7523 §2.2, no secret
	assertionLifetime = time.Minute
)

// clientAuth is how we authenticate to the introspection endpoint (I-02).
type clientAuth interface {
	// authenticate adds to the header and the form of one call.
	authenticate(ctx context.Context, header http.Header, form url.Values) error
	// rejected says that the endpoint refused what authenticate added.
	rejected()
}

func newClientAuth(cfg Config, o Options) (clientAuth, error) {
	switch cfg.ClientAuthMethod {
	case AuthBasic, AuthPost, AuthBearer:
		secret, err := cfg.secret(o.Log)
		if err != nil {
			return nil, err
		}
		switch cfg.ClientAuthMethod {
		case AuthBasic:
			return basicAuth{cfg.ClientID, secret}, nil
		case AuthPost:
			return postAuth{cfg.ClientID, secret}, nil
		}
		return &bearerAuth{cfg: cfg, secret: secret, source: o.Source, client: o.Client}, nil
	case AuthPrivateKeyJWT:
		key, err := livefile.Open(cfg.ClientKeyFile, o.Log, parsePrivateKey)
		if err != nil {
			return nil, err
		}
		return assertionAuth{cfg, key, o.Now}, nil
	case AuthTLS, AuthNone:
		return idAuth{cfg.ClientID}, nil // the certificate, if any, is the connection's
	}
	return nil, fmt.Errorf("client_auth_method %q is not known", cfg.ClientAuthMethod)
}

// secret returns where the client secret is to be had at each call.
func (c Config) secret(log *slog.Logger) (func() string, error) {
	if c.ClientSecretFile == "" {
		return c.ClientSecret.Reveal, nil
	}
	file, err := livefile.Open(c.ClientSecretFile, log, parseSecret)
	if err != nil {
		return nil, err
	}
	return file.Value, nil
}

// parseSecret cuts one trailing newline off.
func parseSecret(content []byte) (string, error) {
	secret := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if secret == "" {
		return "", errors.New("the secret is empty")
	}
	return secret, nil
}

// basicAuth is client_secret_basic: both parts form-encoded before they are
// joined (RFC 6749 §2.3.1).
type basicAuth struct {
	id     string
	secret func() string
}

func (a basicAuth) authenticate(_ context.Context, header http.Header, _ url.Values) error {
	credentials := url.QueryEscape(a.id) + ":" + url.QueryEscape(a.secret())
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	return nil
}

func (basicAuth) rejected() {}

// postAuth is client_secret_post.
type postAuth struct {
	id     string
	secret func() string
}

func (a postAuth) authenticate(_ context.Context, _ http.Header, form url.Values) error {
	form.Set("client_id", a.id)
	form.Set("client_secret", a.secret())
	return nil
}

func (postAuth) rejected() {}

// idAuth names the client and proves nothing: none, or tls_client_auth
// (RFC 8705 §2), where the connection does.
type idAuth struct{ id string }

func (a idAuth) authenticate(_ context.Context, _ http.Header, form url.Values) error {
	if a.id != "" {
		form.Set("client_id", a.id)
	}
	return nil
}

func (idAuth) rejected() {}

// assertionAuth is private_key_jwt (RFC 7523 §2.2). Its audience is the issuer,
// which no other server is.
type assertionAuth struct {
	cfg Config
	key *livefile.File[privateKey]
	now func() time.Time
}

func (a assertionAuth) authenticate(_ context.Context, _ http.Header, form url.Values) error {
	key := a.key.Value()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if a.cfg.ClientKeyID != "" {
		options = options.WithHeader("kid", a.cfg.ClientKeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.algorithm, Key: key.Signer}, options)
	if err != nil {
		return err
	}
	now := a.now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: a.cfg.ClientID, Subject: a.cfg.ClientID, Audience: jwt.Audience{a.cfg.Issuer}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLifetime)),
	}).Serialize()
	if err != nil {
		return err
	}
	form.Set("client_id", a.cfg.ClientID)
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", assertion)
	return nil
}

func (assertionAuth) rejected() {}

// bearerAuth calls with an access token of its own, got by client credentials
// and kept until it expires or is refused.
type bearerAuth struct {
	cfg    Config
	secret func() string
	source Source
	client *http.Client

	mu    sync.Mutex
	token *oauth2.Token
}

func (a *bearerAuth) authenticate(ctx context.Context, header http.Header, _ url.Values) error {
	token, err := a.valid(ctx)
	if err != nil {
		return err
	}
	header.Set("Authorization", "Bearer "+token.AccessToken)
	return nil
}

func (a *bearerAuth) valid(ctx context.Context) (*oauth2.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token.Valid() {
		return a.token, nil
	}
	metadata, err := a.source.Metadata()
	if err != nil {
		return nil, err
	}
	credentials := clientcredentials.Config{
		ClientID: a.cfg.ClientID, ClientSecret: a.secret(), TokenURL: metadata.TokenEndpoint,
		Scopes: a.cfg.ClientScopes, AuthStyle: oauth2.AuthStyleInHeader,
	}
	token, err := credentials.Token(context.WithValue(ctx, oauth2.HTTPClient, a.client))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) { // its text would quote the answer
		return nil, fmt.Errorf("token endpoint: got status %d, error %q", refused.Response.StatusCode, refused.ErrorCode)
	}
	a.token = token
	return token, err
}

// rejected forgets the token: it may have been revoked.
func (a *bearerAuth) rejected() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = nil
}

// ClientCertificate returns where the certificate of tls_client_auth is to be
// had at each handshake; nil for every other method.
func ClientCertificate(cfg Config, log *slog.Logger) (func() (*tls.Certificate, error), error) {
	if !cfg.Strategy.introspects() || cfg.ClientAuthMethod != AuthTLS {
		return nil, nil
	}
	pair, err := livefile.OpenPair(cfg.ClientCertFile, cfg.ClientKeyFile, log)
	if err != nil {
		return nil, err
	}
	return func() (*tls.Certificate, error) { return pair.Current(), nil }, nil
}
