package field_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/field"
)

type inner struct {
	Kind string `key:"kind,empty" default:"a" oneof:"a|b" doc:"A kind."`
}

type nested struct {
	Wait time.Duration `key:"wait" default:"1s" above:"0s"`
}

type outer struct {
	Inner inner `key:",inline"`

	Skew   time.Duration     `key:"skew" default:"30s" min:"0s" max:"5m"`
	Size   bytesize.Size     `key:"size" default:"2MiB" min:"1MiB"`
	Count  int               `key:"count" default:"3" max:"9"`
	Share  float64           `key:"share" default:"0.5" min:"0" max:"1"`
	Flag   bool              `key:"flag" default:"true"`
	Level  string            `key:"level" default:"low" oneof:"low|high"`
	Some   []string          `key:"some,string,required" default:"all" min:"1" oneof:"x|y"`
	Names  map[string]string `key:"names" default:"a: 1, b: 2"`
	Nested nested            `key:"nested"`

	notAKey int
}

func defaults() outer {
	var o outer
	field.SetDefaults(reflect.ValueOf(&o).Elem())
	return o
}

func TestKeysAreThoseOfTheObject(t *testing.T) {
	var names []string
	for _, k := range field.Keys(reflect.TypeFor[outer]()) {
		names = append(names, k.Name)
	}
	want := []string{"kind", "skew", "size", "count", "share", "flag", "level", "some", "names", "nested"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	some := field.Keys(reflect.TypeFor[outer]())[7]
	if !some.String || !some.Required || some.Empty {
		t.Errorf("got %+v, want the options of its tag", some)
	}
}

func TestDefaults(t *testing.T) {
	want := outer{
		Inner: inner{"a"}, Skew: 30 * time.Second, Size: 2 << 20, Count: 3, Share: .5, Flag: true, Level: "low",
		Some: []string{"x", "y"}, Names: map[string]string{"a": "1", "b": "2"}, Nested: nested{time.Second},
	}
	if diff := cmp.Diff(want, defaults(), cmp.AllowUnexported(outer{})); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if err := field.Check(defaults()); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

// One configuration's defaults must not be changed by another's.
func TestDefaultsAreCopies(t *testing.T) {
	defaults().Some[0] = "changed"
	field.Allowed[outer]("some")[0] = "changed"
	if got := defaults().Some; !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("got %v", got)
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*outer){
		`skew: got -1s, want 0s to 5m`:                    func(o *outer) { o.Skew = -time.Second },
		`skew: got 5m0.000000001s, want 0s to 5m`:         func(o *outer) { o.Skew = 5*time.Minute + 1 },
		`size: got 1023KiB, want 1MiB or more`:            func(o *outer) { o.Size = 1023 << 10 },
		`count: got 10, want at most 9`:                   func(o *outer) { o.Count = 10 },
		`share: got 1.01, want 0 to 1`:                    func(o *outer) { o.Share = 1.01 },
		`share: got NaN, want 0 to 1`:                     func(o *outer) { o.Share = math.NaN() },
		`level: got "", want one of low, high`:            func(o *outer) { o.Level = "" },
		`level: got "LOW", want one of low, high`:         func(o *outer) { o.Level = "LOW" },
		`some: got none, want at least one of x, y`:       func(o *outer) { o.Some = nil },
		`some: got "z", want one of x, y`:                 func(o *outer) { o.Some = []string{"x", "z"} },
		``:                                                func(o *outer) { o.Skew, o.Size, o.notAKey = 5*time.Minute, 1<<20, -1 },
		`skew: got -1ns, want 0s to 5m; level: got "", w`: func(o *outer) { o.Skew, o.Level = -1, "" },
	} {
		o := defaults()
		change(&o)
		var got []string
		for _, e := range field.List(field.Check(o)) {
			got = append(got, e.Error())
		}
		if all := strings.Join(got, "; "); !strings.HasPrefix(all, want) || want == "" && all != "" {
			t.Errorf("got %q, want %q", all, want)
		}
	}
}

// What is inlined, and what is nested, is checked where it is at home.
func TestCheckOfTheRoom(t *testing.T) {
	o := defaults()
	o.Inner.Kind, o.Nested.Wait = "c", 0
	if err := field.Check(o); err != nil {
		t.Errorf("got %v, want nothing", err)
	}
	for want, err := range map[string]error{
		`kind: got "c", want one of a, b`:    field.Check(o.Inner),
		`wait: got 0s, want more than 0s`:    field.Check(o.Nested),
		`kind: got "low", want one of a, b`:  field.Check(inner{Kind: "low"}),
		`wait: got -1s, want more than 0s`:   field.Check(nested{-time.Second}),
		`prefix.kind: got "x", want one of `: field.Under("prefix", field.Check(inner{Kind: "x"})),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := field.Check(inner{}); err != nil {
		t.Errorf("got %v, want a value that may be empty to be", err)
	}
}

func TestTagsThatCannotBeReadPanic(t *testing.T) {
	type wrong struct {
		Wait time.Duration `key:"wait" default:"soon"`
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var w wrong
	field.SetDefaults(reflect.ValueOf(&w).Elem())
}
