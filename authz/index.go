package authz

import (
	"slices"
	"strings"
)

// index finds the first rule that matches without looking at the others: by
// host, then by one segment of the path after the other, and by method at the
// end. A search takes as long as patterns fit the beginning of the path, however
// many rules there are, and at worst visits each pattern once, like a look at
// every rule: clients choose the path, but not the patterns.
type index struct {
	rules   []*rule
	anyHost []*branch
	byHost  map[string][]*branch
}

// branch holds the rules that have hosts and ignore_case in common, so that a
// pattern is kept once, however many hosts its rule has.
type branch struct {
	ignoreCase bool
	root       *node
}

// node is where a beginning of patterns leads.
type node struct {
	first int              // the lowest number of a rule here or below
	next  map[string]*node // by literal segments
	star  *node            // for a segment that is not empty
	ends  []int            // rules with a pattern that ends here
	rests []int            // rules with a pattern that goes on with /**
}

func newIndex(rules []*rule) *index {
	x := &index{rules: rules, byHost: map[string][]*branch{}}
	branches := map[string]*branch{}
	for n, r := range rules {
		if r.Match == nil { // it is reached by name only
			continue
		}
		b := x.branch(branches, n, r.Match)
		if len(r.paths) == 0 {
			b.root.rests = append(b.root.rests, n)
		}
		for _, p := range r.paths {
			b.add(n, p)
		}
	}
	return x
}

// branch returns the one that rule n belongs to. Branches, like all lists here,
// are in the order of their first rule.
func (x *index) branch(known map[string]*branch, n int, m *Match) *branch {
	hosts := slices.Compact(slices.Sorted(slices.Values(m.Hosts)))
	key := strings.Join(hosts, "\n") // which no host has
	if m.IgnoreCase {
		key += "\n\n"
	}
	if b, ok := known[key]; ok {
		return b
	}
	b := &branch{ignoreCase: m.IgnoreCase, root: &node{first: n}}
	known[key] = b
	if len(hosts) == 0 {
		x.anyHost = append(x.anyHost, b)
	}
	for _, host := range hosts {
		x.byHost[host] = append(x.byHost[host], b)
	}
	return b
}

func (b *branch) add(n int, p pattern) {
	at := b.root
	for _, segment := range p.segments {
		if segment == "*" {
			if at.star == nil {
				at.star = &node{first: n}
			}
			at = at.star
			continue
		}
		if b.ignoreCase {
			segment = strings.ToLower(segment)
		}
		child := at.next[segment]
		if child == nil {
			child = &node{first: n}
			if at.next == nil {
				at.next = map[string]*node{}
			}
			at.next[segment] = child
		}
		at = child
	}
	if p.rest {
		at.rests = append(at.rests, n)
	} else {
		at.ends = append(at.ends, n)
	}
}

// find returns the number of the first rule that matches, or that of the rules
// where none does. The path is one made by [normalPath], or "" where it is
// ambiguous and no rule looks at it.
func (x *index) find(method, host, path string) int {
	s := search{index: x, method: method, best: len(x.rules)}
	s.all(x.byHost[host], path)
	s.all(x.anyHost, path)
	return s.best
}

// search is one look into an index.
type search struct {
	index      *index
	method     string
	ignoreCase bool
	best       int // the lowest number found so far
}

func (s *search) all(branches []*branch, path string) {
	for _, b := range branches {
		s.ignoreCase = b.ignoreCase
		if path == "" {
			s.take(b.root.rests)
		} else {
			s.walk(b.root, path[1:], true)
		}
	}
}

// walk looks for rules at and below a node; path is what is left of it, if there
// is more. The way to the lower rule comes first, since what it finds can spare
// the other way.
func (s *search) walk(n *node, path string, more bool) {
	if n == nil || n.first >= s.best {
		return
	}
	s.take(n.rests)
	if !more {
		s.take(n.ends)
		return
	}
	segment, rest, more := strings.Cut(path, "/")
	literal, star := s.literal(n, segment), n.star
	if segment == "" {
		star = nil
	}
	if literal != nil && star != nil && star.first < literal.first {
		s.walk(star, rest, more)
		star = nil
	}
	s.walk(literal, rest, more)
	s.walk(star, rest, more)
}

func (s *search) literal(n *node, segment string) *node {
	if !s.ignoreCase {
		return n.next[segment]
	}
	var buffer [64]byte // so that usual segments are folded without an allocation
	return n.next[string(appendLower(buffer[:0], segment))]
}

// appendLower folds ASCII: paths have no other letters.
func appendLower(to []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		to = append(to, c)
	}
	return to
}

// take remembers the first of the rules whose methods fit.
func (s *search) take(rules []int) {
	for _, n := range rules {
		if n >= s.best {
			return
		}
		if s.index.rules[n].fitsMethod(s.method) {
			s.best = n
			return
		}
	}
}
