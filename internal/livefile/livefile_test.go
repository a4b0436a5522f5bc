package livefile_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
		expect(t, f, "one") // seen, and not settled yet
		time.Sleep(livefile.Settle)
		expect(t, f, "two")
	})
}

// In the bubble the clock stands long before the files' times of modification,
// so that the bytes alone decide.
func TestHalfWrittenContentIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "secret")
		write(t, path, "good")
		f := open(t, path)
		for _, piece := range []string{"", "n", "ne", "new", "newe"} {
			write(t, path, piece)
			for range 9 { // less than a second
				time.Sleep(100 * time.Millisecond)
				expect(t, f, "good")
			}
		}
		write(t, path, "newest")
		began := time.Now()
		for f.Value() == "good" {
			time.Sleep(10 * time.Millisecond)
		}
		expect(t, f, "newest")
		if took := time.Since(began); took < livefile.Settle || took > 5*time.Second {
			t.Errorf("taken after %s, want 1 s to 5 s", took)
		}
	})
}

func TestChangeThatIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "secret")
		write(t, path, "one")
		f := open(t, path)
		for _, content := range []string{"two", "one", "two"} { // two was never there for a second
			write(t, path, content)
			time.Sleep(livefile.Interval)
			expect(t, f, "one")
		}
	})
}

func TestOldChangeIsTakenAtTheFirstLook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "one")
	synctest.Test(t, func(t *testing.T) {
		f := open(t, path)
		time.Sleep(time.Hour) // nobody asks
		write(t, path, "two")
		before := time.Now().Add(-livefile.Settle)
		if err := os.Chtimes(path, before, before); err != nil {
			t.Fatal(err)
		}
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
		expect(t, f, "one")
		time.Sleep(livefile.Interval)
		expect(t, f, "one")
		time.Sleep(livefile.Settle)
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
			for range 3 {
				time.Sleep(livefile.Interval)
				expect(t, f, "good")
			}
			if f.Problem() == nil {
				t.Error("got no problem")
			}
		}
	})
}

// The problem lasts for as long as the file has it, and no longer.
func TestProblem(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "secret")
		write(t, path, "good")
		f := open(t, path)
		for _, step := range []struct {
			change func()
			want   string // part of the problem; empty: none
		}{
			{func() {}, ""},
			{func() { write(t, path, "") }, path + ": empty"},
			{func() { os.Remove(path) }, "no such file"},
			{func() { write(t, path, "") }, path + ": empty"}, // as it was before it was gone
			{func() { write(t, path, "good") }, ""},
			{func() { os.Remove(path) }, "no such file"},
			{func() { write(t, path, "good") }, ""},
			{func() { write(t, path, "new") }, ""},
		} {
			step.change()
			time.Sleep(livefile.Interval)
			f.Value()
			time.Sleep(livefile.Interval)
			f.Value()
			err := f.Problem()
			if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
				t.Errorf("got problem %v, want %q", err, step.want)
			}
		}
		expect(t, f, "new")
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
