// Command zitadel runs the example server of github.com/zitadel/oidc on
// 127.0.0.1. The example's clients all get opaque access tokens; here one gets
// JWTs, and a resource server may introspect the tokens of the others.
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const callback = "https://app.example.com/callback"

// store is the example's, but for what is said above.
type store struct{ *storage.Storage }

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (s store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := s.Storage.GetClientByClientID(ctx, id)
	if err == nil && id == "web-jwt" {
		return jwtClient{client}, nil
	}
	return client, err
}

// SetIntrospectionFromToken asks in the name of each client: the example says
// "inactive" to everybody but the client that the token was issued to.
func (s store) SetIntrospectionFromToken(
	ctx context.Context, answer *oidc.IntrospectionResponse, id, subject, _ string,
) error {
	var errs []error
	for _, client := range []string{"web", "web-jwt"} {
		err := s.Storage.SetIntrospectionFromToken(ctx, answer, id, subject, client)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func main() {
	address := "127.0.0.1:" + os.Args[1]
	issuer := "http://" + address
	storage.RegisterClients(
		storage.WebClient("web", "secret", callback),
		storage.WebClient("web-jwt", "secret", callback),
		storage.WebClient("bearergate", "secret"),
	)
	s := store{storage.NewStorage(storage.NewUserStore(issuer))}
	handler := exampleop.SetupServer(issuer, s, slog.New(slog.DiscardHandler), false)
	log.Fatal(http.ListenAndServe(address, handler))
}
