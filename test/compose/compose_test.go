// Package compose proves the image and docker-compose.yaml with a real Docker
// engine. test/tools/docker.sh finds one, or starts one, and runs the tests.
package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	version = "v0.0.0-test"
	commit  = "0123456789ab"

	startTimeout = 90 * time.Second
)

// client makes a connection per request: what counts is what a new caller sees.
var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func TestMain(m *testing.M) {
	if os.Getenv("COMPOSE") == "" {
		fmt.Fprintln(os.Stderr, "these tests need a Docker engine: run test/tools/docker.sh")
		os.Exit(1)
	}
	began := time.Now()
	if output, err := (&project{name: "bearergate-build"}).compose("build"); err != nil {
		fmt.Fprintf(os.Stderr, "compose build: %v\n%s", err, output)
		os.Exit(1)
	}
	fmt.Printf("images built in %s\n", time.Since(began).Round(time.Second))
	os.Exit(m.Run())
}

// project is one `docker compose up` with a name and ports of its own.
type project struct {
	name          string
	envoy, issuer string // host:port
	env           []string
}

// newProject returns a project without containers, which are gone at the end
// of the test with their volumes.
func newProject(t *testing.T) *project {
	t.Helper()
	p := &project{
		name:  fmt.Sprintf("bearergate-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6),
		envoy: free(t), issuer: free(t),
	}
	t.Cleanup(func() {
		if t.Failed() {
			output, _ := p.compose("logs", "--no-color", "--tail", "40")
			t.Logf("%s", output)
		}
		if output, err := p.compose("down", "--volumes", "--timeout", "2"); err != nil {
			t.Errorf("compose down: %v\n%s", err, output)
		}
	})
	return p
}

// taken are the addresses that free has given away: projects that start at the
// same time must not get one twice.
var taken sync.Map

func free(t *testing.T) string {
	t.Helper()
	for {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := lis.Addr().String()
		_ = lis.Close()
		if _, twice := taken.LoadOrStore(address, true); !twice {
			return address
		}
	}
}

// compose runs a command of docker compose and returns what it printed.
func (p *project) compose(args ...string) (string, error) {
	command := strings.Fields(os.Getenv("COMPOSE"))
	cmd := exec.Command(command[0], append(append(command[1:], "--project-name", p.name), args...)...)
	cmd.Env = append(os.Environ(), "VERSION="+version, "COMMIT="+commit,
		"ENVOY_PORT="+port(p.envoy), "ISSUER_PORT="+port(p.issuer))
	cmd.Env = append(cmd.Env, p.env...)
	return output(cmd)
}

func port(address string) string {
	return address[strings.LastIndex(address, ":")+1:]
}

// output returns standard output, and in case of failure standard error too.
func output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

func (p *project) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.compose(args...)
	if err != nil {
		t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// docker runs a command of the client and returns what it printed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := output(exec.Command("docker", args...))
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// containers returns the IDs of a service's containers.
func (p *project) containers(t *testing.T, service string) []string {
	t.Helper()
	return strings.Fields(p.must(t, "ps", "--quiet", service))
}

// waitHealthy waits until all n containers of the service are healthy.
func (p *project) waitHealthy(t *testing.T, service string, n int) {
	t.Helper()
	eventually(t, service+" healthy", func() error {
		ids := p.containers(t, service)
		if len(ids) != n {
			return fmt.Errorf("got %d containers, want %d", len(ids), n)
		}
		for _, id := range ids {
			if got := docker(t, "inspect", "--format", "{{.State.Health.Status}}", id); got != "healthy" {
				return fmt.Errorf("health: got %s, want healthy", got)
			}
		}
		return nil
	})
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := try()
		if err == nil {
			t.Logf("%s after %.1f s", what, time.Since(began).Seconds())
			return
		}
		if time.Since(began) > startTimeout {
			t.Fatalf("%s: not within %s: %v", what, startTimeout, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// up starts everything and waits until a token passes.
func up(t *testing.T, args ...string) *project {
	t.Helper()
	p := newProject(t)
	p.start(t, args...)
	return p
}

func (p *project) start(t *testing.T, args ...string) {
	t.Helper()
	p.must(t, append([]string{"up", "--detach", "--no-build"}, args...)...)
	p.waitAllowed(t)
}

// waitAllowed waits until a fresh token of each kind passes.
func (p *project) waitAllowed(t *testing.T) {
	t.Helper()
	for _, format := range []string{"jwt", "opaque"} {
		eventually(t, "a fresh "+format+" token passes", func() error {
			token, err := p.token("format", format)
			if err != nil {
				return err
			}
			got, err := p.get("/orders/1", token)
			if err == nil && got.status != http.StatusOK {
				err = fmt.Errorf("status: got %d, want 200", got.status)
			}
			return err
		})
	}
}

// token asks the authorization server for a token; changes to the form are
// name, value, name, value.
func (p *project) token(changes ...string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {"orders-api"}, "scope": {"orders:read"}}
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+p.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.SetBasicAuth("demo", "development-only")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("token: status %d, %w", resp.StatusCode, err)
	}
	return answer.Token, nil
}

func (p *project) mustToken(t *testing.T, changes ...string) string {
	t.Helper()
	token, err := p.token(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// answer is what came back through Envoy; the rest is there if the upstream
// was reached.
type answer struct {
	status   int
	header   http.Header
	body     string
	Path     string            `json:"path"`
	Headers  map[string]string `json:"headers"`
	Requests int               `json:"requests"`
}

// get sends a request through Envoy; empty: without a token.
func (p *project) get(path, token string) (answer, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+p.envoy+path, nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("X-Auth-Sub", "mallory")
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	got := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if got.status == http.StatusOK {
		_ = json.Unmarshal(body, &got) // /healthz is plain text
	}
	return got, err
}

// want sends a request and compares the status.
func (p *project) want(t *testing.T, status int, path, token string) answer {
	t.Helper()
	got, err := p.get(path, token)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != status {
		t.Fatalf("%s: got %d, want %d: %s", path, got.status, status, got.body)
	}
	return got
}
