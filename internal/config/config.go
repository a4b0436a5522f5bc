// Package config makes one valid configuration of one file, or reports every
// mistake in it with its line. It knows the formats and the defaults; what a
// value means is known to the rooms, whose Config types it fills.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/validation"
)

// maxBytes bounds the file: ten thousand rules fit with room to spare.
const maxBytes = 8 << 20

// Config is the file as docs/contract.md §2 describes it.
type Config struct {
	Server Server `yaml:"server"`
	Log    Log    `yaml:"log"`
	Realm  string `yaml:"realm"`

	Auth    *Issuer  `yaml:"auth"` // nil once loaded: it is in Issuers
	Issuers []Issuer `yaml:"issuers"`

	Cache Cache `yaml:"cache"`
	JWKS  JWKS  `yaml:"jwks"`

	Headers        map[string]string   `yaml:"headers"`
	ForwardToken   bool                `yaml:"forward_token"`
	DefaultAccess  string              `yaml:"default_access"`
	AmbiguousPaths string              `yaml:"ambiguous_paths"`
	EncodedSlashes string              `yaml:"encoded_slashes"`
	Rules          []authz.Rule        `yaml:"rules"`
	Resources      []authz.Resource    `yaml:"resources"`
	ScopeImplies   map[string][]string `yaml:"scope_implies"`

	single bool // the file says auth, not issuers
}

// Server is the listeners.
type Server struct {
	GRPCAddress     string        `yaml:"grpc_address"`
	AdminAddress    string        `yaml:"admin_address"`
	TLS             *TLS          `yaml:"tls"`
	DrainDelay      time.Duration `yaml:"drain_delay"`
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
}

// TLS is that of the gRPC listener.
type TLS struct {
	CertFile          string   `yaml:"cert_file"`
	KeyFile           string   `yaml:"key_file"`
	ClientCAFile      string   `yaml:"client_ca_file"`
	AllowedClientSANs []string `yaml:"allowed_client_sans"`
}

// Log is where log lines begin and how they look.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // json, text
}

// Issuer is one authorization server.
type Issuer struct {
	Type                  string            `yaml:"type"`
	Issuer                string            `yaml:"issuer"`
	Audience              []string          `yaml:"audience,string"` // nil: not written
	TokenValidation       string            `yaml:"token_validation"`
	ClientID              string            `yaml:"client_id"`
	ClientSecret          validation.Secret `yaml:"client_secret"`
	ClientSecretFile      string            `yaml:"client_secret_file"`
	ClientAuthMethod      string            `yaml:"client_auth_method"`
	ClientKeyFile         string            `yaml:"client_key_file"`
	ClientKeyID           string            `yaml:"client_key_id"`
	ClientCertFile        string            `yaml:"client_cert_file"`
	TokenEndpoint         string            `yaml:"token_endpoint"`
	ClientScopes          []string          `yaml:"client_scopes"`
	IntrospectionResponse string            `yaml:"introspection_response"`
	MetadataURL           string            `yaml:"metadata_url"`
	JWKSURI               string            `yaml:"jwks_uri"`
	IntrospectionEndpoint string            `yaml:"introspection_endpoint"`
	RequiredScopes        []string          `yaml:"required_scopes"`
	Algorithms            []string          `yaml:"algorithms"`
	AccessTokenType       string            `yaml:"access_token_type"`
	RequireTokenType      bool              `yaml:"require_token_type"`
	ClockSkew             time.Duration     `yaml:"clock_skew"`
	RequestTimeout        time.Duration     `yaml:"request_timeout"`
	OpaqueTokenPrefix     string            `yaml:"opaque_token_prefix"`
	CAFile                string            `yaml:"ca_file"`
	InsecureHTTP          bool              `yaml:"insecure_http"`
}

func (i *Issuer) defaults() {
	*i = Issuer{
		Type:                  "oauth",
		TokenValidation:       string(validation.StrategyJWT),
		ClientAuthMethod:      validation.AuthBasic,
		IntrospectionResponse: validation.ResponseJSON,
		Algorithms:            validation.Algorithms(),
		AccessTokenType:       validation.TypeCompatible,
		ClockSkew:             30 * time.Second,
		RequestTimeout:        2 * time.Second,
	}
}

// Cache is of introspection answers and verified JWTs.
type Cache struct {
	MaxEntries   int           `yaml:"max_entries"`
	MaxBytes     bytesize.Size `yaml:"max_bytes"`
	TTL          time.Duration `yaml:"ttl"`
	NegativeTTL  time.Duration `yaml:"negative_ttl"`
	StaleIfError time.Duration `yaml:"stale_if_error"`
}

// JWKS is how keys are kept fresh.
type JWKS struct {
	RefreshInterval    time.Duration `yaml:"refresh_interval"`
	MinRefreshInterval time.Duration `yaml:"min_refresh_interval"`
	MaxStale           time.Duration `yaml:"max_stale"`
}

func (c *Config) defaults() {
	*c = Config{
		Server:         Server{GRPCAddress: ":9191", AdminAddress: "127.0.0.1:9192", ShutdownTimeout: 15 * time.Second},
		Log:            Log{Level: "info", Format: "json"},
		Realm:          "bearergate",
		Cache:          Cache{MaxEntries: 100_000, MaxBytes: 256 * bytesize.MiB, TTL: time.Minute, NegativeTTL: 5 * time.Second},
		JWKS:           JWKS{RefreshInterval: 5 * time.Minute, MinRefreshInterval: 15 * time.Second, MaxStale: 24 * time.Hour},
		Headers:        map[string]string{"x-auth-sub": "sub", "x-auth-scope": "scope", "x-auth-client-id": "client_id"},
		DefaultAccess:  "token",
		AmbiguousPaths: "refuse",
		EncodedSlashes: "refuse",
	}
}

// Load reads the file at path, whose extension names the format, with
// environment variables from lookup. The error joins every [*Mistake].
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
	content = bytes.TrimPrefix(content, []byte("\uFEFF"))
	root, err := read(path, content)
	if err != nil {
		var syntax *syntaxError
		if errors.As(err, &syntax) {
			return nil, &Mistake{File: path, Line: syntax.line, Column: syntax.column, Err: errors.New(unquoted(syntax.message))}
		}
		return nil, err
	}
	c := new(Config)
	d := &decoder{lookup: lookup}
	d.value("", root, reflect.ValueOf(c).Elem())
	r := &report{file: path, root: root, variables: d.variables, excerpts: &excerpts{content: content, root: root}}
	r.add(errors.Join(d.errs...))
	r.once()
	r.add(c.settle())
	if len(r.mistakes) > 0 {
		return nil, sorted(r.mistakes)
	}
	return c, nil
}

func read(path string, content []byte) (*node, error) {
	switch extension := strings.ToLower(filepath.Ext(path)); extension {
	case ".yaml", ".yml":
		return readYAML(content)
	case ".toml":
		return readTOML(content)
	case ".json":
		return readJSON(content)
	default:
		return nil, fmt.Errorf("%s: got extension %q, want .yaml, .yml, .toml or .json", path, extension)
	}
}
