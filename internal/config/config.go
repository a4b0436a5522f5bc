// Package config makes one valid configuration of one file, or reports every
// mistake in it with its line. A key has one home, a field of a room's Config,
// whose tags say all there is to say of it (see [field.Key]); this package says
// where in the file it stands, and hands on what several rooms need.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/shared"
	"github.com/bearergate/bearergate/internal/strictfile"
	"github.com/bearergate/bearergate/validation"
)

// maxBytes bounds the file: ten thousand rules fit with room to spare.
const maxBytes = 8 << 20

// Config is the file as docs/contract.md §2 describes it. Once loaded, what it has
// for each room is complete.
type Config struct {
	Server Server `key:"server" doc:"The listeners."`
	Log    Log    `key:"log" doc:"Where log lines begin and how they look."`

	Telemetry Telemetry `key:"telemetry" doc:"What others are told of decisions."`

	Auth    *Issuer  `key:"auth" doc:"The authorization server. For several: issuers."` // nil once loaded: it is in Issuers
	Issuers []Issuer `key:"issuers" doc:"Several authorization servers, instead of auth."`

	Cache validation.CacheConfig `key:"cache" doc:"Of introspection answers and verified JWTs."`
	JWKS  discovery.Intervals    `key:"jwks" doc:"How metadata and keys are kept fresh."`

	Authz authz.Config `key:",inline"`

	// nil where the section is not there.
	Shared     *shared.Config     `key:"shared" doc:"One Redis or Valkey for all replicas, for what each of them would find out else. The section switches it on."`
	Revocation *revocation.Config `key:"revocation" doc:"Tokens that must not pass any more although they are genuine and alive. The section switches that on."`

	// Digest tells the file from others: the beginning of its SHA-256, in hex.
	Digest string

	single    bool              // the file says auth, not issuers
	variables map[string]string // of the environment, which the file names
}

// Server is the two listeners: that for Envoy, and that for operators, which is apart
// so that nobody who can reach the one can read the other.
type Server struct {
	Envoy          envoy.Config `key:",inline"`
	AdminAddress   string       `key:"admin_address" default:"127.0.0.1:9192" doc:"Health, metrics and status page, host:port; never the gRPC port."`
	AdminTokenFile string       `key:"admin_token_file" doc:"File with a token of at least 32 characters, which everything on the admin address but /livez, /readyz and /metrics then asks for; re-read when it changes. Off loopback nothing else is served without."`
	ProbeAddress   string       `key:"probe_address" doc:"/livez, /readyz and /metrics on an address of their own as well, host:port. Empty: on the admin address alone."`
	MemoryLimit    string       `key:"memory_limit" doc:"Soft limit of the process, as GOMEMLIMIT says it: 512MiB, or off. Empty: GOMEMLIMIT's, else nine tenths of the cgroup's."`
}

// Log is where log lines begin and how they look.
type Log struct {
	Level  string `key:"level" default:"info" oneof:"debug|info|warn|error" doc:"The least that is logged."`
	Format string `key:"format" default:"json" oneof:"json|text" doc:"Of a log line."`
}

// Issuer is one authorization server, as each room knows it.
type Issuer struct {
	Type       string             `key:"type" default:"oauth" oneof:"oauth" doc:"The only kind there is."`
	Discovery  discovery.Config   `key:",inline"`
	Authz      authz.IssuerConfig `key:",inline"`
	Validation validation.Config  `key:",inline"`
}

// Load reads the file at path, whose extension names the format, with
// environment variables from lookup. The error joins every [*strictfile.Mistake].
func Load(path string, lookup func(string) (string, bool)) (*Config, error) {
	content, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, content, lookup)
}

// Read returns the content of the file, for [Parse].
func Read(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxBytes)
	}
	return content, nil
}

// Parse is [Load] for content that was read before: whoever compared it has
// these very bytes used, whatever became of the file since.
func Parse(path string, content []byte, lookup func(string) (string, bool)) (*Config, error) {
	return parse(path, content, lookup, false)
}

// ParsePolicy is [Parse] for those who look at the policy only, on a machine that
// has neither secrets nor certificates: the files that the configuration names need
// not be there, and neither need the environment variables in a secret or in the
// name of a file.
func ParsePolicy(path string, content []byte, lookup func(string) (string, bool)) (*Config, error) {
	return parse(path, content, lookup, true)
}

func parse(path string, content []byte, lookup func(string) (string, bool), policyOnly bool) (*Config, error) {
	file, err := strictfile.Read(path, content)
	if err != nil {
		return nil, err
	}
	if policyOnly {
		file.Spare(ofMachine)
	}
	c := &Config{variables: map[string]string{}, Digest: digest(content)}
	file.Decode(c, c.remembering(lookup))
	err = c.settle()
	if !policyOnly {
		err = errors.Join(err, c.checkFiles())
	}
	if err := file.Mistakes(err); err != nil {
		return nil, err
	}
	return c, nil
}

// digest has 48 bits: enough to tell the files of one place from each other.
func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:6])
}

// ofMachine says of a key whether its value is a secret or the name of a file: what
// belongs to the machine that serves, and decides nothing about requests.
func ofMachine(path string) bool {
	return strings.HasSuffix(path, "_file") || strings.HasSuffix(path, ".client_secret")
}
