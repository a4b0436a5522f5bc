package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/envoy/lint"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/validation"
)

// maxLintBytes bounds a file: the config_dump of a large gateway fits.
const maxLintBytes = 64 << 20

// outputSARIF is the value of lint-envoy's --output that code scanning reads.
const outputSARIF = "sarif"

// errFindings is the verdict of lint-envoy, which has told them already.
var errFindings = errors.New("there are findings of severity error")

func (p program) lintCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint-envoy FILE…",
		Short: "Say what in Envoy, Istio or Envoy Gateway configuration would open a hole or hurt",
		Long: "Reads Envoy bootstraps, what a running Envoy answers to /config_dump, and manifests of Istio and Envoy\n" +
			"Gateway; several files, of several documents each; - is standard input. Looks at all of them together.",
		Args: cobra.MinimumNArgs(1),
	}
	path := cmd.Flags().String("config", "", "configuration file of Bearergate: judge what depends on it, too")
	output := cmd.Flags().String("output", outputText, "text, json or sarif")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if *output != outputText && *output != outputJSON && *output != outputSARIF {
			return fmt.Errorf("--output: got %q, want %s, %s or %s", *output, outputText, outputJSON, outputSARIF)
		}
		report, err := lintFiles(files, cmd.InOrStdin(), *path)
		if err != nil {
			return err
		}
		if err := p.tell(report, *output); err != nil {
			return err
		}
		if report.Count(lint.Error) > 0 {
			return failed(errFindings)
		}
		return nil
	}
	return cmd
}

func lintFiles(files []string, stdin io.Reader, path string) (*lint.Report, error) {
	policy, err := lintPolicy(path)
	if err != nil {
		return nil, err
	}
	var inputs []lint.Input
	for _, name := range files {
		content, err := readInput(name, stdin)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, lint.Input{Name: name, Content: content})
	}
	return lint.Run(inputs, policy)
}

func readInput(name string, stdin io.Reader) ([]byte, error) {
	from := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		from = file
	}
	content, err := io.ReadAll(io.LimitReader(from, maxLintBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxLintBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxLintBytes)
	}
	return content, nil
}

func (p program) tell(report *lint.Report, output string) error {
	switch output {
	case outputJSON:
		return report.JSON(p.stdout)
	case outputSARIF:
		return report.SARIF(p.stdout, p.build.Version)
	}
	return report.Text(p.stdout)
}

// lintPolicy says what the configuration at path needs of Envoy; without a path it is
// not known.
func lintPolicy(path string) (*lint.Policy, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no policy is an answer
	}
	cfg, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	return policyOf(cfg), nil
}

func policyOf(cfg *config.Config) *lint.Policy {
	p := &lint.Policy{ForwardToken: cfg.Authz.ForwardToken, MatchesPaths: len(cfg.Authz.Resources) > 0}
	p.DPoP = cfg.Authz.DPoP != nil
	if mtls := cfg.Authz.MTLS; mtls != nil {
		p.PeerCertificate = mtls.Header() == ""
		if !p.PeerCertificate {
			p.RequestHeaders = append(p.RequestHeaders, mtls.Header())
			p.Removed = append(p.Removed, mtls.Header())
		}
	}
	for name := range cfg.Authz.Headers {
		p.Headers = append(p.Headers, name)
	}
	for _, r := range cfg.Authz.Rules {
		p.Rules = append(p.Rules, r.Name)
		p.StreamUntilExpiry = p.StreamUntilExpiry || r.StreamUntilExpiry
		p.MatchesPaths = p.MatchesPaths || strings.Contains(r.When, "request.path") ||
			r.Match != nil && len(r.Match.Paths) > 0
		p.RequestHeaders = append(p.RequestHeaders, headersRead(r.When)...)
		if u := r.UpstreamToken; u != nil {
			p.ForwardToken = false // on its requests the client's goes away all the same
			if !strings.EqualFold(u.Header, exchange.Authorization) && !slices.Contains(p.Headers, u.Header) {
				p.Headers = append(p.Headers, u.Header)
			}
		}
	}
	for _, i := range cfg.Issuers {
		p.Issuers = append(p.Issuers, i.Discovery.Issuer)
		p.Introspection = max(p.Introspection, askingTime(i.Validation))
	}
	return p
}

// askingTime is how long a Check may wait for one answer of the authorization server.
func askingTime(v validation.Config) time.Duration {
	if v.Strategy == validation.StrategyJWT && len(v.Exchanges) == 0 {
		return 0
	}
	return v.RequestTimeout
}

// headerRead finds a header in a condition, which names each by a literal.
var headerRead = regexp.MustCompile(
	`request\.headers\s*\[\s*["']([^"']+)["']\s*\]|["']([^"']+)["']\s+in\s+request\.headers`)

func headersRead(when string) []string {
	var names []string
	for _, match := range headerRead.FindAllStringSubmatch(when, -1) {
		names = append(names, match[1]+match[2])
	}
	return names
}
