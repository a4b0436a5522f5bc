package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
)

// An Issuer fetches metadata and keys by itself and keeps them fresh. Key IDs that
// it does not know have it look again, so that a key which was published a moment
// ago verifies at once.
func Example() {
	as, stop, err := devissuer.Start(nil) // an authorization server to ask
	if err != nil {
		panic(err)
	}
	defer stop()

	server, err := discovery.New(discovery.Config{
		Issuer:         as.URL(),
		NeedKeys:       true,
		InsecureHTTP:   true, // for this one, which listens on loopback
		RequestTimeout: 2 * time.Second,
		Intervals: discovery.Intervals{
			RefreshInterval: 5 * time.Minute, MinRefreshInterval: 15 * time.Second, MaxStale: 24 * time.Hour,
		},
	}, discovery.Options{Client: client(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); server.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for server.Ready() != nil {
		time.Sleep(time.Millisecond)
	}

	metadata, err := server.Metadata()
	fmt.Println("jwks_uri is below the issuer:", metadata.JWKSURI == as.URL()+"/jwks", err)

	key, err := server.Key(ctx, as.Key().KeyID, "ES256")
	fmt.Printf("%s %T %v\n", key.Algorithm, key.Public, err)

	as.Rotate(0)
	_, err = server.Key(ctx, as.Key().KeyID, "ES256")
	fmt.Println("the new key:", err)

	_, err = server.Key(ctx, key.ID, "ES256")
	fmt.Println("the old key is unknown:", errors.Is(err, discovery.ErrUnknownKey))

	// Output:
	// jwks_uri is below the issuer: true <nil>
	// ES256 *ecdsa.PublicKey <nil>
	// the new key: <nil>
	// the old key is unknown: true
}

// client follows no redirect: nothing but the configuration says who is asked.
func client() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
