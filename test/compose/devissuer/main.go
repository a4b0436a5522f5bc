// Command devissuer runs the development authorization server as a container:
// over TLS for those who verify tokens, over plain HTTP for whoever wants one
// by curl. It must never serve anything that matters.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

const (
	secureAddress = ":8443"
	plainAddress  = ":8080"
	usage         = "usage: devissuer certificates|serve|health"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "devissuer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New(usage)
	}
	switch args[0] {
	case "certificates":
		return certificates(os.Getenv("TLS_DIR"), os.Getenv("TLS_HOST"))
	case "serve":
		return serve(ctx, os.Getenv("TLS_DIR"))
	case "health":
		return health(ctx)
	default:
		return errors.New(usage)
	}
}

// serve answers until ctx ends or a listener fails.
func serve(ctx context.Context, dir string) error {
	handler := devissuer.New(os.Getenv("ISSUER"), map[string]string{
		"bearergate": os.Getenv("OAUTH_CLIENT_SECRET"),
		"demo":       os.Getenv("DEMO_CLIENT_SECRET"),
	})
	secure := &http.Server{Addr: secureAddress, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	plain := &http.Server{Addr: plainAddress, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 2)
	go func() {
		failed <- secure.ListenAndServeTLS(filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile))
	}()
	go func() { failed <- plain.ListenAndServe() }()
	select {
	case err := <-failed:
		return errors.Join(err, secure.Close(), plain.Close())
	case <-ctx.Done():
		return errors.Join(secure.Close(), plain.Close())
	}
}

// health returns nil when the server in this container answers.
func health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+plainAddress+devissuer.PathJWKS, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status: got %d, want 200", resp.StatusCode)
	}
	return nil
}
