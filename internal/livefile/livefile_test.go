package livefile_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearergate/bearergate/internal/livefile"
)

func parse(content []byte) (string, error) {
	if len(content) == 0 {
		return "", errors.New("empty")
	}
	return string(content), nil
}

func TestContentIsReadAgainAfterTheInterval(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "secret")
		write(t, path, "one")
		f := open(t, path)
		write(t, path, "two")
		expect(t, f, "one")
		time.Sleep(livefile.Interval)
		expect(t, f, "two")
	})
}

func TestSymlinkSwapIsSeen(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		one, two, link := filepath.Join(dir, "1"), filepath.Join(dir, "2"), filepath.Join(dir, "link")
		write(t, one, "one")
		write(t, two, "two")
		if err := os.Symlink(one, link); err != nil {
			t.Fatal(err)
		}
		f := open(t, link)
		if err := errors.Join(os.Symlink(two, link+".new"), os.Rename(link+".new", link)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(livefile.Interval)
		expect(t, f, "two")
	})
}

func TestUnusableContentKeepsTheLastGood(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "secret")
		write(t, path, "good")
		f := open(t, path)
		for _, change := range []func(){
			func() { write(t, path, "") },
			func() { write(t, path, string(make([]byte, 1<<20+1))) },
			func() { os.Remove(path) },
		} {
			change()
			time.Sleep(livefile.Interval)
			expect(t, f, "good")
		}
	})
}

func TestOpenReportsWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing")
	if _, err := livefile.Open(path, slog.New(slog.DiscardHandler), parse); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

func open(t *testing.T, path string) *livefile.File[string] {
	t.Helper()
	f, err := livefile.Open(path, slog.New(slog.DiscardHandler), parse)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, f *livefile.File[string], want string) {
	t.Helper()
	if got := f.Value(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
