package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/validation"
)

const (
	exitDenied = 3 // of explain

	// onlineWait is how long explain and validate --online wait for the
	// authorization servers to be ready.
	onlineWait = 10 * time.Second
)

// errDenied is the verdict of explain, which is no failure.
var errDenied = errors.New("denied")

func explainCommand(stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "explain", Short: "Walk one request through the code that serve runs", Args: cobra.NoArgs}
	path := configFlag(cmd)
	flags := cmd.Flags()
	file := flags.String("token-file", "", "file with the access token; - is standard input; empty: no token")
	output := flags.String("output", "text", "text or json")
	var r explain.Request
	flags.StringVar(&r.Method, "method", "GET", "request method")
	flags.StringVar(&r.Host, "host", "localhost", "request host")
	flags.StringVar(&r.Path, "path", "/", "request path, with query")
	flags.StringVar(&r.Rule, "rule", "", "use the rule of this name instead of matching")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *output != "text" && *output != "json" {
			return fmt.Errorf("--output: got %q, want text or json", *output)
		}
		var err error
		if r.Token, err = readToken(*file, cmd.InOrStdin()); err != nil {
			return failure{err}
		}
		walk, err := explainRequest(cmd.Context(), *path, r)
		if err != nil {
			return failure{err}
		}
		show := walk.Text
		if *output == "json" {
			show = walk.JSON
		}
		if err := show(stdout); err != nil {
			return failure{err}
		}
		if !walk.Allowed {
			return errDenied
		}
		return nil
	}
	return cmd
}

// readToken reads a token, without the newline that editors add.
func readToken(file string, stdin io.Reader) (string, error) {
	switch file {
	case "":
		return "", nil
	case "-":
		content, err := io.ReadAll(io.LimitReader(stdin, 2*validation.MaxTokenBytes))
		return strings.TrimSpace(string(content)), err
	}
	content, err := os.ReadFile(file)
	return strings.TrimSpace(string(content)), err
}

func explainRequest(ctx context.Context, path string, r explain.Request) (*explain.Walk, error) {
	cfg, svc, err := online(ctx, path)
	if err != nil {
		return nil, err
	}
	defer svc.Close()
	for _, i := range cfg.Issuers {
		r.Issuers = append(r.Issuers, i.Issuer)
	}
	return explain.Run(ctx, svc.Checks(), r)
}

// online starts the service of a file without listening, and gives its
// authorization servers some time to answer.
func online(ctx context.Context, path string) (*config.Config, *service.Service, error) {
	cfg, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return nil, nil, err
	}
	svc := service.New(slog.New(slog.DiscardHandler), metrics.New(version, commit))
	if err := svc.Apply(cfg); err != nil {
		svc.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	svc.Settle(ctx, onlineWait)
	return cfg, svc, nil
}

// validateOnline asks the real servers for metadata, keys and the verdict on
// our credentials.
func validateOnline(ctx context.Context, path string, stdout io.Writer) error {
	_, svc, err := online(ctx, path)
	if err != nil {
		return err
	}
	defer svc.Close()
	var errs []error
	for _, p := range svc.Probe(ctx) {
		if p.Err != nil {
			errs = append(errs, fmt.Errorf("%s: issuer %s: %s: %w", path, p.Issuer, p.What, p.Err))
			continue
		}
		fmt.Fprintf(stdout, "%s: issuer %s: %s\n", path, p.Issuer, p.What)
	}
	return errors.Join(errs...)
}
