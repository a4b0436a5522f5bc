package authz

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// pick returns up to most members of a list, in any order; nil is none.
func pick(r *rand.Rand, most int, from ...string) []string {
	var all []string
	for range r.IntN(most + 1) {
		all = append(all, from[r.IntN(len(from))])
	}
	return all
}

// randomPath has few segments to choose from, so that patterns overlap.
func randomPath(r *rand.Rand, segments ...string) string {
	return "/" + strings.Join(pick(r, 4, segments...), "/")
}

func randomMatch(r *rand.Rand) *Match {
	if r.IntN(10) == 0 {
		return nil
	}
	m := &Match{
		Methods: pick(r, 2, "GET", "POST", "PUT"), Hosts: pick(r, 3, "a.example.com", "b.example.com", "[::1]"),
		IgnoreCase: r.IntN(4) == 0,
	}
	for range r.IntN(4) {
		path := randomPath(r, "*", "*", "a", "A", "b", "C-%3f", "%C3%BC")
		switch r.IntN(4) {
		case 0:
			path = strings.TrimSuffix(path, "/") + "/**"
		case 1:
			path = strings.TrimSuffix(path, "/") + "/"
		}
		m.Paths = append(m.Paths, path)
	}
	if m.Paths == nil && m.Methods == nil && m.Hosts == nil {
		m.Paths = []string{"/**"}
	}
	return m
}

// FuzzIndex holds the index against a look at every rule, in order.
func FuzzIndex(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, "/a/"+strings.Repeat("B", int(seed)))
	}
	f.Fuzz(func(t *testing.T, seed uint64, target string) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := Config{Realm: "r", DefaultAccess: "token"}
		for n := range 1 + r.IntN(30) {
			c.Rules = append(c.Rules, Rule{Name: fmt.Sprint(n), Match: randomMatch(r)})
		}
		p, err := newPolicy(c)
		if err != nil {
			t.Fatal(err)
		}
		targets := []string{target}
		for range 100 {
			targets = append(targets, randomPath(r, "a", "A", "b", "B", "c-%3F", "%c3%bc", "x"))
		}
		for _, target := range targets {
			path, err := normalPath(target, false)
			if err != nil {
				continue
			}
			for _, method := range []string{"GET", "POST", "DELETE"} {
				for _, host := range []string{"", "a.example.com", "b.example.com", "[::1]", "c.example.com"} {
					want := slices.IndexFunc(p.rules, func(r *rule) bool { return r.mismatch(method, host, path) == "" })
					if want < 0 {
						want = len(p.rules)
					}
					if got := p.index.find(method, host, path); got != want {
						t.Errorf("%s %s%s: got rule %d, want %d of %d", method, host, path, got, want, len(p.rules))
					}
				}
			}
		}
	})
}

// TestIndexWithoutPath: an ambiguous path that is allowed is none, and no rule looks at it.
func TestIndexWithoutPath(t *testing.T) {
	p, err := newPolicy(Config{Realm: "r", DefaultAccess: "token", AmbiguousPaths: pathsAllowed, Rules: []Rule{
		{Name: "named"},
		{Name: "put", Match: &Match{Methods: []string{"PUT"}}},
		{Name: "host", Match: &Match{Hosts: []string{"h"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]int{"PUT": 1, "GET": 2} {
		if got := p.index.find(method, "h", ""); got != want {
			t.Errorf("%s: got rule %d, want %d", method, got, want)
		}
	}
	if got := p.index.find("GET", "other", ""); got != 3 {
		t.Errorf("got rule %d, want none", got)
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	p, err := newPolicy(Config{Realm: "r", DefaultAccess: "token", Rules: []Rule{
		{Name: "folded", Match: &Match{Paths: []string{"/Orders/*/Items"}, IgnoreCase: true}},
		{Name: "exact", Match: &Match{Paths: []string{"/orders/*/**"}, Hosts: []string{"h"}, Methods: []string{"GET"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/ORDERS/1/items": 0, "/orders/1/other/things": 1, "/none": 2} {
		if got := p.index.find("GET", "h", path); got != want {
			t.Errorf("%s: got rule %d, want %d", path, got, want)
		}
		if n := testing.AllocsPerRun(100, func() { p.index.find("GET", "h", path) }); n != 0 {
			t.Errorf("%s: got %v allocations", path, n)
		}
	}
}

// TestManyRulesTakeTheTimeOfAFew: the last of 10,000 rules is found about as soon as that of five.
func TestManyRulesTakeTheTimeOfAFew(t *testing.T) {
	took := map[int]time.Duration{}
	for _, n := range []int{5, 10_000} {
		c := Config{Realm: "r", DefaultAccess: "token"}
		for i := range n {
			c.Rules = append(c.Rules, Rule{Name: fmt.Sprint(i), Match: &Match{
				Paths: []string{fmt.Sprintf("/service-%d/orders/*/items", i), fmt.Sprintf("/service-%d/public/**", i)},
				Hosts: []string{"shared.example.com", fmt.Sprintf("host-%d.example.com", i%50)}, Methods: []string{"GET"},
			}})
		}
		p, err := newPolicy(c)
		if err != nil {
			t.Fatal(err)
		}
		before := cpu(t)
		for range 20_000 {
			if got := p.index.find("GET", "shared.example.com", fmt.Sprintf("/service-%d/orders/1/items", n-1)); got != n-1 {
				t.Fatalf("got rule %d, want the last of %d", got, n)
			}
		}
		took[n] = cpu(t) - before
	}
	t.Logf("20,000 times: %s with 5 rules, %s with 10,000", took[5], took[10_000])
	if took[10_000] > 30*took[5] { // one after the other takes a thousand times as long
		t.Errorf("got %s with 10,000 rules, %s with 5", took[10_000], took[5])
	}
}

// crossed are as many patterns as there are ways to write a path of so many
// segments with "a" and "*": all of them fit /a/a/…, which is the most that an
// index can be led astray.
func crossed(segments int) Config {
	c := Config{Realm: "r", DefaultAccess: "token"}
	for n := range 1 << segments {
		var path strings.Builder
		for i := range segments {
			path.WriteString([]string{"/a", "/*"}[n>>i&1])
		}
		c.Rules = append(c.Rules, Rule{Name: fmt.Sprint(n), Match: &Match{
			Paths: []string{path.String()}, Methods: []string{"PUT"},
		}})
	}
	return c
}

// TestIndexIsBounded: the worst patterns cost no more than a look at every rule.
func TestIndexIsBounded(t *testing.T) {
	const segments = 13
	p, err := newPolicy(crossed(segments))
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Repeat("/a", segments)
	var byIndex, byScan time.Duration
	for range 20 {
		start := cpu(t)
		if got := p.index.find("GET", "h", path); got != len(p.rules) {
			t.Fatalf("got rule %d, want none", got)
		}
		middle := cpu(t)
		if slices.ContainsFunc(p.rules, func(r *rule) bool { return r.mismatch("GET", "h", path) == "" }) {
			t.Fatal("got a rule, want none")
		}
		byIndex, byScan = byIndex+middle-start, byScan+cpu(t)-middle
	}
	t.Logf("by index %s, rule by rule %s", byIndex/20, byScan/20)
	if byIndex > 4*byScan { // an index that visits nodes twice takes hundreds of times as long
		t.Errorf("the index took %s, a look at every rule %s", byIndex, byScan)
	}
}
