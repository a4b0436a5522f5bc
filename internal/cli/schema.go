package cli

import (
	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/internal/config"
)

func (p program) schemaCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "schema", Short: "Print the JSON Schema of the configuration file", Args: cobra.NoArgs}
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := config.WriteSchema(p.stdout); err != nil {
			return failed(err)
		}
		return nil
	}
	return cmd
}
