package service

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/livefile"
)

// watched is a file of which every content that is taken is a configuration
// whose realm it is; "bad" cannot be parsed.
type watched struct {
	*File

	t    *testing.T
	path string
}

func watch(t *testing.T, content string) *watched {
	t.Helper()
	w := &watched{t: t, path: filepath.Join(t.TempDir(), "a.yaml")}
	w.File = NewFile(w.path, func(content []byte) (*config.Config, error) {
		w.write("written while it was parsed") // the bytes in hand are used, not these
		if string(content) == "bad" {
			return nil, errors.New("bad")
		}
		return &config.Config{Authz: authz.Config{Realm: string(content)}}, nil
	})
	w.write(content)
	if cfg, err := w.Load(); err != nil || cfg.Authz.Realm != content {
		t.Fatalf("got %v, %v", cfg, err)
	}
	w.write(content)
	return w
}

func (w *watched) write(content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// run looks as Watch does until something is due, or for the time given, and
// returns what was taken and when.
func (w *watched) run(longest time.Duration) (taken string, after time.Duration) {
	w.t.Helper()
	began := time.Now()
	for {
		if cfg, err := w.look(time.Now()); !errors.Is(err, errNothingNew) {
			if err != nil {
				return "error: " + err.Error(), time.Since(began)
			}
			return cfg.Authz.Realm, time.Since(began)
		}
		if time.Since(began)+w.pause() > longest {
			return "", time.Since(began)
		}
		time.Sleep(w.pause())
	}
}

func TestChangeIsTakenWhenItHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "one")
		if taken, _ := w.run(time.Minute); taken != "" {
			t.Fatalf("got %q without a change", taken)
		}
		w.write("two")
		if taken, after := w.run(time.Minute); taken != "two" || after < livefile.Settle ||
			after > 5*time.Second-watchInterval {
			t.Errorf("got %q after %s, want two after 1 s to 3 s", taken, after)
		}
	})
}

func TestHalfWrittenFileIsNotTaken(t *testing.T) {
	for name, demanded := range map[string]bool{"seen": false, "SIGHUP": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, "whole")
				for _, piece := range []string{"", "h", "ha", "hal", "half"} {
					w.write(piece)
					w.demanded = demanded
					if taken, _ := w.run(900 * time.Millisecond); taken != "" {
						t.Fatalf("took %q", taken)
					}
					time.Sleep(900 * time.Millisecond)
				}
				w.write("half and half")
				w.demanded = demanded
				if taken, _ := w.run(5 * time.Second); taken != "half and half" {
					t.Errorf("got %q", taken)
				}
			})
		})
	}
}

func TestDemandIsMetAtOnceWhileTheFileIsAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "one")
		w.demanded = true
		if taken, after := w.run(time.Minute); taken != "one" || after != 0 {
			t.Errorf("got %q after %s", taken, after)
		}
	})
}

func TestUnusableFileIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, "one")
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		if taken, after := w.run(time.Minute); taken == "" || after < livefile.Settle {
			t.Errorf("got %q after %s, want an error after 1 s", taken, after)
		}
		if taken, _ := w.run(time.Minute); taken != "" {
			t.Errorf("got %q a second time", taken)
		}
		w.write("")
		if taken, _ := w.run(time.Minute); taken != "" {
			t.Errorf("got %q", taken)
		}
		w.write("bad")
		if taken, _ := w.run(time.Minute); taken != "error: bad" {
			t.Errorf("got %q", taken)
		}
	})
}
