package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/field"
)

const (
	page       = "../../docs/configuration.md"
	tableBegin = "<!-- keys: written by UPDATE=1 go test ./internal/config -run TestTableOfKeys -->\n"
	tableEnd   = "<!-- end of keys -->\n"
)

// TestTableOfKeys: the page has every key as the code has it. With UPDATE=1 in
// the environment it is written anew.
func TestTableOfKeys(t *testing.T) {
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), tableBegin)
	table, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("%s: got no lines %q and %q around the table", page, tableBegin, tableEnd)
	}
	var want strings.Builder
	want.WriteString("| key | what it takes | default | what it is |\n|---|---|---|---|\n")
	writeKeys(&want, "", reflect.TypeFor[Config]())
	if table == want.String() {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("%s is not what the code has; UPDATE=1 writes it", page)
	}
	if err := os.WriteFile(page, []byte(before+tableBegin+want.String()+tableEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeKeys(out *strings.Builder, above string, t reflect.Type) {
	for _, k := range field.Keys(t) {
		path := above + k.Name
		kind, inside, object := kindOf(k)
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", path, kind, defaultText(k), strings.ReplaceAll(k.Doc, "|", `\|`))
		if object != nil && k.Name != "issuers" { // each of them is as auth is
			writeKeys(out, path+inside+".", object)
		}
	}
}

// kindOf says what a key takes, and what its objects are made of.
func kindOf(k field.Key) (kind, inside string, object reflect.Type) {
	t := k.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case len(k.OneOf) > 0 && t.Kind() == reflect.Slice:
		return "list of " + quoted(k.OneOf), "", nil
	case len(k.OneOf) > 0:
		return quoted(k.OneOf), "", nil
	case t == reflect.TypeFor[time.Duration](), t == reflect.TypeFor[bytesize.Size]():
		kind = "duration"
		if t != reflect.TypeFor[time.Duration]() {
			kind = "size"
		}
		if k.Bounds() != "" {
			kind += ", " + k.Bounds()
		}
		return kind, "", nil
	case t.Kind() == reflect.Float64:
		return "number, " + k.Bounds(), "", nil
	case t == reflect.TypeFor[[]Issuer]():
		return "list of objects as `auth` is", "", nil
	case t.Kind() == reflect.Struct:
		return "object", "", t
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "list of objects", "[]", t.Elem()
	case k.String:
		return "string, or list of them", "", nil
	}
	return map[reflect.Kind]string{
		reflect.Slice: "list of strings", reflect.Map: "object", reflect.Bool: "`true`, `false`", reflect.Int: "number",
		reflect.String: "string",
	}[t.Kind()], "", nil
}

func quoted(values []string) string { return "`" + strings.Join(values, "`, `") + "`" }

// defaultText is the default as a file has it; nothing for what is absent or empty.
func defaultText(k field.Key) string {
	switch {
	case k.Required:
		return "**required**"
	case k.Type.Kind() == reflect.Bool:
		return "`false`"
	case k.Default == "all":
		return "all of them"
	case k.Default == "":
		return ""
	}
	return "`" + k.Default + "`"
}
