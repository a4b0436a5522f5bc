package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestHarness measures a moment of each row with the built binary, and says
// nothing about how fast it is: what is proven is that the measuring works.
func TestHarness(t *testing.T) {
	dir := t.TempDir()
	binary, noop, bench := build(t, dir, "../../.."), build(t, dir, "../noop"), build(t, dir, ".")
	build(t, dir, "../loader")
	build(t, dir, "../issuer")
	chart := filepath.Join(dir, "chart.svg")
	// A process of its own: with the race detector the loader would be what is waited for.
	output, err := exec.CommandContext(t.Context(), bench, "-long", "-small", "-repetitions", "1", "-seconds", "0.1",
		"-binary", binary, "-noop", noop, "-out", dir, "-chart", chart).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, r := range rows() {
		if !strings.Contains(string(output), "\n"+r.title+" ") {
			t.Errorf("got no line %q in the table", r.title)
		}
	}
	if !strings.Contains(string(output), " introspection calls ") {
		t.Errorf("got\n%s\nwant the introspection calls of the stampede", output)
	}
	if _, err := os.Stat(chart); err != nil {
		t.Error(err)
	}
	written, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(written) != 1 {
		t.Errorf("got the files %q, want one with the numbers", written)
	}
}

// TestOptions are the flags that cannot be measured with.
func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"-rows", "("}, {"-repetitions", "0"}, {"-seconds", "0"}, {"-unknown"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q: got no error", args)
		}
	}
	o, err := parse([]string{"-rows", "warm-jwt|new-.*"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range o.chosen() {
		got = append(got, r.name)
	}
	if want := "warm-jwt new-rs256 new-es256 new-eddsa"; strings.Join(got, " ") != want {
		t.Errorf("got the rows %q, want %s", got, want)
	}
}

// build builds the command in a folder, which may be of another module.
func build(t *testing.T, dir, folder string) string {
	t.Helper()
	absolute, err := filepath.Abs(folder)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, filepath.Base(absolute)+".bin")
	cmd := exec.Command("go", "build", "-o", binary, ".")
	cmd.Dir = absolute
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return binary
}
