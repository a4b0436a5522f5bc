package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/validation"
)

// known is an authorization server whose token endpoint is configured.
type known struct{ published }

func (k known) Metadata() (discovery.Metadata, error) {
	return discovery.Metadata{TokenEndpoint: k.endpoint}, nil
}

// An Exchanger gets a token for an upstream in place of the client's, once, and says
// whose fault it is where there is none.
func ExampleExchanger_Token() {
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"}) // an authorization server
	if err != nil {
		panic(err)
	}
	defer stop()
	as.Targets("orders-internal")

	cfg := config()
	cfg.Issuer = as.URL()
	e, err := exchange.New(cfg, validation.Options{
		Source: known{published{endpoint: as.URL() + devissuer.PathToken}},
		Client: http.DefaultClient, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	defer e.Close()

	token := as.JWT(devissuer.Claims{"sub": "alice", "aud": "orders-api", "scope": "orders:read"})
	orders := exchange.NewTarget(exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"orders-internal"}})
	for range 2 {
		own, err := e.Token(context.Background(), orders, token, time.Now().Add(time.Minute))
		said := as.State(own.Bare())
		fmt.Println(said["sub"], said["aud"], err, "calls:", as.Calls(devissuer.PathToken))
	}
	bank := exchange.NewTarget(exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"bank"}})
	_, err = e.Token(context.Background(), bank, token, time.Time{})
	fmt.Println(errors.Is(err, exchange.ErrRefused), err)

	// Output:
	// alice orders-internal <nil> calls: 1
	// alice orders-internal <nil> calls: 1
	// true the authorization server gives no token for the upstream: it answered invalid_target
}
