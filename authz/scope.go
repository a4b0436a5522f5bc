package authz

import "slices"

// implied maps each scope to all that it brings along. It is looked at where scopes
// are compared and nowhere else: the token, and what is told of it, stay as the
// authorization server made them (M-14).
type implied map[string]map[string]bool

// closeOver follows implications of implications, cycles included.
func closeOver(direct map[string][]string) implied {
	all := implied{}
	for scope := range direct {
		reached := map[string]bool{}
		pending := []string{scope}
		for len(pending) > 0 {
			next := pending[0]
			pending = pending[1:]
			for _, s := range direct[next] {
				if !reached[s] {
					reached[s] = true
					pending = append(pending, s)
				}
			}
		}
		all[scope] = reached
	}
	return all
}

// grants says whether the granted scopes hold all that are demanded: whole
// tokens, compared exactly (I-07).
func (m implied) grants(granted, demanded []string) bool {
	for _, want := range demanded {
		if !slices.ContainsFunc(granted, func(s string) bool { return s == want || m[s][want] }) {
			return false
		}
	}
	return true
}

// union joins lists without repeating a member.
func union(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		for _, s := range list {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}
