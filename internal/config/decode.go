package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/field"
)

// step is a part of a path: a name, or an index where the name is empty.
type step struct {
	name  string
	index int
}

// parsePath reads what field.Error holds: rules[2].match.paths[0].
func parsePath(path string) []step {
	var steps []step
	for _, part := range strings.Split(path, ".") {
		name, indices, _ := strings.Cut(part, "[")
		if name != "" {
			steps = append(steps, step{name: name})
		}
		for _, index := range strings.Split(strings.TrimSuffix(indices, "]"), "][") {
			if i, err := strconv.Atoi(index); err == nil {
				steps = append(steps, step{index: i})
			}
		}
	}
	return steps
}

// decoder fills Go values from nodes. It is strict: unknown keys, null and
// values of another type are mistakes, and all of them are reported.
type decoder struct {
	lookup func(string) (string, bool)
	errs   []error
}

func (d *decoder) fail(path, format string, args ...any) {
	d.errs = append(d.errs, field.Errorf(path, format, args...))
}

// defaulter sets its defaults before it is filled.
type defaulter interface{ defaults() }

func (d *decoder) value(path string, n *node, to reflect.Value) {
	if v, ok := to.Addr().Interface().(defaulter); ok {
		v.defaults()
	}
	if to.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(path, n, to)
		return
	}
	switch to.Kind() {
	case reflect.String:
		if d.is(path, n, text) {
			to.SetString(d.expand(path, n.text))
		}
	case reflect.Bool:
		if d.is(path, n, boolean) {
			to.SetBool(n.text == "true")
		}
	case reflect.Int:
		d.integer(path, n, to)
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.value(path, n, to.Elem())
	case reflect.Struct:
		d.structure(path, n, to)
	case reflect.Slice:
		d.slice(path, n, to)
	case reflect.Map:
		d.mapping(path, n, to)
	default:
		d.fail(path, "cannot be configured")
	}
}

func (d *decoder) is(path string, n *node, want kind) bool {
	if n.kind != want {
		d.fail(path, "got %s, want %s", n.kind, want)
	}
	return n.kind == want
}

func (d *decoder) duration(path string, n *node, to reflect.Value) {
	if n.kind != text {
		d.fail(path, "got %s, want a duration like 250ms, 30s or 5m", n.kind)
		return
	}
	duration, err := time.ParseDuration(d.expand(path, n.text))
	if err != nil {
		d.fail(path, "got %q, want a duration like 250ms, 30s or 5m", n.text)
		return
	}
	to.SetInt(int64(duration))
}

func (d *decoder) integer(path string, n *node, to reflect.Value) {
	if !d.is(path, n, integer) {
		return
	}
	i, err := strconv.ParseInt(n.text, 0, 32)
	if err != nil {
		d.fail(path, "got %s, want a whole number that fits 32 bits", n.text)
		return
	}
	to.SetInt(i)
}

func (d *decoder) structure(path string, n *node, to reflect.Value) {
	if !d.is(path, n, object) {
		return
	}
	fields := map[string]reflect.Value{}
	var names []string
	for i := range to.NumField() {
		tag := to.Type().Field(i).Tag.Get("yaml")
		name, option, _ := strings.Cut(tag, ",")
		if option == "string" { // a single string may stand for the list
			n = listed(n, name)
		}
		if name != "" && name != "-" {
			fields[name] = to.Field(i)
			names = append(names, name)
		}
	}
	for _, m := range n.members {
		at := join(path, m.name)
		if f, ok := fields[m.name]; ok {
			d.value(at, m.value, f)
			continue
		}
		d.fail(at, "unknown key%s", suggestion(m.name, names))
	}
}

// listed returns n with the string of that name made a list of one.
func listed(n *node, name string) *node {
	for i, m := range n.members {
		if m.name == name && m.value.kind == text {
			copied := *n
			copied.members = slices.Clone(n.members)
			copied.members[i].value = &node{kind: list, items: []*node{m.value}, line: m.value.line, column: m.value.column}
			return &copied
		}
	}
	return n
}

func (d *decoder) slice(path string, n *node, to reflect.Value) {
	if !d.is(path, n, list) {
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.value(fmt.Sprintf("%s[%d]", path, i), item, to.Index(i))
	}
}

func (d *decoder) mapping(path string, n *node, to reflect.Value) {
	if !d.is(path, n, object) {
		return
	}
	to.Set(reflect.MakeMap(to.Type()))
	for _, m := range n.members {
		v := reflect.New(to.Type().Elem()).Elem()
		d.value(join(path, m.name), m.value, v)
		to.SetMapIndex(reflect.ValueOf(m.name), v)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// expand replaces ${NAME} by the environment variable and $$ by a dollar sign.
// What comes from the environment is not looked at again.
func (d *decoder) expand(path, s string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		out.WriteString(before)
		switch {
		case !found:
			return out.String()
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			s = after[1:]
		case strings.HasPrefix(after, "{"):
			name, rest, closed := strings.Cut(after[1:], "}")
			value, err := d.variable(name, closed)
			if err != nil {
				d.fail(path, "%w", err)
			}
			out.WriteString(value)
			s = rest
		default:
			out.WriteByte('$')
			s = after
		}
	}
}

func (d *decoder) variable(name string, closed bool) (string, error) {
	if !closed {
		return "", errors.New("${ without }, write $$ for a dollar sign")
	}
	for i, c := range name {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return "", fmt.Errorf("${%s} is not the name of an environment variable", name)
		}
	}
	value, ok := d.lookup(name)
	if !ok || name == "" {
		return "", fmt.Errorf("environment variable %q is not set", name)
	}
	return value, nil
}

// suggestion names the known key that is nearest to an unknown one.
func suggestion(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
