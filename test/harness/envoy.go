package harness

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	chains "github.com/bearergate/bearergate/envoy/config"
)

var envoyBinary = sync.OnceValues(func() (string, error) {
	cmd := exec.Command(filepath.Join(root(), "test", "tools", "envoy.sh"))
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	return strings.TrimSpace(string(path)), err
})

// EnvoyBinary returns a real Envoy, fetched if need be.
func EnvoyBinary(t testing.TB) string {
	t.Helper()
	binary, err := envoyBinary()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// Envoy is a running Envoy.
type Envoy struct {
	*Process

	URL   string
	Admin string
}

// Gateway starts Envoy with envoy/config/envoy.yaml in front of upstream, and
// with changes to the file: old, new, old, new.
func Gateway(t testing.TB, bearergate, upstream string, changes ...string) *Envoy {
	t.Helper()
	a := chains.Addresses{Listener: Free(t), Bearergate: bearergate, Upstream: upstream, Admin: Free(t)}
	return StartEnvoy(t, "envoy.yaml", a, changes...)
}

// StartEnvoy starts Envoy with a bootstrap of envoy/config.
func StartEnvoy(t testing.TB, name string, a chains.Addresses, changes ...string) *Envoy {
	t.Helper()
	if configFile, ok := services.Load(a.Bearergate); ok && Module() {
		return StartInside(t, name, a, configFile.(string), "", nil, changes...)
	}
	return StartBootstrap(t, changed(t, name, a, changes), a, nil)
}

// StartInside is [StartEnvoy] with the module in place of the ext_authz filter, built
// with these flags, and with its pages at admin, if that is an address.
func StartInside(
	t testing.TB, name string, a chains.Addresses, configFile, admin string, flags []string, changes ...string,
) *Envoy {
	t.Helper()
	bootstrap, err := Inside(changed(t, name, a, changes), configFile, admin)
	if err != nil {
		t.Fatal(err)
	}
	return StartBootstrap(t, bootstrap, a, ModuleEnvironment(Library(t, flags...)))
}

// changed is a bootstrap of envoy/config with changes.
func changed(t testing.TB, name string, a chains.Addresses, changes []string) string {
	t.Helper()
	bootstrap, err := chains.Bootstrap(name, a)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(bootstrap, changes[i]) {
			t.Fatalf("the chain has no %q", changes[i])
		}
		bootstrap = strings.ReplaceAll(bootstrap, changes[i], changes[i+1])
	}
	return bootstrap
}

// StartBootstrap starts Envoy with a bootstrap that listens at these addresses.
func StartBootstrap(t testing.TB, bootstrap string, a chains.Addresses, env []string) *Envoy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &Envoy{URL: "http://" + a.Listener, Admin: "http://" + a.Admin}
	e.Process = Run(t, env, EnvoyBinary(t),
		"-c", file, "--log-level", "warn", "--disable-hot-restart", "--concurrency", "2")
	e.Wait(t, e.Admin+"/ready", http.StatusOK)
	return e
}

// Upstream records the requests that reach it.
type Upstream struct {
	Address string

	mu   sync.Mutex
	seen []*http.Request
}

// Echo starts an upstream that answers 200.
func Echo(t testing.TB) *Upstream {
	t.Helper()
	u := &Upstream{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.seen = append(u.seen, r.Clone(r.Context()))
		u.mu.Unlock()
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(server.Close)
	u.Address = server.Listener.Addr().(*net.TCPAddr).String()
	return u
}

// Take returns the requests since the last Take.
func (u *Upstream) Take() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}

// FleetGateway is [Gateway] in front of several replicas, which it asks in turn.
func FleetGateway(t testing.TB, replicas []string, upstream string, changes ...string) *Envoy {
	t.Helper()
	endpoint := func(address string) string {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return "- endpoint: {address: {socket_address: {address: " + host + ", port_value: " + port + "}}}\n"
	}
	var all strings.Builder
	for n, address := range replicas {
		if n > 0 {
			all.WriteString(strings.Repeat(" ", 14))
		}
		all.WriteString(endpoint(address))
	}
	return Gateway(t, replicas[0], upstream, append(changes, endpoint(replicas[0]), all.String())...)
}
