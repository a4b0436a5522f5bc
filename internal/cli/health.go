package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/bearergate/bearergate/internal/livefile"
)

func (p program) healthCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "health", Short: "Ask the gRPC health service", Args: cobra.NoArgs}
	address := cmd.Flags().String("address", "127.0.0.1:9191", "gRPC address, host:port or unix:///path")
	var t healthTLS
	cmd.Flags().StringVar(&t.ca, "tls-ca", "", "ask over TLS, and trust the certificates in this file")
	cmd.Flags().StringVar(&t.name, "tls-name", "", "name in the server's certificate, if not the host of the address")
	cmd.Flags().StringVar(&t.cert, "tls-cert", "", "client certificate, where the server wants one")
	cmd.Flags().StringVar(&t.key, "tls-key", "", "its private key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return failed(health(cmd.Context(), *address, t))
	}
	return cmd
}

// healthTLS names the files for asking over TLS; an empty ca asks without.
type healthTLS struct{ ca, name, cert, key string }

func (t healthTLS) credentials() (credentials.TransportCredentials, error) {
	if t.ca == "" {
		return insecure.NewCredentials(), nil
	}
	content, err := os.ReadFile(t.ca)
	if err != nil {
		return nil, err
	}
	anchors, err := livefile.ParseAnchors(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.ca, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.name, RootCAs: anchors}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

// health returns nil when the service at address says SERVING.
func health(ctx context.Context, address string, t healthTLS) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	creds, err := t.credentials()
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if answer.Status != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("health of %s: got %s, want SERVING", address, answer.Status)
	}
	return nil
}
