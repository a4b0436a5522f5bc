package field_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/field"
)

func TestUnderMovesEveryMistakeBelowThePrefix(t *testing.T) {
	err := field.Under("auth", errors.Join(
		field.Errorf("jwks_uri", "got %q, want https", "http"),
		errors.Join(field.Errorf("[1].name", "empty")),
		errors.New("no path"),
	))
	var got []string
	for _, e := range field.List(err) {
		got = append(got, e.Error())
	}
	want := []string{`auth.jwks_uri: got "http", want https`, `auth[1].name: empty`, `auth: no path`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("moved mistakes (-want +got):\n%s", diff)
	}
}

func TestUnderOfNothingIsNothing(t *testing.T) {
	if err := field.Under("auth", nil); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
