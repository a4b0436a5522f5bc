package envoy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bearergate/bearergate/internal/field"
)

// Config is how Envoy reaches the service, and how the service takes its leave: a
// replica that is stopped first tells Envoy so, and then waits for the requests that
// are still sent to it.
type Config struct {
	GRPCAddress     string        `key:"grpc_address" default:":9191" doc:"Where Envoy asks: host:port, or unix:///path."`
	TLS             *TLSConfig    `key:"tls" doc:"Absent: Envoy is answered in plain text."`
	DrainDelay      time.Duration `key:"drain_delay" default:"0s" min:"0s" doc:"Keep serving this long after readiness turned false."`
	ShutdownTimeout time.Duration `key:"shutdown_timeout" default:"15s" above:"0s" doc:"Then let calls under way end for this long."`
	ReloadGrace     time.Duration `key:"reload_grace" default:"5m" min:"0s" doc:"How long a reload waits for a new or changed issuer that cannot be decided yet; 0s: not at all."`
}

// TLSConfig names files that are re-read when they change.
type TLSConfig struct {
	CertFile     string `key:"cert_file,required" doc:"PEM certificate chain; re-read when it changes."`
	KeyFile      string `key:"key_file,required" doc:"Its PEM private key; re-read when it changes."`
	ClientCAFile string `key:"client_ca_file" doc:"PEM certificates, of one of which Envoy must present one; re-read when it changes."`

	AllowedClientSANs []string `key:"allowed_client_sans" doc:"DNS or URI names (SPIFFE IDs), compared exactly, of which a client certificate must have one. Empty: any that client_ca_file vouches for."`
}

// Validate reports every mistake at once, each a [*field.Error] with the key of
// the configuration file.
func (c Config) Validate() error {
	var errs []error
	if err := checkAddress(c.GRPCAddress); err != nil {
		errs = append(errs, field.Errorf("server.grpc_address", "got %q, %w", c.GRPCAddress, err))
	}
	errs = append(errs, field.Under("server", field.Check(c)))
	if c.TLS != nil {
		errs = append(errs, field.Under("server.tls", c.TLS.validate()))
	}
	return errors.Join(errs...)
}

func checkAddress(address string) error {
	if path, ok := socketPath(address); ok {
		return checkSocket(path)
	}
	return CheckTCP(address, "host:port or unix:///path")
}

// longestSocket is how many bytes of a path the kernel takes.
const longestSocket = len(syscall.RawSockaddrUnix{}.Path) - 1

// checkSocket finds what would keep a socket from being made at path, without
// making it.
func checkSocket(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return errors.New("want unix:// and an absolute path")
	case strings.ContainsRune(path, 0):
		return errors.New("has a NUL character, want none")
	case len(path) > longestSocket:
		return fmt.Errorf("its path has %d bytes, want at most %d", len(path), longestSocket)
	}
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err != nil {
		return fmt.Errorf("want a folder that exists: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("want a folder that exists: %s is none", folder)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return errors.New("is there and is not a socket")
	}
	return nil
}

// lookupTimeout bounds how long a name is looked for.
const lookupTimeout = 2 * time.Second

// CheckTCP finds what would keep a program on this machine from listening on
// address, the port's being taken aside: it listens on another port of the same
// host for a moment. The error says that form is wanted where address is none.
func CheckTCP(address, form string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("want %s", form)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("port %q is none", port)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		var failed *net.OpError // its text has port 0, which nobody wrote
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("nobody can listen there: %w", err)
	}
	return lis.Close()
}

// socketPath returns the path of a Unix domain socket address.
func socketPath(address string) (string, bool) {
	path, ok := strings.CutPrefix(address, "unix:")
	return strings.TrimPrefix(path, "//"), ok
}

func (c TLSConfig) validate() error {
	var errs []error
	for _, f := range []struct{ key, value string }{{"cert_file", c.CertFile}, {"key_file", c.KeyFile}} {
		if f.value == "" {
			errs = append(errs, field.Errorf(f.key, "missing: TLS needs it"))
		}
	}
	if len(c.AllowedClientSANs) > 0 && c.ClientCAFile == "" {
		errs = append(errs, field.Errorf("allowed_client_sans", "needs client_ca_file: without it no client proves a name"))
	}
	for i, name := range c.AllowedClientSANs {
		at := fmt.Sprintf("allowed_client_sans[%d]", i)
		if name == "" || strings.ContainsAny(name, "* ") {
			errs = append(errs, field.Errorf(at, "got %q, want an exact DNS or URI name", name))
		} else if strings.Contains(name, ":") {
			if u, err := url.Parse(name); err != nil || u.Scheme == "" {
				errs = append(errs, field.Errorf(at, "got %q, want an exact DNS or URI name", name))
			}
		}
	}
	return errors.Join(errs...)
}
