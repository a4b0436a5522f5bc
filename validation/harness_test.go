package validation_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/validation"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// against returns an introspecting issuer in front of any server.
func against(t *testing.T, url string, change func(*validation.Config)) *validation.Validator {
	t.Helper()
	cfg := validation.Config{
		Issuer: url, Strategy: validation.StrategyIntrospection, ClientID: "gate", ClientAuthMethod: validation.AuthNone,
		IntrospectionResponse: validation.ResponseJSON, Algorithms: []string{"ES256"},
		AccessTokenType: validation.TypeCompatible, RequestTimeout: 2 * time.Second, InsecureHTTP: true,
	}
	change(&cfg)
	log := slog.New(slog.DiscardHandler)
	certificate, err := validation.ClientCertificate(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	client, err := safehttp.New(safehttp.Options{
		Timeout: cfg.RequestTimeout, InsecureHTTP: true, CAFile: cfg.CAFile, ClientCertificate: certificate, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := discovery.New(discovery.Config{
		Issuer: url, NeedIntrospection: true, InsecureHTTP: true, RequestTimeout: time.Second,
		Intervals: discovery.Intervals{RefreshInterval: time.Hour, MinRefreshInterval: time.Minute, MaxStale: time.Hour},
	}, discovery.Options{Client: client, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); server.Run(ctx) }()
	issuer, err := validation.NewValidator(cfg, validation.Options{Source: server, Client: client, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-done; issuer.Close(); client.CloseIdleConnections() })
	for deadline := time.Now().Add(10 * time.Second); server.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(server.Ready())
		}
	}
	return issuer
}
