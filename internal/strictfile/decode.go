package strictfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/field"
)

// decoder fills Go values from nodes. It is strict: unknown keys, null and
// values of another type are mistakes, and all of them are reported. It marks
// what it knows, so that errors show nothing else.
type decoder struct {
	lookup    func(string) (string, bool)
	spare     func(path string) bool // see [File.Spare]; nil: none
	errs      []error
	variables map[string][]variable // used, by the path of the value
}

// variable is an environment variable.
type variable struct{ name, value string }

func (d *decoder) fail(path, format string, args ...any) {
	d.errs = append(d.errs, field.Errorf(path, format, args...))
}

// secret is a type whose values are never shown.
type secret interface{ Reveal() string }

func (d *decoder) value(path string, n *node, to reflect.Value) {
	n.shown = mayShow(n, to)
	switch to.Type() {
	case reflect.TypeFor[time.Duration]():
		d.duration(path, n, to)
		return
	case reflect.TypeFor[bytesize.Size]():
		d.size(path, n, to)
		return
	case reflect.TypeFor[time.Time]():
		d.time(path, n, to)
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
	case reflect.Float64:
		d.float(path, n, to)
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.value(path, n, to.Elem())
	case reflect.Struct:
		d.structure(path, n, to)
	case reflect.Slice:
		d.slice(path, n, to)
	case reflect.Map:
		d.mapping(path, n, to)
	case reflect.Interface:
		d.free(path, n, to)
	default:
		d.fail(path, "cannot be configured")
	}
}

// mayShow says whether an error may show the scalar n that stands where the
// scalar to is wanted. Objects and lists show nothing until they are what is
// wanted.
func mayShow(n *node, to reflect.Value) bool {
	if _, ok := to.Interface().(secret); ok {
		return false
	}
	switch to.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return n.isScalar()
	default:
		return false
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
	written, ok := d.expanded(path, n.text)
	if !ok {
		return
	}
	duration, err := time.ParseDuration(written)
	if err != nil {
		d.fail(path, "got %q, want a duration like 250ms, 30s or 5m", n.text)
		return
	}
	to.SetInt(int64(duration))
}

// time takes RFC 3339, quoted or as the dates that YAML and TOML know.
func (d *decoder) time(path string, n *node, to reflect.Value) {
	const want = "want a time like 2026-11-24T12:00:00Z (RFC 3339)"
	if n.kind != text && n.kind != other {
		d.fail(path, "got %s, %s", n.kind, want)
		return
	}
	written, ok := d.expanded(path, n.text)
	if !ok {
		return
	}
	at, err := time.Parse(time.RFC3339, written)
	if err != nil {
		d.fail(path, "got %q, %s", n.text, want)
		return
	}
	to.Set(reflect.ValueOf(at))
}

// free takes a value of any form, where nobody but the reader knows which it must
// have: map[string]any, []any, string, json.Number, bool or nil.
func (d *decoder) free(path string, n *node, to reflect.Value) {
	if v := d.any(path, n); v != nil {
		to.Set(reflect.ValueOf(v))
	}
}

func (d *decoder) any(path string, n *node) any {
	switch n.kind {
	case object:
		all := make(map[string]any, len(n.members))
		for i := range n.members {
			m := &n.members[i]
			m.shown = true
			all[m.name] = d.any(join(path, m.name), m.value)
		}
		return all
	case list:
		all := make([]any, len(n.items))
		for i, item := range n.items {
			all[i] = d.any(path+"["+strconv.Itoa(i)+"]", item)
		}
		return all
	case text:
		return d.expand(path, n.text)
	case boolean:
		return n.text == "true"
	case integer, float:
		return d.number(path, n)
	case null:
		return nil
	}
	d.fail(path, "got %s, want a string in quotes", n.kind)
	return nil
}

// number wants one that JSON can say: the formats know others, such as 0x10, 1_000
// and infinity.
func (d *decoder) number(path string, n *node) any {
	if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
		return json.Number(strconv.FormatInt(i, 10))
	}
	f, err := strconv.ParseFloat(n.text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.fail(path, "got a number that JSON cannot say")
		return nil
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
}

