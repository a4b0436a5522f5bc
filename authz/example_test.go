package authz_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/validation"
)

// A Policy decides one request at a time: by the first rule that matches, the
// token, and what both demand of each other.
func Example() {
	as, stop, err := devissuer.Start(nil) // an authorization server
	if err != nil {
		panic(err)
	}
	defer stop()
	tokens, end := tokensOf(as.URL())
	defer end()

	policy, err := authz.New(authz.Config{
		Realm:         "orders",
		Issuers:       []authz.IssuerConfig{{Issuer: as.URL(), Audience: []string{"orders-api"}}},
		Headers:       map[string]string{"x-auth-sub": "sub"},
		DefaultAccess: "token",
		Rules: []authz.Rule{
			{Name: "health", Match: &authz.Match{Paths: []string{"/healthz"}}, Access: "public"},
			{
				Name:   "write",
				Match:  &authz.Match{Paths: []string{"/orders/**"}, Methods: []string{"POST"}},
				Scopes: []string{"orders:write"},
			},
		},
	}, tokens)
	if err != nil {
		panic(err)
	}

	token := as.JWT(devissuer.Claims{"sub": "alice", "aud": "orders-api", "scope": "orders:read"})
	for _, r := range []authz.Request{
		{Method: "GET", Host: "api.example.com", Path: "/healthz"},
		{Method: "GET", Host: "api.example.com", Path: "/orders/1"},
		{Method: "GET", Host: "api.example.com", Path: "/orders/1", Authorization: []string{"Bearer " + token}},
		{Method: "POST", Host: "api.example.com", Path: "/orders/1", Authorization: []string{"Bearer " + token}},
	} {
		d := policy.Decide(context.Background(), &r)
		fmt.Println(r.Method, r.Path, d.Reason, d.Reason.Status(), d.Set)
		for _, challenge := range d.Challenges {
			fmt.Println("  " + strings.ReplaceAll(challenge, ", ", ",\n    "))
		}
	}

	// Output:
	// GET /healthz public 200 []
	// GET /orders/1 no_token 401 []
	//   Bearer realm="orders"
	// GET /orders/1 allowed 200 [{x-auth-sub alice}]
	// POST /orders/1 insufficient_scope 403 []
	//   Bearer realm="orders",
	//     error="insufficient_scope",
	//     error_description="The access token lacks a scope that is needed",
	//     scope="orders:write"
}

// tokensOf validates the JWTs of one authorization server.
func tokensOf(issuer string) (_ *validation.Set, end func()) {
	options := discovery.Options{Client: client(), Log: slog.New(slog.DiscardHandler)}
	server, err := discovery.New(discovery.Config{
		Issuer: issuer, NeedKeys: true, InsecureHTTP: true, RequestTimeout: 2 * time.Second,
		Intervals: discovery.Intervals{RefreshInterval: 5 * time.Minute, MinRefreshInterval: 15 * time.Second, MaxStale: 24 * time.Hour},
	}, options)
	if err != nil {
		panic(err)
	}
	one, err := validation.NewValidator(validation.Config{
		Issuer: issuer, Strategy: validation.StrategyJWT, Algorithms: []string{"ES256"},
		AccessTokenType: validation.TypeCompatible, RequestTimeout: 2 * time.Second,
	}, validation.Options{Source: server, Client: options.Client, Log: options.Log})
	if err != nil {
		panic(err)
	}
	set, err := validation.NewSet(one)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); server.Run(ctx) }()
	for server.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	return set, func() { cancel(); <-ended; one.Close() }
}

// client follows no redirect: nothing but the configuration says who is asked.
func client() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
