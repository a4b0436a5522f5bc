package compose

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	repository = "../.."
	megabyte   = 1_000_000
)

// inspected is what the engine knows about an image.
type inspected struct {
	Architecture string
	Size         int64
	RootFS       struct{ Layers []string }
	Config       struct {
		User            string
		Entrypoint, Cmd []string
		Env             []string
		Labels          map[string]string
		Healthcheck     struct{ Test []string }
	}
}

func inspect(t *testing.T, image string) inspected {
	t.Helper()
	var all []inspected
	if err := json.Unmarshal([]byte(docker(t, "image", "inspect", image)), &all); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func TestImageIsWhatAnOperatorExpects(t *testing.T) {
	got := inspect(t, "bearergate")
	if got.Config.User != "65532:65532" {
		t.Errorf("user: got %q, want 65532:65532", got.Config.User)
	}
	if want := []string{"CMD", "/bearergate", "health"}; !slices.Equal(got.Config.Healthcheck.Test, want) {
		t.Errorf("health check: got %q, want %q", got.Config.Healthcheck.Test, want)
	}
	for label, want := range map[string]string{
		"version": version, "revision": commit, "licenses": "Apache-2.0", "title": "Bearergate",
		"source": "https://github.com/bearergate/bearergate",
	} {
		if value := got.Config.Labels["org.opencontainers.image."+label]; value != want {
			t.Errorf("label %s: got %q, want %q", label, value, want)
		}
	}
	out := docker(t, "run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", "bearergate", "version")
	if !strings.Contains(out, version) || !strings.Contains(out, commit) {
		t.Errorf("version: got %q, want %s and %s", out, version, commit)
	}
}

// Whoever starts the image without a configuration is told what it needs.
func TestImageWithoutConfigurationSaysWhatToDo(t *testing.T) {
	out, err := exec.Command("docker", "run", "--rm", "--network", "none", "bearergate").CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 {
		t.Errorf("got %v, want exit status 1", err)
	}
	for _, want := range []string{"-v ./bearergate.yaml:/etc/bearergate/bearergate.yaml", "BEARERGATE_CONFIG"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("got %q, want %s in it", out, want)
		}
	}
}

// What a node fetches is compressed; the size on its disk is logged beside it.
func TestImageIsSmall(t *testing.T) {
	cmd := exec.Command("docker", "save", "bearergate")
	var size counter
	compressed := gzip.NewWriter(&size)
	cmd.Stdout = compressed
	if err := errors.Join(cmd.Run(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	unpacked := inspect(t, "bearergate").Size
	t.Logf("%.1f MB to fetch, %.1f MB on disk", float64(size)/megabyte, float64(unpacked)/megabyte)
	if unpacked >= 50*megabyte { // the client of the shared store is ten of them
		t.Errorf("size on disk: got %d bytes, want less than 50 MB", unpacked)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestImageHoldsTheBinaryAndTrustAnchors(t *testing.T) {
	files := contents(t, "bearergate")
	want := []string{"bearergate", "etc/ssl/certs/ca-certificates.crt", "licenses/LICENSE"}
	var got []string
	for name := range files {
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("files: got %q, want %q", got, want)
	}
	if !bytes.Contains(files["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")) {
		t.Error("no trust anchors")
	}
	isStatic(t, files["bearergate"])
}

func isStatic(t *testing.T, binary []byte) {
	t.Helper()
	program, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary wants a dynamic linker")
		}
	}
}

// contents returns the files of an image that are not empty: the engine adds
// empty ones to each container.
func contents(t *testing.T, image string) map[string][]byte {
	t.Helper()
	id := docker(t, "create", image)
	defer docker(t, "rm", id)
	exported, err := exec.Command("docker", "export", id).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(bytes.NewReader(exported)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg || header.Size == 0 {
			continue
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// A second build gives the same layers, to the byte and to the time of each
// file. What is compiled anew for it is linked alone: the next test compares
// with another compilation.
func TestImageIsReproducible(t *testing.T) {
	buildImage(t, "bearergate:again", "--no-cache")
	first, again := inspect(t, "bearergate"), inspect(t, "bearergate:again")
	if !slices.Equal(first.RootFS.Layers, again.RootFS.Layers) {
		t.Errorf("layers: got %q, want those of the first build %q", again.RootFS.Layers, first.RootFS.Layers)
	}
}

// The same Go version outside of the image, in another directory and with a
// cache of its own, gives the same binary: anybody can check what the image holds.
func TestBinaryIsReproducibleOutsideTheImage(t *testing.T) {
	inImage := contents(t, "bearergate")["bearergate"]
	info, err := buildinfo.Read(bytes.NewReader(inImage))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("make", "build", "VERSION="+version, "COMMIT="+commit)
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+info.GoVersion)
	if runtime.Version() == info.GoVersion {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN=local")
	}
	if out, err := output(cmd); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	outside, err := os.ReadFile(filepath.Join(repository, "bin", "bearergate"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sha256.Sum256(outside), sha256.Sum256(inImage); got != want {
		t.Errorf("SHA-256: got %x, want that of the image %x", got, want)
	}
}

func TestImageForARM64(t *testing.T) {
	t.Parallel()
	buildImage(t, "bearergate:arm64", "--platform", "linux/arm64")
	if got := inspect(t, "bearergate:arm64").Architecture; got != "arm64" {
		t.Errorf("architecture: got %s, want arm64", got)
	}
	binary := contents(t, "bearergate:arm64")["bearergate"]
	isStatic(t, binary)
	program, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if program.Machine != elf.EM_AARCH64 {
		t.Errorf("machine: got %s, want %s", program.Machine, elf.EM_AARCH64)
	}
}

func buildImage(t *testing.T, tag string, args ...string) {
	t.Helper()
	t.Cleanup(func() { docker(t, "image", "rm", "--no-prune", tag) })
	began := time.Now()
	build := []string{"build", "--tag", tag, "--build-arg", "VERSION=" + version, "--build-arg", "COMMIT=" + commit}
	if goImage := os.Getenv("GO_IMAGE"); goImage != "" {
		build = append(build, "--build-arg", "GO_IMAGE="+goImage)
	}
	docker(t, append(append(build, repository), args...)...)
	t.Logf("built in %s", time.Since(began).Round(time.Second))
}
