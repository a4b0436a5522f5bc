package cli

import (
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/internal/policytest"
)

// outputJUnit is a value of --output besides those of explain.
const outputJUnit = "junit"

func (p program) testCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test FILE...", Short: "Run policy tests against the rules, without a network", Args: cobra.MinimumNArgs(1),
	}
	path := configFlag(cmd)
	flags := cmd.Flags()
	run := flags.String("run", "", "only cases whose name this regular expression fits")
	output := flags.String("output", outputText, "text, json or junit")
	coverage := flags.Bool("require-coverage", false, "fail when a rule is reached by no case")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		format, err := p.testFormat(*output)
		if err != nil {
			return err
		}
		o := policytest.Options{Config: *path, Files: files, Lookup: os.LookupEnv}
		if *run != "" {
			if *coverage {
				return fmt.Errorf("--require-coverage: not together with --run, which leaves cases out")
			}
			if o.Match, err = regexp.Compile(*run); err != nil {
				return fmt.Errorf("--run: %w", err)
			}
		}
		report, err := policytest.Run(cmd.Context(), o)
		if err != nil {
			return failed(err)
		}
		if *coverage {
			report.RequireCoverage()
		}
		if err := report.Write(p.stdout, format); err != nil {
			return failed(err)
		}
		if !report.Passed {
			return errTestsFailed
		}
		return nil
	}
	return cmd
}

func (p program) testFormat(output string) (policytest.Format, error) {
	switch output {
	case outputText:
		if colorful(p.stdout, os.LookupEnv) {
			return policytest.Color, nil
		}
		return policytest.Text, nil
	case outputJSON:
		return policytest.JSON, nil
	case outputJUnit:
		return policytest.JUnit, nil
	}
	return 0, fmt.Errorf("--output: got %q, want %s, %s or %s", output, outputText, outputJSON, outputJUnit)
}

// colorful says whether out is a terminal whose reader has not asked for plain text
// (no-color.org).
func colorful(out io.Writer, lookup func(string) (string, bool)) bool {
	if no, ok := lookup("NO_COLOR"); ok && no != "" {
		return false
	}
	if kind, ok := lookup("TERM"); ok && kind == "dumb" {
		return false
	}
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
