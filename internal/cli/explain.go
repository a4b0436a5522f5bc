package cli

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/validation"
)

// onlineWait is how long explain and validate --online wait for the
// authorization servers to be ready.
const onlineWait = 10 * time.Second

// The values of explain's --output.
const (
	outputText = "text"
	outputJSON = "json"
)

func (p program) explainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "explain", Short: "Walk one request through the code that serve runs", Args: cobra.NoArgs}
	path := configFlag(cmd)
	flags := cmd.Flags()
	token := flags.String("token-file", "", "file with the access token; - is standard input; empty: no token")
	proof := flags.String("dpop-file", "", "file with the DPoP proof; the token is sent with the scheme DPoP then")
	certificate := flags.String("client-cert-file", "", "file with the client's certificate in PEM, as Envoy verified it")
	output := flags.String("output", outputText, "text or json")
	var r explain.Request
	flags.StringVar(&r.Scheme, "scheme", "https", "scheme of the request's URL, which a DPoP proof names")
	flags.StringVar(&r.Method, "method", "GET", "request method")
	flags.StringVar(&r.Host, "host", "localhost", "request host")
	flags.StringVar(&r.Path, "path", "/", "request path, with query")
	flags.StringVar(&r.Rule, "rule", "", "use the rule of this name instead of matching")
	headers := flags.StringArray("header", nil, "another request header, 'Name: value'; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *output != outputText && *output != outputJSON {
			return fmt.Errorf("--output: got %q, want %s or %s", *output, outputText, outputJSON)
		}
		var err error
		if r.Headers, err = parseHeaders(*headers); err != nil {
			return err
		}
		if r.Token, err = readToken(*token, cmd.InOrStdin()); err != nil {
			return failed(err)
		}
		if r.Proof, err = readToken(*proof, cmd.InOrStdin()); err != nil {
			return failed(err)
		}
		if r.Certificate, err = readCertificate(*certificate); err != nil {
			return failed(err)
		}
		walk, err := p.explain(cmd.Context(), *path, r)
		if err != nil {
			return failed(err)
		}
		return p.show(walk, *output)
	}
	return cmd
}

// parseHeaders reads headers as they are written in HTTP/1.1; several of one name
// are joined as Envoy does.
func parseHeaders(lines []string) (map[string]string, error) {
	headers := map[string]string{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" {
			return nil, errors.New("--header: want 'Name: value'")
		}
		value = strings.TrimSpace(value)
		if before, ok := headers[name]; ok {
			value = before + "," + value
		}
		headers[name] = value
	}
	return headers, nil
}

// readCertificate reads PEM, and wants a certificate in it: with a key by mistake the
// walk would say that there is none.
func readCertificate(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if block, _ := pem.Decode(content); block == nil || block.Type != "CERTIFICATE" {
		return "", fmt.Errorf("%s: does not begin with a certificate in PEM", file)
	}
	return string(content), nil
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

// explain has the service of the file at path decide one request.
func (p program) explain(ctx context.Context, path string, r explain.Request) (*explain.Walk, error) {
	cfg, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	svc, err := p.online(ctx, path, cfg)
	if err != nil {
		return nil, err
	}
	defer svc.Close()
	for _, i := range cfg.Issuers {
		r.Issuers = append(r.Issuers, i.Discovery.Issuer)
	}
	return explain.Run(ctx, svc.Checks(), r)
}

// show prints the walk; a request that was denied is an error of its own, so
// that scripts can tell it by the status.
func (p program) show(walk *explain.Walk, output string) error {
	write := walk.Text
	if output == outputJSON {
		write = walk.JSON
	}
	if err := write(p.stdout); err != nil {
		return failed(err)
	}
	if !walk.Allowed {
		return errDenied
	}
	return nil
}
