// Package harness starts the real parts that the tests put together: the built
// binary, Envoy, authorization servers. Everything listens on 127.0.0.1 and is
// stopped at the end of the test that started it.
package harness

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/bearergate/bearergate/internal/devissuer"
)

const startTimeout = 30 * time.Second

// root is the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

var (
	build        = sync.OnceValues(func() (string, error) { return buildAs("bearergate-race", "-race") })
	buildRelease = sync.OnceValues(func() (string, error) { return buildAs("bearergate") })
)

func buildAs(name string, flags ...string) (string, error) {
	binary := filepath.Join(root(), ".cache", name)
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", binary, ".")...)
	cmd.Dir = root()
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return binary, nil
}

// Binary builds the service with the race detector.
func Binary(t testing.TB) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// Output collects what a process prints.
type Output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// Process is something that runs until the end of the test.
type Process struct {
	*Output

	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Run starts a command.
func Run(t testing.TB, env []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Output: &Output{}, cmd: exec.Command(name, args...), done: make(chan struct{})}
	// The race detector would else wait for a second at each exit.
	p.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Output, p.Output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.Stop() // how it ended is the matter of the test that ended it
		if strings.Contains(p.String(), "DATA RACE") {
			t.Errorf("%s: %s", name, p)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(name), tail(p.String(), 20_000))
		}
	})
	return p
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the process and returns how it ended.
func (p *Process) Stop() error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
	return p.err
}

// Kill ends the process at once.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Service is a running Bearergate.
type Service struct {
	*Process

	GRPC, Admin, ConfigFile string
}

// Serve starts the binary with a configuration, from which $GRPC and $ADMIN are
// replaced by free addresses, and waits until it listens.
func Serve(t testing.TB, config string) *Service {
	t.Helper()
	return ServeAt(t, Free(t), Free(t), config)
}

// ServeAt is [Serve] at given addresses.
func ServeAt(t testing.TB, grpcAddress, admin, config string) *Service {
	t.Helper()
	return serve(t, Binary(t), nil, grpcAddress, admin, config)
}

// ServeRelease is [Serve] of a binary without the race detector, which has the
// memory of the chart's container: GOMEMLIMIT is nine tenths of limit.
func ServeRelease(t testing.TB, limit int, config string) *Service {
	t.Helper()
	binary, err := buildRelease()
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, binary, []string{fmt.Sprintf("GOMEMLIMIT=%d", limit/10*9)}, Free(t), Free(t), config)
}

func serve(t testing.TB, binary string, env []string, grpcAddress, admin, config string) *Service {
	t.Helper()
	s := &Service{GRPC: grpcAddress, Admin: admin, ConfigFile: filepath.Join(t.TempDir(), "bearergate.yaml")}
	services.Store(grpcAddress, s.ConfigFile)
	s.Write(t, config)
	s.Process = Run(t, env, binary, "serve", "--config", s.ConfigFile)
	s.Wait(t, "http://"+s.Admin+"/livez", http.StatusOK)
	return s
}

// Write replaces the configuration file.
func (s *Service) Write(t testing.TB, config string) {
	t.Helper()
	config = strings.NewReplacer("$GRPC", s.GRPC, "$ADMIN", s.Admin).Replace(config)
	next := s.ConfigFile + ".next"
	if err := os.WriteFile(next, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, s.ConfigFile); err != nil {
		t.Fatal(err)
	}
}

// Ready waits until every issuer can be decided.
func (s *Service) Ready(t testing.TB) *Service {
	t.Helper()
	s.Wait(t, "http://"+s.Admin+"/readyz", http.StatusOK)
	return s
}

// Wait asks url until it answers with status.
func (p *Process) Wait(t testing.TB, url string, status int) {
	t.Helper()
	Eventually(t, url, func() bool {
		select {
		case <-p.done:
			t.Fatalf("process ended: %v\n%s", p.err, p)
		default:
		}
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == status
	})
}

// Eventually waits until ok.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", startTimeout, what)
		}
	}
}

// Client connects to the service without TLS.
func (s *Service) Client(t testing.TB) authv3.AuthorizationClient {
	t.Helper()
	conn, err := grpc.NewClient(s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

// Metric returns the value of one series, such as
// `bearergate_checks_total{decision="allow",reason="allowed"}`; 0 if there is none.
func (s *Service) Metric(t testing.TB, series string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + s.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(body.String(), "\n") {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			var value float64
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

// Free returns an address where nobody listens.
func Free(t testing.TB) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// Issuer starts a development authorization server that knows the client
// gate with the secret s3cret.
func Issuer(t testing.TB) *devissuer.Issuer {
	t.Helper()
	issuer, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return issuer
}

// Config returns a configuration with one issuer, strategy both and audience
// api, to which more can be appended.
func Config(issuer string) string {
	return `server: {grpc_address: "$GRPC", admin_address: "$ADMIN"}
log: {level: debug}
auth:
  issuer: ` + issuer + `
  audience: api
  token_validation: both
  client_id: gate
  client_secret: s3cret
  insecure_http: true
`
}

// Check makes the request that Envoy would make.
func Check(method, host, path string, headers map[string]string, extensions map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: extensions,
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: method, Host: host, Path: path, Scheme: "https", Headers: headers,
		}},
	}}
}

// Ask sends a GET of path with an Authorization value, empty for none, and
// returns the reason and the response.
func Ask(
	ctx context.Context, client authv3.AuthorizationClient, path, authorization string,
) (string, *authv3.CheckResponse, error) {
	headers := map[string]string{}
	if authorization != "" {
		headers["authorization"] = authorization
	}
	response, err := client.Check(ctx, Check("GET", "api.example.com", path, headers, nil))
	return Reason(response), response, err
}

// Reason reads the reason of a response.
func Reason(response *authv3.CheckResponse) string {
	return response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
}

// Allowed says what Envoy would do.
func Allowed(response *authv3.CheckResponse) bool {
	return response != nil && response.GetStatus().GetCode() == 0
}
