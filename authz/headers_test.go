package authz

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/validation"
)

func TestHeaderValues(t *testing.T) { // docs/contract.md §5, E-09, A-18
	claims := map[string]any{
		"text": "a b", "inject": "a\r\nx-admin: 1", "percent": "100%", "umlaut": "ä", "edge": " a ", "number": json.Number("1.50"),
		"yes": true, "list": []any{"a", json.Number("2"), "b c"}, "object": map[string]any{"deep": "x", "list": []any{}},
		"null": nil, "empty": "", "mixed": []any{map[string]any{}}, "https://a.b/c": "url", "ctl": "a\x00\x7f", "roles": []any{"user admin", "x"}, "role": "user admin",
		"kubernetes.io": map[string]any{"namespace": "ns", "pod": map[string]any{"name": "p", "app.kubernetes.io/name": "orders"}},
		"a.b":           map[string]any{"c": "longest"},
		"a":             map[string]any{"b": map[string]any{"c": "shorter", "d": "deep"}, "null": "behind null"},
		"a.null":        nil,
	}
	for claim, want := range map[string]string{
		"text": "a b", "inject": "a%0D%0Ax-admin: 1", "percent": "100%25", "umlaut": "%C3%A4", "edge": "%20a%20", "number": "1.50",
		"yes": "true", "list": "a 2 b%20c", "object": "", "object.deep": "x", "object.list": "", "null": "", "empty": "", "missing": "",
		"mixed": "", "https://a.b/c": "url", "ctl": "a%00%7F", "roles": "user%20admin x", "role": "user admin",
		"kubernetes.io.namespace": "ns", "kubernetes.io.pod.name": "p", "kubernetes.io.pod.app.kubernetes.io/name": "orders", "kubernetes.io": "", "kubernetes": "",
		"a.b.c": "longest", "a.b.d": "deep", "a.b.e": "", "a.null": "behind null", ".": "", "a.": "", ".a": "", "text.deep": "", "sub": "s%25", "scope": "r w", "client_id": "c",
	} {
		in := newInjector(map[string]string{"X-H": claim}, nil, false)
		set, remove := in.changes(&validation.Token{Subject: "s%", Scopes: []string{"r", "w"}, ClientID: "c", Claims: claimsOf(claims)}, HeaderValue{})
		got := ""
		if len(set) == 1 {
			got = set[0].Value
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", claim, got, want)
		}
		if slices.Contains(remove, "x-h") == (want != "") || !slices.Contains(remove, "authorization") ||
			!slices.Contains(remove, "x_h") {
			t.Errorf("%s: removes %v", claim, remove) // E-02, E-03
		}
	}
}

func TestChangesWithoutToken(t *testing.T) {
	in := newInjector(map[string]string{"x-a": "a", "b": "sub"}, nil, false)
	set, remove := in.changes(nil, HeaderValue{})
	if diff := cmp.Diff([]string{"authorization", "b", "x-a", "x_a"}, slices.Sorted(slices.Values(remove))); diff != "" || len(set) > 0 {
		t.Errorf("sets %v, %s", set, diff)
	}
	_, some := in.changes(&validation.Token{Subject: "s"}, HeaderValue{})
	if slices.Contains(some, "b") || !slices.Contains(some, "x-a") {
		t.Errorf("removes %v", some)
	}
}

func TestChangesDoNotShare(t *testing.T) {
	in := newInjector(map[string]string{"x-a": "a", "x-b": "b", "x-c": "c"}, nil, true) // three spellings leave room in their list
	_, first := in.changes(&validation.Token{Claims: claimsOf(map[string]any{"b": "1"})}, HeaderValue{})
	_, second := in.changes(&validation.Token{Claims: claimsOf(map[string]any{"a": "1"})}, HeaderValue{})
	if !slices.Contains(first, "x-a") || slices.Contains(first, "x-b") || !slices.Contains(second, "x-b") {
		t.Errorf("got %v and %v", first, second)
	}
}
