package cli

import (
	"context"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/internal/demo"
)

func (p program) demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run Bearergate behind a real Envoy, with everything it needs",
		Args:  cobra.NoArgs,
	}
	check := cmd.Flags().Bool("check", false, "send the requests instead of printing them, and end")
	shared := cmd.Flags().Bool("shared", false, "run two replicas that share a Redis or Valkey, which is started")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// A terminal that is closed ends the demo with all its parts.
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
		defer stop()
		return failed(demo.Run(ctx, demo.Options{
			Envoy: envoyBinary(), Check: *check, Out: p.stdout, Shared: *shared, Store: storeBinary(),
			Serve: func(ctx context.Context, file string, grpc, admin net.Listener) error {
				return p.serve(ctx, file, nil, listeners{grpc: grpc, admin: admin})
			},
		}))
	}
	return cmd
}

// envoyBinary returns $ENVOY, else what is on PATH. None is no failure: the demo
// says so, and shows what it would do.
func envoyBinary() string {
	if binary := os.Getenv("ENVOY"); binary != "" {
		return binary
	}
	binary, _ := exec.LookPath("envoy")
	return binary
}

// storeBinary returns $REDIS, else what is on PATH.
func storeBinary() string {
	if binary := os.Getenv("REDIS"); binary != "" {
		return binary
	}
	for _, name := range []string{"valkey-server", "redis-server"} {
		if binary, err := exec.LookPath(name); err == nil {
			return binary
		}
	}
	return ""
}
