package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issuer is that of the API server here, which a cluster's own domain follows elsewhere.
const issuer = "https://kubernetes.default.svc"

// accountToken returns a token of a service account, as a Pod gets it.
func accountToken(t *testing.T, namespace, name string, audiences ...string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"spec": map[string]any{"audiences": audiences, "expirationSeconds": 600},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/namespaces/" + namespace + "/serviceaccounts/" + name + "/token"
	answer, err := server.do(t.Context(), http.MethodPost, path, "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	var request struct{ Status struct{ Token string } }
	if err := json.Unmarshal(answer, &request); err != nil || request.Status.Token == "" {
		t.Fatalf("got %v and no token", err)
	}
	return request.Status.Token
}

func keep(t *testing.T, stream string) {
	t.Helper()
	objects, err := parse(stream)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := server.apply(t.Context(), o, false); err != nil {
			t.Fatalf("%s: %v", o, err)
		}
		path, err := server.path(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.remove(context.WithoutCancel(t.Context()), path) }) // the server ends anyway
	}
}

// TestServiceAccountTokens: tokens of a real API server, by both examples of
// docs/workload-identity, with its keys over the network and in a file.
func TestServiceAccountTokens(t *testing.T) {
	keep(t, `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: audit}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reporter, namespace: audit}
`)
	keys, err := server.get(t.Context(), "/openid/v1/jwks")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer(
		"issuer: https://kubernetes.default.svc.cluster.local", "issuer: "+issuer,
		"https://kubernetes.default.svc/", server.url+"/",
		"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", server.certificate,
		"/etc/bearergate/keys/jwks.json", file,
	)
	dir := t.TempDir()
	example := func(name string) (path string) {
		content, err := os.ReadFile(filepath.Join(root, "docs", "workload-identity", name))
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(here.Replace(string(content))), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	network, airGapped := example("kubernetes.yaml"), example("kubernetes-air-gapped.yaml")
	gate := buildGate(t)

	// Without a login nobody gets the metadata, and the error says where it was asked.
	refused := server.url + "/.well-known/openid-configuration: got status 403"
	if output, err := gate("validate", "--online", "--config", network); err == nil || !strings.Contains(output, refused) {
		t.Errorf("got %v and %s, want %q before the binding", err, output, refused)
	}
	keep(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: issuer-discovery}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:service-account-issuer-discovery"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:unauthenticated"}]
`)
	// The API server knows of the binding a moment later.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		output, err := gate("validate", "--online", "--config", network)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v: %s", err, output)
		}
	}
	output, err := gate("validate", "--online", "--config", airGapped)
	if err != nil || !strings.Contains(output, "keys: read from "+file) {
		t.Errorf("got %v and %s", err, output)
	}

	shop := accountToken(t, "shop", "web", "orders-api")
	for name, tc := range map[string]struct{ token, path, want string }{
		"for us":               {shop, "/orders/1", "allowed"},
		"for us and others":    {accountToken(t, "shop", "web", "other", "orders-api"), "/orders/1", "allowed"},
		"for the API server":   {accountToken(t, "shop", "web", issuer), "/orders/1", "wrong_audience"},
		"of another namespace": {accountToken(t, "audit", "reporter", "orders-api"), "/orders/1", "forbidden"},
		"nowhere":              {shop, "/", "forbidden"},
	} {
		for kind, config := range map[string]string{"network": network, "file": airGapped} {
			if got := decide(t, gate, config, tc.token, tc.path); got.Reason != tc.want {
				t.Errorf("%s, keys by %s: got %s, want %s", name, kind, got.Reason, tc.want)
			}
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, decide(t, gate, network, shop, "/orders/1").Response); err != nil {
		t.Fatal(err)
	}
	answer := compact.String()
	for header, value := range map[string]string{
		"x-auth-sub": "system:serviceaccount:shop:web", "x-auth-namespace": "shop", "x-auth-service-account": "web",
	} {
		if want := fmt.Sprintf(`"key":%q,"value":%q`, header, value); !strings.Contains(answer, want) {
			t.Errorf("got no %s in %s", want, answer)
		}
	}
	reporter := accountToken(t, "audit", "reporter", "orders-api")
	if got := decide(t, gate, network, reporter, "/reports/1"); got.Reason != "allowed" {
		t.Errorf("got %s for an account by its name", got.Reason)
	}
}

// buildGate returns what runs the program, and what it wrote.
func buildGate(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "bearergate")
	build := exec.Command("go", "build", "-C", root, "-o", program, ".")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return func(args ...string) (string, error) {
		output, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		return string(output), err
	}
}

// decision is what explain says of a request.
type decision struct {
	Reason   string          `json:"reason"`
	Response json.RawMessage `json:"response"`
}

func decide(t *testing.T, gate func(...string) (string, error), config, token, path string) decision {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	output, _ := gate("explain", "--config", config, "--token-file", file, "--path", path, "--output", "json")
	var got decision
	if err := json.Unmarshal([]byte(output), &got); err != nil { // of a deny the exit status is not zero
		t.Fatalf("%v in %s", err, output)
	}
	return got
}
