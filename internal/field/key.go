package field

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bearergate/bearergate/internal/bytesize"
)

// Key is one key of a file. It has one home, a field of a struct, whose tags say
// all there is to say of it:
//
//	Leeway time.Duration `key:"clock_skew" default:"30s" min:"0s" max:"5m" doc:"How far clocks may differ."`
//
// The tag oneof has the allowed values, of a list those of its members, with
// bars between them; min, max and above (which excludes its value) are bounds of
// a number, and min:"1" keeps a list with allowed values from being empty. A
// default reads as in a file: that of a list is all, for every allowed value,
// that of a map a: b, c: d. Options follow the name:
//
//	string    a string stands for a list of one
//	required  the file must have it; what is said where it has not is the room's
//	empty     the empty string passes oneof: a struct made by hand may leave it out
//	inline    no key: those of the struct belong to the object around it
type Key struct {
	Name, Doc       string
	Type            reflect.Type
	Index           []int // of the field; more than one: it is inlined
	Default         string
	OneOf           []string
	Min, Max, Above string

	String, Required, Empty bool
}

// keysOf remembers the keys of a type, which never change.
var keysOf sync.Map

// Keys returns the keys of a struct type in the order of its fields. They are
// shared, and not to be changed.
func Keys(t reflect.Type) []Key {
	if known, ok := keysOf.Load(t); ok {
		return known.([]Key)
	}
	var keys []Key
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("key"), ",")
		options := strings.Split(rest, ",")
		if slices.Contains(options, "inline") {
			for _, k := range Keys(f.Type) {
				k.Index = append([]int{i}, k.Index...)
				keys = append(keys, k)
			}
			continue
		}
		if name == "" {
			continue
		}
		k := Key{
			Name: name, Doc: f.Tag.Get("doc"), Type: f.Type, Index: []int{i}, Default: f.Tag.Get("default"),
			Min: f.Tag.Get("min"), Max: f.Tag.Get("max"), Above: f.Tag.Get("above"),
			String: slices.Contains(options, "string"), Required: slices.Contains(options, "required"),
			Empty: slices.Contains(options, "empty"),
		}
		if allowed, ok := f.Tag.Lookup("oneof"); ok {
			k.OneOf = strings.Split(allowed, "|")
		}
		keys = append(keys, k)
	}
	keysOf.Store(t, keys)
	return keys
}

// Allowed returns the allowed values of a key of the struct type T.
func Allowed[T any](name string) []string {
	for _, k := range Keys(reflect.TypeFor[T]()) {
		if k.Name == name {
			return slices.Clone(k.OneOf)
		}
	}
	return nil
}

// SetDefaults gives every key of the struct v its default, those of structs in
// it too.
func SetDefaults(v reflect.Value) {
	for _, k := range Keys(v.Type()) {
		switch to := v.FieldByIndex(k.Index); {
		case to.Kind() == reflect.Struct:
			SetDefaults(to)
		case to.Kind() == reflect.Pointer: // absent is its default
		case k.Default != "":
			k.setDefault(to)
		}
	}
}

func (k Key) setDefault(to reflect.Value) {
	switch to.Kind() {
	case reflect.Slice:
		to.Set(reflect.ValueOf(slices.Clone(k.OneOf)))
	case reflect.Map:
		to.Set(reflect.MakeMap(to.Type()))
		for _, entry := range strings.Split(k.Default, ", ") {
			name, value, _ := strings.Cut(entry, ": ")
			to.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(value))
		}
	default:
		set(to, k.Default)
	}
}

// set reads what a tag says. A tag that cannot be read is a mistake in the
// program, as a pattern of regexp.MustCompile may be.
func set(to reflect.Value, text string) {
	var err error
	var i int64
	switch {
	case to.Type() == reflect.TypeFor[time.Duration]():
		var d time.Duration
		d, err = time.ParseDuration(text)
		i = int64(d)
	case to.Type() == reflect.TypeFor[bytesize.Size]():
		var s bytesize.Size
		s, err = bytesize.Parse(text)
		i = int64(s)
	case to.Kind() == reflect.String:
		to.SetString(text)
		return
	case to.Kind() == reflect.Bool:
		to.SetBool(text == "true")
		return
	case to.Kind() == reflect.Float64:
		var f float64
		if f, err = strconv.ParseFloat(text, 64); err == nil {
			to.SetFloat(f)
			return
		}
	default:
		i, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil {
		panic(fmt.Sprintf("tag of a key: %v", err))
	}
	to.SetInt(i)
}

// Check holds a struct to what the tags of its keys demand, and reports every
// mistake at once, each an [*Error] with the name of the key. What is inlined,
// and structs in it, are for their own rooms to check.
func Check(v any) error {
	value := reflect.ValueOf(v)
	var errs []error
	for _, k := range Keys(value.Type()) {
		if len(k.Index) > 1 {
			continue
		}
		if err := k.check(value.FieldByIndex(k.Index)); err != nil {
			errs = append(errs, &Error{Path: k.Name, Err: err})
		}
	}
	return errors.Join(errs...)
}

func (k Key) check(v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Slice && len(k.OneOf) > 0:
		if v.Len() == 0 && k.Min != "" {
			return fmt.Errorf("got none, want at least one of %s", strings.Join(k.OneOf, ", "))
		}
		var errs []error
		for i := range v.Len() {
			errs = append(errs, k.checkAllowed(v.Index(i).String()))
		}
		return errors.Join(errs...)
	case len(k.OneOf) > 0:
		return k.checkAllowed(v.String())
	case (v.CanInt() || v.CanFloat()) && !k.within(v):
		return fmt.Errorf("got %v, want %s", v, k.Bounds())
	}
	return nil
}

func (k Key) checkAllowed(s string) error {
	if slices.Contains(k.OneOf, s) || s == "" && k.Empty {
		return nil
	}
	if len(k.OneOf) == 1 {
		return fmt.Errorf("got %q, want %s", s, k.OneOf[0])
	}
	return fmt.Errorf("got %q, want one of %s", s, strings.Join(k.OneOf, ", "))
}

func (k Key) within(v reflect.Value) bool {
	compare := func(bound string) int {
		b := reflect.New(v.Type()).Elem()
		set(b, bound)
		if v.CanFloat() {
			return cmp.Compare(v.Float(), b.Float())
		}
		return cmp.Compare(v.Int(), b.Int())
	}
	return (k.Min == "" || compare(k.Min) >= 0) && (k.Max == "" || compare(k.Max) <= 0) &&
		(k.Above == "" || compare(k.Above) > 0)
}

// Bounds says which numbers are allowed: 0s to 5m; empty: any.
func (k Key) Bounds() string {
	switch {
	case k.Min != "" && k.Max != "":
		return k.Min + " to " + k.Max
	case k.Above != "" && k.Max != "":
		return "more than " + k.Above + ", at most " + k.Max
	case k.Above != "":
		return "more than " + k.Above
	case k.Min != "":
		return k.Min + " or more"
	case k.Max != "":
		return "at most " + k.Max
	}
	return ""
}
