package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/test/bench/mint"
	"github.com/bearergate/bearergate/test/harness"
)

// TestHarness measures a moment of each row through a real Envoy, and says
// nothing about how fast it is.
func TestHarness(t *testing.T) {
	dir := t.TempDir()
	binary, noop, bench := build(t, dir, "../../.."), build(t, dir, "../noop"), build(t, dir, ".")
	output, err := exec.CommandContext(t.Context(), bench, "-envoy", harness.EnvoyBinary(t), "-binary", binary,
		"-noop", noop, "-library", harness.Library(t), "-repetitions", "1", "-seconds", "0.1", "-tokens", "100", "-out", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, r := range rows() {
		if !strings.Contains(string(output), "\n"+r.title+" ") {
			t.Errorf("got no line %q in the table", r.title)
		}
	}
	if written, err := filepath.Glob(filepath.Join(dir, "envoy-*.json")); err != nil || len(written) != 1 {
		t.Errorf("got the files %q, want one with the numbers", written)
	}
}

// A row that leaves a setting out says nothing if the shipped chain has no such
// setting any more.
func TestRowsAreAboutSettingsOfTheShippedChain(t *testing.T) {
	issuer, err := mint.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer issuer.Close()
	addresses := chains.Addresses{
		Listener: "127.0.0.1:1", Bearergate: "127.0.0.1:2", Upstream: "127.0.0.1:3", Admin: "127.0.0.1:4",
	}
	of := func(name string) string {
		for _, r := range rows() {
			if r.name == name {
				content, err := bootstrap(r, addresses, issuer)
				if err != nil {
					t.Fatal(err)
				}
				return string(content)
			}
		}
		t.Fatalf("no row %s", name)
		return ""
	}
	for _, r := range rows() {
		setting, found := strings.CutPrefix(r.name, "without-")
		if !found || setting == "cluster-stats" {
			continue
		}
		if !strings.Contains(of("bearergate"), setting+":") || strings.Contains(of(r.name), setting+":") {
			t.Errorf("%s: want the setting in the shipped chain, and not in this row's", r.name)
		}
	}
	if !strings.Contains(of("bearergate"), "allowed_headers:") ||
		strings.Contains(of("bearergate-all-headers"), "allowed_headers:") {
		t.Error("want allowed_headers in the shipped chain, and not in the row of all headers")
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
