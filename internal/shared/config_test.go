package shared_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/shared"
)

func TestConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*shared.Config)
		want   string // of the error; empty: none
	}{
		"plain":                 {func(*shared.Config) {}, ""},
		"no port":               {func(c *shared.Config) { c.Address = []string{"valkey://cache.example.com"} }, ""},
		"TLS":                   {func(c *shared.Config) { c.Address = []string{"valkeys://cache:6380"}; c.CAFile = "ca" }, ""},
		"TLS of Redis":          {func(c *shared.Config) { c.Address = []string{"rediss://[::1]:6380/"} }, ""},
		"Unix socket":           {func(c *shared.Config) { c.Address = []string{"unix:///run/redis.sock"} }, ""},
		"cluster":               {func(c *shared.Config) { c.Address = []string{"redis://a:1", "redis://b:1"} }, ""},
		"no address":            {func(c *shared.Config) { c.Address = nil }, "address: is missing"},
		"an empty address":      {func(c *shared.Config) { c.Address = []string{""} }, `address: scheme "" is not known`},
		"host and port":         {func(c *shared.Config) { c.Address = []string{"cache:6379"} }, `address: scheme "cache" is not known`},
		"http":                  {func(c *shared.Config) { c.Address = []string{"https://cache"} }, `scheme "https" is not known`},
		"no URL":                {func(c *shared.Config) { c.Address = []string{"redis://a b"} }, "address: is not a URL"},
		"a password":            {func(c *shared.Config) { c.Address = []string{"redis://u:hunter2@cache"} }, "address: has user information"},
		"a database":            {func(c *shared.Config) { c.Address = []string{"redis://cache/1"} }, "address: has a path"},
		"a query":               {func(c *shared.Config) { c.Address = []string{"redis://cache?db=1"} }, "address: has a query"},
		"no host":               {func(c *shared.Config) { c.Address = []string{"redis://:6379"} }, "address: has no host"},
		"no path":               {func(c *shared.Config) { c.Address = []string{"unix://"} }, "address: want unix:///path"},
		"a relative path":       {func(c *shared.Config) { c.Address = []string{"unix://run/x"} }, "address: want unix:///path"},
		"sockets of a cluster":  {func(c *shared.Config) { c.Address = []string{"unix:///a", "unix:///b"} }, "address[1]: a cluster"},
		"half TLS":              {func(c *shared.Config) { c.Address = []string{"redis://a", "rediss://b"} }, "address[1]: want all"},
		"anchors without TLS":   {func(c *shared.Config) { c.CAFile = "ca" }, "address: ca_file and cert_file need"},
		"no key":                {func(c *shared.Config) { c.KeyFile = "" }, "key_file: is missing"},
		"half a pair":           {func(c *shared.Config) { c.Address = []string{"rediss://a"}; c.CertFile = "c" }, "cert_file: cert_file and key_pem_file"},
		"user only":             {func(c *shared.Config) { c.Username = "gate" }, "username: needs password_file"},
		"a prefix with braces":  {func(c *shared.Config) { c.Prefix = "{x}" }, "prefix: want"},
		"a prefix with a space": {func(c *shared.Config) { c.Prefix = "a b" }, "prefix: want"},
		"a long prefix":         {func(c *shared.Config) { c.Prefix = strings.Repeat("x", 129) }, "prefix: want"},
		"no prefix":             {func(c *shared.Config) { c.Prefix = "" }, ""},
		"no time":               {func(c *shared.Config) { c.Timeout = 0 }, "timeout: got 0s"},
		"too much time":         {func(c *shared.Config) { c.Timeout = time.Minute }, "timeout: got 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			var c shared.Config
			field.SetDefaults(reflect.ValueOf(&c).Elem())
			c.Address, c.KeyFile = []string{"redis://127.0.0.1:6379"}, "key"
			tc.change(&c)
			err := c.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password in %v", err)
			}
		})
	}
}

func TestFilesOfTheConfig(t *testing.T) {
	f := newFleet(t, "redis://127.0.0.1:1")
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	write(t, empty, "\n")
	for name, change := range map[string]func(*shared.Config){
		"key":       func(c *shared.Config) { c.KeyFile = missing },
		"short key": func(c *shared.Config) { c.KeyFile = empty },
		"password":  func(c *shared.Config) { c.PasswordFile = missing },
		"no password": func(c *shared.Config) {
			c.PasswordFile = empty
		},
		"anchors": func(c *shared.Config) { c.Address = []string{"rediss://127.0.0.1:1"}; c.CAFile = empty },
		"pair": func(c *shared.Config) {
			c.Address, c.CertFile, c.KeyPEMFile = []string{"rediss://127.0.0.1:1"}, empty, empty
		},
	} {
		c := f.cfg
		change(&c)
		if s, err := shared.Open(c, shared.Options{}); err == nil {
			s.Close()
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "redis") // a path that is short enough
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	startRedis(t, "--unixsocket", socket)
	f := newFleet(t, "unix://"+socket)
	if r := f.following(); !r.revoke("x") {
		t.Error("not shared")
	}
}
