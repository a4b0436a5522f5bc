package envoy_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/validation"
)

// A GRPC server answers what Envoy asks, by the policy in use. Without one it
// denies; a policy can be changed at any time, between two requests.
func Example() {
	as, stop, err := devissuer.Start(nil) // an authorization server
	if err != nil {
		panic(err)
	}
	defer stop()
	policy, end := policyOf(as.URL())
	defer end()

	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	cfg := envoy.Config{GRPCAddress: "127.0.0.1:0", ShutdownTimeout: time.Second}
	checks := envoy.NewServer(envoy.Observer{}, quiet)
	server, err := envoy.NewGRPC(cfg, checks, func() error { return nil }, quiet)
	if err != nil {
		panic(err)
	}
	lis, err := envoy.Listen(cfg)
	if err != nil {
		panic(err)
	}
	go func() { _ = server.Serve(lis) }()
	defer func() { _ = server.Drain(ctx, func() {}) }()

	token := as.JWT(devissuer.Claims{"sub": "alice", "aud": "api"})
	gateway, hangUp := dial(lis.Addr())
	defer hangUp()

	fmt.Println("no policy:", ask(ctx, gateway, token))
	checks.Use(policy)
	fmt.Println("a token:", ask(ctx, gateway, token))
	fmt.Println("junk:", ask(ctx, gateway, "junk"))

	// Output:
	// no policy: ServiceUnavailable, unavailable
	// a token: passes with x-auth-sub: alice
	// junk: Unauthorized, malformed_token
}

// dial connects to the server as Envoy does.
func dial(address net.Addr) (_ authv3.AuthorizationClient, hangUp func()) {
	conn, err := grpc.NewClient(address.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	return authv3.NewAuthorizationClient(conn), func() { _ = conn.Close() }
}

// ask sends the Check of one request and says what comes of it.
func ask(ctx context.Context, gateway authv3.AuthorizationClient, token string) string {
	response, err := gateway.Check(ctx, &authv3.CheckRequest{
		Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{
				Method: "GET", Host: "api.example.com", Path: "/orders/1",
				Headers: map[string]string{"authorization": "Bearer " + token},
			},
		}},
	})
	if err != nil {
		panic(err)
	}
	if ok := response.GetOkResponse(); ok != nil {
		set := ok.GetHeaders()[0].GetHeader()
		return fmt.Sprintf("passes with %s: %s", set.GetKey(), set.GetValue())
	}
	return fmt.Sprintf("%s, %s", response.GetDeniedResponse().GetStatus().GetCode(), response.GetStatus().GetMessage())
}

// policyOf lets every request with a token of one authorization server pass.
func policyOf(issuer string) (_ *authz.Policy, end func()) {
	options := discovery.Options{Client: client(), Log: slog.New(slog.DiscardHandler)}
	published, err := discovery.New(discovery.Config{
		Issuer: issuer, NeedKeys: true, InsecureHTTP: true, RequestTimeout: 2 * time.Second,
		Intervals: discovery.Intervals{RefreshInterval: 5 * time.Minute, MinRefreshInterval: 15 * time.Second, MaxStale: 24 * time.Hour},
	}, options)
	if err != nil {
		panic(err)
	}
	tokens, err := validation.NewValidator(validation.Config{
		Issuer: issuer, Strategy: validation.StrategyJWT, Algorithms: []string{"ES256"},
		AccessTokenType: validation.TypeCompatible, RequestTimeout: 2 * time.Second,
	}, validation.Options{Source: published, Client: options.Client, Log: options.Log})
	if err != nil {
		panic(err)
	}
	set, err := validation.NewSet(tokens)
	if err != nil {
		panic(err)
	}
	policy, err := authz.New(authz.Config{
		Realm: "example", DefaultAccess: "token", Headers: map[string]string{"x-auth-sub": "sub"},
		Issuers: []authz.IssuerConfig{{Issuer: issuer, Audience: []string{"api"}}},
	}, set)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); published.Run(ctx) }()
	for published.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	return policy, func() { cancel(); <-ended; tokens.Close() }
}

// client follows no redirect: nothing but the configuration says who is asked.
func client() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
