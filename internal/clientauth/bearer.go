package clientauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// bearer calls with an access token of its own, got by client credentials and kept
// until it expires or is refused.
type bearer struct {
	cfg    Config
	o      Options
	secret func() string

	mu    sync.Mutex
	token *oauth2.Token
}

func (a *bearer) Authenticate(ctx context.Context, header http.Header, _ url.Values) error {
	token, err := a.valid(ctx)
	if err != nil {
		return err
	}
	header.Set("Authorization", "Bearer "+token.AccessToken)
	return nil
}

func (a *bearer) valid(ctx context.Context) (*oauth2.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token.Valid() {
		return a.token, nil
	}
	endpoint, err := a.o.TokenEndpoint()
	if err != nil {
		return nil, err
	}
	credentials := clientcredentials.Config{
		ClientID: a.cfg.ClientID, ClientSecret: a.secret(), TokenURL: endpoint,
		Scopes: a.cfg.Scopes, AuthStyle: oauth2.AuthStyleInHeader,
	}
	token, err := credentials.Token(context.WithValue(ctx, oauth2.HTTPClient, a.o.Client))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) { // its text would quote the answer
		return nil, fmt.Errorf("token endpoint: got status %d, error %q", refused.Response.StatusCode, refused.ErrorCode)
	}
	a.token = token
	return token, err
}

// Rejected forgets the token: it may have been revoked.
func (a *bearer) Rejected() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = nil
}
