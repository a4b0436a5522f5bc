package authz

import (
	"testing"
)

func TestScopeImplication(t *testing.T) { // I-07, M-14
	m := closeOver(map[string][]string{"admin": {"write"}, "write": {"read"}, "a": {"b"}, "b": {"a"}})
	for _, tc := range []struct {
		granted, demanded []string
		want              bool
	}{
		{nil, nil, true},
		{[]string{"read"}, []string{"read"}, true},
		{[]string{"admin"}, []string{"read", "write"}, true},
		{[]string{"read"}, []string{"write"}, false},
		{[]string{"a"}, []string{"b", "a"}, true},
		{[]string{"reader"}, []string{"read"}, false},
		{[]string{"READ"}, []string{"read"}, false},
		{nil, []string{"read"}, false},
	} {
		if got := m.grants(tc.granted, tc.demanded); got != tc.want {
			t.Errorf("%v for %v: got %v", tc.granted, tc.demanded, got)
		}
	}
}
