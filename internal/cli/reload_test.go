package cli

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asBearergate makes the test binary the command itself.
const asBearergate = "BEARERGATE_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asBearergate) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		status := Run(ctx, build, os.Args[1:], os.Stdout, os.Stderr)
		stop()
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// lines collects what a process writes.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// The configuration is a FIFO: when somebody reads it, the process is at the
// beginning of its start, and it stays there until all is written.
func TestHangUpDuringStartReloadsAfterIt(t *testing.T) {
	as := issuer(t)
	content := "server: {grpc_address: '127.0.0.1:0', admin_address: '127.0.0.1:0'}\n" +
		"auth: {issuer: '" + as.URL() + "', audience: api, insecure_http: true}\n"
	dir := files(t, map[string]string{"regular.yaml": content})
	path := filepath.Join(dir, "a.yaml")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var out lines
	cmd := exec.Command(os.Args[0], "serve", "--config="+path)
	cmd.Env = append(os.Environ(), asBearergate+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := os.Rename(filepath.Join(dir, "regular.yaml"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(writer, content); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for ; !strings.Contains(out.String(), "configuration reloaded"); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v\n%s", err, &out)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not reloaded\n%s", &out)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("got %v, want a clean end\n%s", err, &out)
	}
}