// size takes a string with a unit, or a number of bytes.
func (d *decoder) size(path string, n *node, to reflect.Value) {
	written, ok := n.text, true
	switch n.kind {
	case text:
		written, ok = d.expanded(path, n.text)
	case integer:
	default:
		d.fail(path, "got %s, want a size like 64KiB, 256MiB or 1GiB, or a number of bytes", n.kind)
		return
	}
	if !ok {
		return
	}
	size, err := bytesize.Parse(written)
	if err != nil {
		d.fail(path, "%w", err)
		return
	}
	to.SetInt(int64(size))
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

// float takes any number that JSON can say.
func (d *decoder) float(path string, n *node, to reflect.Value) {
	if n.kind != integer && n.kind != float {
		d.fail(path, "got %s, want a number", n.kind)
		return
	}
	if number, ok := d.number(path, n).(json.Number); ok {
		f, _ := number.Float64() // number made it of one
		to.SetFloat(f)
	}
}

func (d *decoder) structure(path string, n *node, to reflect.Value) {
	field.SetDefaults(to)
	if !d.is(path, n, object) {
		return
	}
	n.shown = true
	keys := field.Keys(to.Type())
	for _, k := range keys {
		if k.String {
			n.listed(k.Name)
		}
	}
	for i := range n.members {
		m := &n.members[i]
		m.shown = true
		at := join(path, m.name)
		if i := slices.IndexFunc(keys, func(k field.Key) bool { return k.Name == m.name }); i >= 0 {
			d.value(at, m.value, to.FieldByIndex(keys[i].Index))
			continue
		}
		d.fail(at, "unknown key%s", suggestion(m.name, keys))
	}
}

// listed makes the string of that name a list of one, which it may stand for.
func (n *node) listed(name string) {
	if m := n.member(name); m != nil && m.value.kind == text {
		m.value = &node{kind: list, items: []*node{m.value}, place: m.value.place}
	}
}

func (d *decoder) slice(path string, n *node, to reflect.Value) {
	if !d.is(path, n, list) {
		return
	}
	n.shown = true
	to.Set(reflect.MakeSlice(to.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.value(path+"["+strconv.Itoa(i)+"]", item, to.Index(i))
	}
}

func (d *decoder) mapping(path string, n *node, to reflect.Value) {
	if !d.is(path, n, object) {
		return
	}
	n.shown = true
	to.Set(reflect.MakeMap(to.Type()))
	for i := range n.members {
		m := &n.members[i]
		m.shown = true
		v := reflect.New(to.Type().Elem()).Elem()
		d.value(join(path, m.name), m.value, v)
		// Who takes `headers` for a list of fixed values writes credentials there.
		m.value.shown = m.value.shown && v.Kind() != reflect.String
		to.SetMapIndex(reflect.ValueOf(m.name), v)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// expanded is expand, and says whether it went well.
func (d *decoder) expanded(path, s string) (string, bool) {
	before := len(d.errs)
	s = d.expand(path, s)
	return s, len(d.errs) == before
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
			value, err := d.variable(name, closed, path)
			if err != nil {
				d.fail(path, "%w", err)
			}
			if d.variables == nil {
				d.variables = map[string][]variable{}
			}
			d.variables[path] = append(d.variables[path], variable{name, value})
			out.WriteString(value)
			s = rest
		default:
			out.WriteByte('$')
			s = after
		}
	}
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (d *decoder) variable(name string, closed bool, path string) (string, error) {
	if !closed {
		return "", errors.New("${ without }, write $$ for a dollar sign")
	}
	if !variableName.MatchString(name) { // it may be a part of a secret, and is not shown
		return "", errors.New("what is in ${…} is not the name of an environment variable, write $$ for a dollar sign")
	}
	value, ok := d.lookup(name)
	if !ok && d.spare != nil && d.spare(path) {
		return unset, nil
	}
	if !ok {
		return "", fmt.Errorf("environment variable %q is not set", name)
	}
	return value, nil
}

// suggestion names the known key that is nearest to an unknown one.
func suggestion(name string, known []field.Key) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(name), k.Name); d < least {
			best, least = k.Name, d
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
