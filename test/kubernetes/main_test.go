package kubernetes

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	root  = "../.."
	chart = root + "/helm/bearergate"
)

var update = flag.Bool("update", false, "write golden files and the chart's README instead of comparing them")

// binaries is where TestMain puts what the tests run.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "bearergate-kubernetes-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	for name, b := range map[string]struct{ dir, pkg string }{
		"helm":       {".", "helm.sh/helm/v4/cmd/helm"},
		"bearergate": {root, "."},
	} {
		if err := build(b.dir, name, b.pkg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// build puts the program of pkg, as the module in dir sees it, among the
// binaries. No symbols: linking them takes longer than the tests that follow.
func build(dir, name, pkg string) error {
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(binaries, name), pkg) //nolint:gosec // fixed arguments
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// egctl is Envoy Gateway's own translator. One test needs it, and it is large.
var egctl = sync.OnceValues(func() (string, error) {
	return filepath.Join(binaries, "egctl"), build(".", "egctl", "github.com/envoyproxy/gateway/cmd/egctl")
})

// execute runs a program and returns what it printed.
func execute(program string, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(program, args...) //nolint:gosec // the tests name the program
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Helm reads no cluster and no settings of whoever runs the tests.
	cmd.Env = append(os.Environ(), "KUBECONFIG=/dev/null", "HELM_CACHE_HOME="+binaries,
		"HELM_CONFIG_HOME="+binaries, "HELM_DATA_HOME="+binaries)
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func helm(args ...string) (stdout, stderr string, err error) {
	return execute(filepath.Join(binaries, "helm"), args...)
}

// template renders the chart the way every case is rendered.
func template(args ...string) (stdout, stderr string, err error) {
	return helm(append([]string{"template", "gate", chart, "--namespace", "security", "--kube-version", "1.33.0"}, args...)...)
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// golden compares got with the file at path, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // not secret
			t.Fatal(err)
		}
		return
	}
	if want := read(t, path); got != want {
		t.Errorf("%s differs; look at it, then run go test -update:\n%s", path, difference(want, got))
	}
}

// difference shows the first lines that differ.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for n := range max(len(w), len(g)) {
		line := func(l []string) string {
			if n < len(l) {
				return l[n]
			}
			return "(end)"
		}
		if line(w) != line(g) {
			return fmt.Sprintf("line %d\n- %s\n+ %s", n+1, line(w), line(g))
		}
	}
	return ""
}

// cases are the value sets of testdata.
func cases(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 12 {
		t.Fatalf("got %d value sets, want at least 12", len(files))
	}
	names := make([]string, len(files))
	for n, f := range files {
		names[n] = filepath.Base(filepath.Dir(f))
	}
	return names
}

func values(name string) string { return filepath.Join("testdata", name, "values.yaml") }

// arguments are what the value set is rendered with: its values, and its
// kube-version where it has one.
func arguments(name string) []string {
	args := []string{"--values", values(name)}
	if version, err := os.ReadFile(filepath.Join("testdata", name, "kube-version")); err == nil {
		args = append(args, "--kube-version", strings.TrimSpace(string(version)))
	}
	return args
}

// manifests are those rendered already: many tests look at the same ones.
var manifests sync.Map

// rendered returns the manifests of a value set.
func rendered(t *testing.T, name string) string {
	t.Helper()
	if known, ok := manifests.Load(name); ok {
		return known.(string)
	}
	out, errs, err := template(arguments(name)...)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	manifests.Store(name, out)
	return out
}
