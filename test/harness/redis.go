package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var redisBinary = sync.OnceValues(func() (string, error) {
	cmd := exec.Command(filepath.Join(root(), "test", "tools", "redis.sh"))
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	return strings.TrimSpace(string(path)), err
})

// RedisBinary returns a real redis-server, and skips the test where none can be had.
func RedisBinary(t testing.TB) string {
	t.Helper()
	binary, err := redisBinary()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skip("left out: no Redis can be had here")
	}
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// Redis is a running redis-server, which writes nothing to disk unless told to.
type Redis struct {
	*Process

	Address string
	Folder  string // where it writes dump.rdb

	arguments []string
}

// StartRedis starts a real redis-server; arguments are directives of its configuration
// with two dashes, and their values.
func StartRedis(t testing.TB, arguments ...string) *Redis {
	t.Helper()
	r := &Redis{Address: Free(t), Folder: t.TempDir(), arguments: arguments}
	r.Start(t)
	return r
}

// Start starts it again, where it was.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	binary := RedisBinary(t)
	_, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		t.Fatal(err)
	}
	arguments := []string{
		"--bind", "127.0.0.1", "--port", port, "--dir", r.Folder, "--save", "",
		"--rdbcompression", "no", "--protected-mode", "no",
	}
	r.Process = Run(t, nil, binary, append(arguments, r.arguments...)...)
	Eventually(t, "Redis answers", func() bool {
		conn, err := net.Dial("tcp", r.Address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// Do sends one command over a connection of its own, and returns the answer: a string,
// an int64, nil, or a []any of these. An error of Redis ends the test.
func (r *Redis) Do(t testing.TB, command ...string) any {
	t.Helper()
	answer, err := r.Try(command...)
	if err != nil {
		t.Fatalf("%s: %v", command[0], err)
	}
	return answer
}

// Try is [Redis.Do], and returns the error.
func (r *Redis) Try(command ...string) (any, error) {
	conn, err := net.Dial("tcp", r.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return (&Session{conn, bufio.NewReader(conn)}).Try(command...)
}

// readAnswer reads RESP2.
func readAnswer(from *bufio.Reader) (any, error) {
	line, err := from.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, text := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '+':
		return text, nil
	case '-':
		return nil, fmt.Errorf("got the error %q", text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || kind == ':' || n < 0 {
		if n < 0 && kind != ':' {
			return nil, nil
		}
		return n, err
	}
	if kind == '$' {
		content := make([]byte, n+2)
		_, err := io.ReadFull(from, content)
		return string(content[:n]), err
	}
	all := make([]any, n)
	for i := range all {
		if all[i], err = readAnswer(from); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Keys returns the names of all that is stored.
func (r *Redis) Keys(t testing.TB) []string {
	t.Helper()
	list, _ := r.Do(t, "KEYS", "*").([]any)
	names := make([]string, len(list))
	for i, name := range list {
		names[i], _ = name.(string)
	}
	return names
}

// Bytes returns everything that is stored, as Redis writes it to disk.
func (r *Redis) Bytes(t testing.TB) []byte {
	t.Helper()
	r.Do(t, "SAVE")
	content, err := os.ReadFile(filepath.Join(r.Folder, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Session is a connection that stays open, and keeps the rights that it had at first.
type Session struct {
	conn net.Conn
	from *bufio.Reader
}

// Open opens one.
func (r *Redis) Open(t testing.TB) *Session {
	t.Helper()
	conn, err := net.Dial("tcp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Session{conn, bufio.NewReader(conn)}
}

// Try sends one command, and returns the answer or the error.
func (s *Session) Try(command ...string) (any, error) {
	_ = s.conn.SetDeadline(time.Now().Add(startTimeout))
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := s.conn.Write([]byte(request.String())); err != nil {
		return nil, err
	}
	return readAnswer(s.from)
}
