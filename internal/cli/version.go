package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (p program) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print version, commit and Go version", Args: cobra.NoArgs}
	cmd.Run = func(*cobra.Command, []string) {
		fmt.Fprintf(p.stdout, "bearergate %s (commit %s, %s)\n", p.build.Version, p.build.Commit, runtime.Version())
	}
	return cmd
}
