// Package cli holds the commands of bearergate, one file each: what their flags
// mean, what they print, and the status that they end with. What they do is done
// by the rooms. It decides nothing about tokens or requests.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// The exit statuses. Scripts rely on them.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitDenied  = 3 // of explain
)

// Build says which sources a binary was made of.
type Build struct{ Version, Commit string }

// failure is an error of a command that was called rightly.
type failure struct{ error }

// failed makes the status of a command that was called rightly of its error.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}

// The verdicts of explain and test, which the commands have told already.
var (
	errDenied      = errors.New("denied")
	errTestsFailed = errors.New("policy tests failed")
)

// Run executes the command that args name, and returns its exit status. When ctx
// ends, serve and demo drain, and end.
func Run(ctx context.Context, build Build, args []string, stdout, stderr io.Writer) int {
	root := program{build: build, stdout: stdout, stderr: stderr}.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDenied):
		return exitDenied
	case errors.Is(err, errTestsFailed):
		return exitFailure
	}
	fmt.Fprintln(stderr, err)
	if errors.As(err, new(failure)) {
		return exitFailure
	}
	return exitUsage
}

// program is what every command has: what it is, and where it writes.
type program struct {
	build          Build
	stdout, stderr io.Writer
}

func (p program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "bearergate",
		Short:         "Envoy external authorization by OAuth 2.0 access tokens",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.AddCommand(
		p.serveCommand(),
		p.validateCommand(),
		p.explainCommand(),
		p.testCommand(),
		p.demoCommand(),
		p.lintCommand(),
		p.schemaCommand(),
		p.revokeCommand(),
		p.healthCommand(),
		p.versionCommand(),
	)
	return root
}

// configFlag adds --config; its default is $BEARERGATE_CONFIG, else bearergate.yaml.
func configFlag(cmd *cobra.Command) *string {
	path := os.Getenv("BEARERGATE_CONFIG")
	if path == "" {
		path = "bearergate.yaml"
	}
	return cmd.Flags().String("config", path, "configuration file (.yaml, .yml, .toml or .json)")
}
