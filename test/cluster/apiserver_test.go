package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// apiServer is a real kube-apiserver on 127.0.0.1, with an etcd of its own, and
// nothing else: it validates and stores, and nothing runs.
type apiServer struct {
	programs    string // the directory of build.sh
	url         string
	certificate string // which it made for itself, as a file
	signingKey  string // of service accounts, as a file
	token       string
	client      *http.Client
	stops       []func()

	mu    sync.Mutex
	paths map[string]string // of a kind's objects, by apiVersion and kind
}

// startAPIServer starts both with everything of theirs in dir, and waits until
// the API server is ready.
func startAPIServer(programs, dir string) (*apiServer, error) {
	s := &apiServer{programs: programs, token: rand.Text(), paths: map[string]string{}}
	s.certificate = filepath.Join(dir, "certificates", "apiserver.crt")
	if err := s.start(dir); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *apiServer) start(dir string) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	store, peers := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	s.url = "https://127.0.0.1:" + ports[2]
	s.signingKey = filepath.Join(dir, "service-accounts.pem")
	tokens := filepath.Join(dir, "tokens.csv")
	if err := writeKey(s.signingKey); err != nil {
		return err
	}
	if err := os.WriteFile(tokens, []byte(s.token+",test,test,system:masters\n"), 0o600); err != nil {
		return err
	}
	if err := s.run(s.programs, dir, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", store, "--advertise-client-urls", store, "--listen-peer-urls", peers,
		"--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers); err != nil {
		return err
	}
	if err := s.run(s.programs, dir, "kube-apiserver", "--etcd-servers", store,
		"--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", ports[2],
		"--cert-dir", filepath.Dir(s.certificate), "--token-auth-file", tokens, "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", s.signingKey, "--service-account-signing-key-file", s.signingKey,
		"--service-cluster-ip-range", "10.96.0.0/16,fd00:96::/112", // for Services of both families
		// A dry run keeps nothing, so that the account of a Pod beside it is never there.
		"--disable-admission-plugins", "ServiceAccount"); err != nil {
		return err
	}
	return s.wait(dir)
}

// wait returns when the API server is ready, with a client that trusts its
// certificate.
func (s *apiServer) wait(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		time.Sleep(200 * time.Millisecond)
		content, err := os.ReadFile(s.certificate)
		if err != nil {
			continue
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(content)
		s.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		}}
		if _, err := s.get(ctx, "/readyz"); err == nil {
			return nil
		}
	}
	log, _ := os.ReadFile(filepath.Join(dir, "kube-apiserver.log")) // without it the error says less
	return fmt.Errorf("kube-apiserver is not ready after two minutes:\n%s", tail(log))
}

// run starts a program whose output goes to a file of its name in dir.
func (s *apiServer) run(programs, dir, name string, args ...string) error {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(programs, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	// Killed with the test, also where the test cannot stop it any more.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.stops = append(s.stops, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return nil
}

// stop ends what run started, the last one first.
func (s *apiServer) stop() {
	for n := len(s.stops) - 1; n >= 0; n-- {
		s.stops[n]()
	}
}

// do sends a request and returns the body of a success. A warning of the API
// server is an error too: an unknown or deprecated field, or a Pod template that
// the namespace's security level will refuse.
func (s *apiServer) do(ctx context.Context, method, path, kind string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		var status struct{ Message string }
		_ = json.Unmarshal(content, &status) // else the status code says it
		return nil, fmt.Errorf("%s: %s", response.Status, status.Message)
	}
	if warnings := response.Header.Values("Warning"); len(warnings) > 0 {
		return nil, fmt.Errorf("warning: %s", strings.Join(warnings, "; "))
	}
	return content, nil
}

func (s *apiServer) get(ctx context.Context, path string) ([]byte, error) {
	return s.do(ctx, http.MethodGet, path, "", nil)
}

// remove deletes what is at a path.
func (s *apiServer) remove(ctx context.Context, path string) error {
	_, err := s.do(ctx, http.MethodDelete, path, "", nil)
	return err
}

// apply applies an object as `kubectl apply --server-side` does. With dryRun
// everything is done but the storing.
func (s *apiServer) apply(ctx context.Context, o object, dryRun bool) error {
	path, err := s.path(ctx, o)
	if err != nil {
		return err
	}
	query := url.Values{"fieldManager": {"test"}, "fieldValidation": {"Strict"}}
	if dryRun {
		query.Set("dryRun", "All")
	}
	_, err = s.do(ctx, http.MethodPatch, path+"?"+query.Encode(), "application/apply-patch+yaml", []byte(o.text))
	return err
}

var errUnknownKind = errors.New("the API server does not know the kind")

// path returns where an object is, by what the API server says that it has.
func (s *apiServer) path(ctx context.Context, o object) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.paths[o.APIVersion+" "+o.Kind]; !known {
		if err := s.discover(ctx, o.APIVersion); err != nil {
			return "", errors.Join(errUnknownKind, err)
		}
	}
	pattern, known := s.paths[o.APIVersion+" "+o.Kind]
	if !known {
		return "", fmt.Errorf("%w: %s of %s", errUnknownKind, o.Kind, o.APIVersion)
	}
	return strings.ReplaceAll(pattern, "{namespace}", o.namespace()) + "/" + o.Metadata.Name, nil
}

// discover notes the paths of the kinds of an apiVersion.
func (s *apiServer) discover(ctx context.Context, version string) error {
	prefix := "/apis/" + version
	if !strings.Contains(version, "/") {
		prefix = "/api/" + version
	}
	content, err := s.get(ctx, prefix)
	if err != nil {
		return fmt.Errorf("%s: %w", version, err)
	}
	var list struct {
		Resources []struct {
			Name, Kind string
			Namespaced bool
		}
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return err
	}
	for _, r := range list.Resources {
		if strings.Contains(r.Name, "/") { // a part of another one, as deployments/scale
			continue
		}
		path := prefix + "/" + r.Name
		if r.Namespaced {
			path = prefix + "/namespaces/{namespace}/" + r.Name
		}
		s.paths[version+" "+r.Kind] = path
	}
	return nil
}

// freePorts returns ports of 127.0.0.1 where nobody listens.
func freePorts(n int) ([]string, error) {
	ports := make([]string, n)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // all at the end, so that no two are the same
		_, ports[i], err = net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// writeKey writes a new key, with which the API server signs the tokens of
// service accounts.
func writeKey(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}
