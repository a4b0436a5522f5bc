package recovered_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/recovered"
)

func TestResultsPass(t *testing.T) {
	want := errors.New("no luck")
	got, err := recovered.Call(func() (int, error) { return 7, want })
	if got != 7 || err != want { //nolint:errorlint // the very same one
		t.Errorf("got %d and %v, want 7 and %v", got, err, want)
	}
}

func TestPanicIsAnErrorWithoutItsValue(t *testing.T) {
	got, err := recovered.Call(func() (int, error) { panic("s3cret") })
	var panicked *recovered.Error
	if got != 0 || !errors.As(err, &panicked) {
		t.Fatalf("got %d and %v, want 0 and a panic", got, err)
	}
	if text := err.Error(); strings.Contains(text, "s3cret") || !strings.HasPrefix(text, "panic: string\n") ||
		!strings.Contains(text, "recovered_test.go") {
		t.Errorf("got %s, want type and place of the panic and nothing else", text)
	}
}
