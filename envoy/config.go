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

// Config is how Envoy reaches the service.
type Config struct {
	GRPCAddress     string // host:port, or unix:///path
	TLS             *TLSConfig
	DrainDelay      time.Duration // keep serving this long after readiness turned false
	ShutdownTimeout time.Duration // then let calls under way end for this long
}

// TLSConfig names files that are re-read when they change.
type TLSConfig struct {
	CertFile     string
	KeyFile      string
	ClientCAFile string // then Envoy must present a certificate of one of these

	// AllowedClientSANs are the DNS or URI names (SPIFFE IDs), compared exactly,
	// of which a client certificate must have one; empty: any that ClientCAFile
	// vouches for.
	AllowedClientSANs []string
}

// Validate reports every mistake at once, each a [*field.Error] with the key of
// the configuration file.
func (c Config) Validate() error {
	var errs []error
	if err := checkAddress(c.GRPCAddress); err != nil {
		errs = append(errs, field.Errorf("server.grpc_address", "got %q, %w", c.GRPCAddress, err))
	}
	if c.DrainDelay < 0 {
		errs = append(errs, field.Errorf("server.drain_delay", "got %s, want 0s or more", c.DrainDelay))
	}
	if c.ShutdownTimeout <= 0 {
		errs = append(errs, field.Errorf("server.shutdown_timeout", "got %s, want more than 0s", c.ShutdownTimeout))
	}
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
