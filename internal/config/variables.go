package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// leastInside is how long the value of a variable must be to be looked for inside
// other texts: a port would be found everywhere.
const leastInside = 8

// remembering is lookup, and notes what the file asks for.
func (c *Config) remembering(lookup func(string) (string, bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := lookup(name)
		if ok && value != "" {
			c.variables[name] = value
		}
		return value, ok
	}
}

// Unexpanded puts the names of the variables that the file uses back in the place of
// their values, as far as they can be told: whoever keeps something in the environment
// may have reasons to.
func (c *Config) Unexpanded(text string) string {
	longest := func(a, b string) int {
		return cmp.Or(cmp.Compare(len(c.variables[b]), len(c.variables[a])), cmp.Compare(a, b))
	}
	for _, name := range slices.SortedFunc(maps.Keys(c.variables), longest) {
		value, shown := c.variables[name], "${"+name+"}"
		switch {
		case text == value:
			return shown
		case len(value) >= leastInside:
			text = strings.ReplaceAll(text, value, shown)
		}
	}
	return text
}
