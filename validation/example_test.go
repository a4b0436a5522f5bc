package validation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/validation"
)

// A Validator says what a genuine token says, or by one of the package's sentinels
// why it is none. What the token may do is not asked here.
func Example() {
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"}) // an authorization server
	if err != nil {
		panic(err)
	}
	defer stop()
	published, end := publishedBy(as.URL())
	defer end()

	issuer, err := validation.NewValidator(validation.Config{
		Issuer:                as.URL(),
		Strategy:              validation.StrategyBoth, // JWTs by key, everything else by asking
		ClientID:              "gate",
		ClientSecret:          "s3cret",
		ClientAuthMethod:      validation.AuthBasic,
		IntrospectionResponse: validation.ResponseJSON,
		Algorithms:            []string{"ES256"},
		AccessTokenType:       validation.TypeRFC9068,
		ClockSkew:             30 * time.Second,
		RequestTimeout:        2 * time.Second,
		InsecureHTTP:          true,
	}, validation.Options{Source: published, Client: client(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	defer issuer.Close()
	ctx := context.Background()

	alice := devissuer.Claims{"sub": "alice", "client_id": "app", "aud": "api", "scope": "read write"}
	token, err := issuer.Validate(ctx, as.JWT(alice))
	if err != nil {
		panic(err)
	}
	fmt.Println(token.Subject, token.Scopes, token.Audience, "by a key:", token.JWT)

	opaque := as.Opaque("", devissuer.Claims{"sub": "bob", "scope": "read"})
	if token, err = issuer.Validate(ctx, opaque); err != nil {
		panic(err)
	}
	fmt.Println(token.Subject, token.Scopes, token.Audience, "by a key:", token.JWT)

	alice["exp"] = time.Now().Add(-time.Hour).Unix()
	_, err = issuer.Validate(ctx, as.JWT(alice))
	fmt.Println("expired:", errors.Is(err, validation.ErrExpired))

	_, err = issuer.Validate(ctx, "made-up")
	fmt.Println("inactive:", errors.Is(err, validation.ErrInactive))

	stop() // an outage is never held against a token
	_, err = issuer.Validate(ctx, "another")
	fmt.Println("unavailable:", errors.Is(err, validation.ErrUnavailable))

	// Output:
	// alice [read write] [api] by a key: true
	// bob [read] [] by a key: false
	// expired: true
	// inactive: true
	// unavailable: true
}

// publishedBy returns what an authorization server publishes, once it has been
// fetched.
func publishedBy(issuer string) (_ *discovery.Issuer, end func()) {
	server, err := discovery.New(discovery.Config{
		Issuer: issuer, NeedKeys: true, NeedIntrospection: true, InsecureHTTP: true, RequestTimeout: 2 * time.Second,
		Intervals: discovery.Intervals{RefreshInterval: 5 * time.Minute, MinRefreshInterval: 15 * time.Second, MaxStale: 24 * time.Hour},
	}, discovery.Options{Client: client(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); server.Run(ctx) }()
	for server.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	return server, func() { cancel(); <-ended }
}

// client follows no redirect: nothing but the configuration says who is asked.
func client() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
