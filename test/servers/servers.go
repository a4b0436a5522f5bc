// Package servers runs authorization servers that none of us wrote, and gets
// tokens from them as a client would: with a secret, or through the login form.
package servers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Names are the folders, each of one server.
func Names() []string {
	return []string{"django-oauth-toolkit", "hydra", "keycloak", "oidc-provider", "spring", "zitadel"}
}

// Server is what a start script prints when its server answers.
type Server struct {
	Name          string            `json:"server"` // with its version
	Issuer        string            `json:"issuer"`
	Authorization string            `json:"authorization_endpoint"`
	Token         string            `json:"token_endpoint"`
	Introspection string            `json:"introspection_endpoint"`
	Revocation    string            `json:"revocation_endpoint"`
	EndSession    string            `json:"end_session_endpoint"`
	Accept        string            `json:"accept_endpoint"` // of Hydra, which has no login form of its own
	RedirectURI   string            `json:"redirect_uri"`
	Logout        string            `json:"logout_listener"` // where the server posts logout tokens to; empty: nowhere
	Public        map[string]string `json:"public"`          // the origins here, and the made-up ones of fixtures
	Environment   map[string]string `json:"environment"`     // of docs/authorization-servers/NAME.yaml
	Gate          Client            `json:"gate"`            // the resource server's, which introspects
	RequireType   bool              `json:"require_token_type"`
	Exchange      string            `json:"exchange_audience"` // whom the resource server may have tokens for
	Admin         Admin             `json:"admin"`             // where keys can be changed while it runs
	Rotation      string            `json:"rotation"`          // how its keys change, for the log
	Signals       Signals           `json:"signals"`           // how it tells that a token must not pass any more
	User          User              `json:"user"`
	Grants        []Grant           `json:"grants"`
	Bound         []Grant           `json:"bound"` // whose tokens are bound to the client's key (DPoP)

	name string
	cmd  *exec.Cmd
}

// Client is a confidential client.
type Client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// Admin is the administrative API that has the signing keys.
type Admin struct {
	Token    string `json:"token_endpoint"` // of Keycloak; empty: the API asks for none
	Username string `json:"username"`
	Password string `json:"password"`
	Keys     string `json:"keys"`
}

// Signals is how a server sends security events and logout tokens.
type Signals struct {
	Receiver string `json:"receiver"` // where it sends them to; empty: it sends none
	Audience string `json:"audience"` // of its events
	Streams  string `json:"streams"`  // where its streams are managed, by client
	Realm    string `json:"realm"`    // where users and sessions are
	Push     Client `json:"push"`     // who is sent events
	Poll     Client `json:"poll"`     // who asks for them
	App      Client `json:"app"`      // whose users' logouts are sent to the receiver
}

// User can log in.
type User struct {
	Name     string `json:"username"`
	Password string `json:"password"`
}

// Grant is one way to get tokens.
type Grant struct {
	Name       string            `json:"name"`
	Type       string            `json:"grant_type"` // client_credentials or authorization_code
	Client     Client            `json:"client"`
	Parameters map[string]string `json:"parameters"` // scope, audience, resource
	Want       string            `json:"want"`       // what Bearergate must say of the access token; empty: allowed
}

// ErrMissing is for a server, or what it needs to run, that cannot be had here.
var ErrMissing = errors.New("cannot be had here")

// missing is how a script of a server ends that cannot be had.
const missing = 77

// folder is test/servers.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// Start runs the server of a folder on port and the few ports after it, and
// returns when it answers. Everything that it needs is fetched at the first
// call, which takes minutes.
func Start(ctx context.Context, name string, port int) (*Server, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("got server %q, want one of %s", name, strings.Join(Names(), ", "))
	}
	cmd := exec.CommandContext(ctx, filepath.Join(folder(), name, "start.sh"), fmt.Sprint(port))
	cmd.Stderr = os.Stderr
	// A process group of its own: a script's children end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Server{name: name, cmd: cmd}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, s)
	}
	if err != nil {
		s.Stop()
		if cmd.ProcessState.ExitCode() == missing {
			return nil, fmt.Errorf("%s: %w", name, ErrMissing)
		}
		return nil, fmt.Errorf("%s: got no description of the server: %w", name, err)
	}
	return s, nil
}

// Stop ends the server and all that its script started.
func (s *Server) Stop() {
	if s.cmd.ProcessState != nil {
		return // its process ID may be somebody else's by now
	}
	_ = s.cmd.Cancel()
	_ = s.cmd.Wait()
}

// Configuration is the one that the documentation shows for this server. What
// it may not show is added: the server here speaks plain HTTP on loopback.
func (s *Server) Configuration() (string, error) {
	file := filepath.Join(folder(), "..", "..", "docs", "authorization-servers", s.name+".yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	issuer := regexp.MustCompile(`(?m)^  issuer: \$\{ISSUER\}.*\n`)
	if !issuer.Match(content) {
		return "", fmt.Errorf("%s: got no issuer ${ISSUER} to add insecure_http to", file)
	}
	return issuer.ReplaceAllString(string(content), "$0  insecure_http: true\n"), nil
}
