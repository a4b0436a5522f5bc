package strictjws

import (
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

// TestValues: what a value is, it says by its first byte, and it is decoded as it was
// written.
func TestValues(t *testing.T) {
	o, err := ParseObject([]byte(` { "text" : "a\u00e9" , "n\u0061me":"x", "number" : -1.50e3 , "null" : null , "yes":true, "list" : [ 1 ] } `))
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := o.Get("text").Text(); !ok || text != "aé" {
		t.Errorf("got %q", text)
	}
	if number, ok := o.Get("number").Number(); !ok || number != "-1.50e3" {
		t.Errorf("got %q", number)
	}
	if o.Get("name") != `"x"` || o.Get("list") != "[ 1 ]" || o.Get("absent") != "" || !o.Get("null").IsNull() {
		t.Errorf("got %+v", o)
	}
	for _, name := range []string{"number", "null", "yes", "list", "absent"} {
		if text, ok := o.Get(name).Text(); ok {
			t.Errorf("%s: got the text %q, want none", name, text)
		}
	}
	for _, name := range []string{"text", "null", "yes", "list", "absent"} {
		if number, ok := o.Get(name).Number(); ok {
			t.Errorf("%s: got the number %q, want none", name, number)
		}
	}
}

// FuzzObject holds what is only noted to what the library decodes at once: the same
// objects are good, and hold the same.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, ` {"a":1,"a":2}`, `{"a":{"b":1,"b":1}}`, `{"\u0061":"\ud83d\ude00","b":[1.0e400,-0]}`, "{\"\xff\":1}",
		`{"a":"\ud800"}`, `{"a":01}`, `{"a":1}{}`, `{"a":[null,true,false,"",{}]}`, `{"a":1,}`, `{"a" "b"}`, `{1:2}`, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var want map[string]any
		theirs := json.Unmarshal(content, &want, exactNumbers)
		o, err := ParseObject(content)
		if (err == nil) != (theirs == nil && want != nil) {
			t.Fatalf("%q: got %v, the library %v", content, err, theirs)
		}
		if err == nil {
			if diff := cmp.Diff(want, o.Map()); diff != "" {
				t.Errorf("%q: %s", content, diff)
			}
		}
	})
}
