// Package cluster asks a real Kubernetes what the other tests only render.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// server is the API server of all tests, with the CRDs.
var server *apiServer

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp(work, "api-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if server, err = prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.stop()
	return m.Run()
}

// prepare starts the API server and gives it the CRDs.
func prepare(dir string) (*apiServer, error) {
	build := exec.Command("./build.sh", "kube-apiserver")
	build.Stderr = os.Stderr
	programs, err := build.Output()
	if err != nil {
		return nil, fmt.Errorf("build.sh: %w", err)
	}
	s, err := startAPIServer(strings.TrimSpace(string(programs)), dir)
	if err != nil {
		return nil, err
	}
	if work != "" { // a node needs no CRD
		return s, nil
	}
	if err := s.install(context.Background()); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// install stores the CRDs. The API server serves their kinds a moment later.
func (s *apiServer) install(ctx context.Context) error {
	definitions, err := crds()
	if err != nil {
		return err
	}
	for _, crd := range definitions {
		if err := s.apply(ctx, crd, false); err != nil {
			return fmt.Errorf("%s: %w", crd, err)
		}
	}
	return nil
}

// shipped are the manifests of this repository.
func shipped(t *testing.T) []string {
	t.Helper()
	goldens, err := filepath.Glob("../kubernetes/testdata/*/golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(goldens) < 12 {
		t.Fatalf("got %d goldens, want at least 12", len(goldens))
	}
	return append(goldens,
		root+"/envoy/config/istio-gateway.yaml",
		root+"/envoy/config/istio-sidecar.yaml",
		root+"/envoy/config/envoy-gateway.yaml",
	)
}

// TestShippedManifestsAreAccepted lets the API server validate every object,
// its own kinds and those of the CRDs with their CEL rules, under the security
// level restricted and without a field that it does not know.
func TestShippedManifestsAreAccepted(t *testing.T) {
	for _, file := range shipped(t) {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "../kubernetes/testdata/"), "/golden.yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			objects, err := parseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(objects) == 0 {
				t.Fatal("got no object")
			}
			runtimeClass(t)
			for _, o := range objects {
				restricted(t, o.namespace())
				if err := accepted(t, o); err != nil {
					t.Errorf("%s: %v", o, err)
				}
			}
		})
	}
}

// TestOthersAreRefused proves that the API server looks: each is a manifest as
// above with one mistake.
func TestOthersAreRefused(t *testing.T) {
	tests := []struct{ name, golden, kind, old, replacement, want string }{
		{"unknown field", "minimal", "Deployment", "replicas:", "replica:", "replica"},
		{"wrong type", "minimal", "Service", "port: 9191", "port: grpc", "port"},
		{"privileged", "minimal", "Deployment", "runAsNonRoot: true", "runAsNonRoot: false", "restricted"},
		{"unknown field of a CRD", "envoy-gateway", "SecurityPolicy", "failOpen:", "openFail:", "openFail"},
		{"wrong value of a CRD", "istio", "AuthorizationPolicy", "action: CUSTOM", "action: ASK", "spec.action"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := find(t, "../kubernetes/testdata/"+test.golden+"/golden.yaml", test.kind)
			restricted(t, o.namespace())
			if !strings.Contains(o.text, test.old) {
				t.Fatalf("got no %q in %s", test.old, o)
			}
			o.text = strings.ReplaceAll(o.text, test.old, test.replacement)
			err := accepted(t, o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

// find returns the first object of a kind.
func find(t *testing.T, file, kind string) object {
	t.Helper()
	objects, err := parseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.Kind == kind {
			return o
		}
	}
	t.Fatalf("got no %s in %s", kind, file)
	return object{}
}

// runtimeClass is what a golden names, and the API server looks up.
func runtimeClass(t *testing.T) {
	t.Helper()
	apply(t, "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: gvisor}, handler: runsc}")
}

// restricted makes a namespace that warns about and refuses what is not.
func restricted(t *testing.T, name string) {
	t.Helper()
	namespace := object{APIVersion: "v1", Kind: "Namespace", text: `apiVersion: v1
kind: Namespace
metadata:
  name: ` + name + `
  labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}
`}
	namespace.Metadata.Name = name
	if err := server.apply(t.Context(), namespace, false); err != nil {
		t.Fatal(err)
	}
}

// accepted returns what the API server has against an object. A kind whose CRD
// was stored a moment ago is waited for.
func accepted(t *testing.T, o object) error {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := server.apply(t.Context(), o, true)
		if !errors.Is(err, errUnknownKind) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}
