// Command bearergate is an Envoy external-authorization service that decides
// by OAuth 2.0 access tokens. Its commands are in internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/bearergate/bearergate/internal/cli"
)

// Which sources the binary was made of. The linker sets both for a release; who
// builds it otherwise gets what stands here.
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	status := cli.Run(ctx, cli.Build{Version: version, Commit: commit}, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
