package shared

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/field"
)

// Config is the section shared: one Redis or Valkey for all replicas.
type Config struct {
	Address      []string      `key:"address,string,required" doc:"valkey:// or redis:// (plain text), valkeys:// or rediss:// (TLS), with host and port, or unix:///path. A list: a cluster."`
	Username     string        `key:"username" doc:"Of the store's ACL. Empty: default, if there is a password."`
	PasswordFile string        `key:"password_file" doc:"Password of the store; re-read when it changes."`
	KeyFile      string        `key:"key_file,required" doc:"At least 32 bytes, the same on every replica: the key of what is stored. Re-read when it changes, and the key before still opens entries."`
	CAFile       string        `key:"ca_file" doc:"Trust anchors for the store (PEM) instead of the system's; re-read when it changes."`
	CertFile     string        `key:"cert_file" doc:"Client certificate for the store (PEM); re-read when it changes."`
	KeyPEMFile   string        `key:"key_pem_file" doc:"Private key of cert_file (PEM)."`
	Prefix       string        `key:"prefix" default:"bearergate:" doc:"What the names of all keys in the store begin with."`
	Timeout      time.Duration `key:"timeout" default:"50ms" min:"1ms" max:"5s" doc:"Of one command. A store that does not keep it is left alone until it does."`
}

// maxPrefixBytes bounds what every name in the store begins with.
const maxPrefixBytes = 128

// Validate reports every mistake at once, each a [*field.Error].
func (c Config) Validate() error {
	errs := []error{field.Check(c)}
	if len(c.Address) == 0 {
		errs = append(errs, field.Errorf("address", "is missing"))
	}
	_, err := c.addresses()
	errs = append(errs, err)
	if c.KeyFile == "" {
		errs = append(errs, field.Errorf("key_file", "is missing: it holds the key of what is stored"))
	}
	if (c.CertFile == "") != (c.KeyPEMFile == "") {
		errs = append(errs, field.Errorf("cert_file", "cert_file and key_pem_file go together"))
	}
	if c.Username != "" && c.PasswordFile == "" {
		errs = append(errs, field.Errorf("username", "needs password_file"))
	}
	if len(c.Prefix) > maxPrefixBytes || strings.ContainsAny(c.Prefix, "{}") || !visible(c.Prefix) {
		errs = append(errs, field.Errorf("prefix", "want at most %d visible ASCII characters without braces", maxPrefixBytes))
	}
	if !c.tls() && (c.CAFile != "" || c.CertFile != "") {
		errs = append(errs, field.Errorf("address", "ca_file and cert_file need valkeys:// or rediss://"))
	}
	return errors.Join(errs...)
}

// address is where one node of the store is.
type address struct {
	network string // tcp or unix
	at      string
	tls     bool
}

const defaultPort = "6379"

// addresses reads all of them; they have to agree on TLS, since a cluster names its
// other nodes without saying how they are reached.
func (c Config) addresses() ([]address, error) {
	var all []address
	var errs []error
	for i, text := range c.Address {
		path := "address"
		if len(c.Address) > 1 {
			path = fmt.Sprintf("address[%d]", i)
		}
		a, err := parseAddress(text)
		switch {
		case err != nil:
			errs = append(errs, &field.Error{Path: path, Err: err})
			continue
		case a.network == "unix" && len(c.Address) > 1:
			errs = append(errs, field.Errorf(path, "a cluster is not reached by unix://"))
		case len(all) > 0 && a.tls != all[0].tls:
			errs = append(errs, field.Errorf(path, "want all addresses with TLS, or all without"))
		}
		all = append(all, a)
	}
	return all, errors.Join(errs...)
}

// parseAddress never shows what it got, which may hold a password.
func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil {
		return address{}, errors.New("is not a URL")
	}
	if u.User != nil {
		return address{}, errors.New("has user information, want username and password_file")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return address{}, errors.New("has a query or a fragment, want none")
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || u.Path == "" || u.Path == "/" {
			return address{}, errors.New("want unix:///path")
		}
		return address{network: "unix", at: u.Path}, nil
	case "valkey", "redis", "valkeys", "rediss":
	default:
		return address{}, fmt.Errorf("scheme %q is not known, want valkey, redis, valkeys, rediss or unix", u.Scheme)
	}
	if u.Hostname() == "" {
		return address{}, errors.New("has no host")
	}
	if u.Path != "" && u.Path != "/" {
		return address{}, errors.New("has a path, want none: the database is 0")
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return address{
		network: "tcp", at: net.JoinHostPort(u.Hostname(), port),
		tls: u.Scheme == "valkeys" || u.Scheme == "rediss",
	}, nil
}

// tls says whether the store is reached by TLS.
func (c Config) tls() bool {
	all, _ := c.addresses()
	return len(all) > 0 && all[0].tls
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
