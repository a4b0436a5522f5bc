package strictfile

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/bytesize"
)

func env(name string) (string, bool) {
	value, ok := map[string]string{"OAUTH_CLIENT_SECRET": "s3$cret${X}", "EMPTY": "", "HOST": "auth.example.com"}[name]
	return value, ok
}

func TestDollars(t *testing.T) {
	for written, want := range map[string]string{
		"$$": "$", "$$$$": "$$", "$": "$", "a$b": "a$b", "$HOST": "$HOST", "$${HOST}": "${HOST}", "$$${HOST}": "$auth.example.com",
		"${HOST}$$": "auth.example.com$", "${EMPTY}": "", "${OAUTH_CLIENT_SECRET}": "s3$cret${X}", "}{": "}{", "x${HOST}${HOST}": "xauth.example.comauth.example.com",
	} {
		d := &decoder{lookup: env}
		if got := d.expand("a", written); got != want || d.errs != nil {
			t.Errorf("%s: got %q, %v, want %q", written, got, d.errs, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		want          float64
		err           string
	}{
		"fraction": {"a.yaml", "share: 0.25", .25, ""},
		"whole":    {"a.yaml", "share: 1", 1, ""},
		"exponent": {"a.json", `{"share": 1e-3}`, .001, ""},
		"TOML":     {"a.toml", "share = 0.5", .5, ""},
		"infinite": {"a.toml", "share = inf", 0, "share: got a number that JSON cannot say"},
		"none":     {"a.toml", "share = nan", 0, "share: got a number that JSON cannot say"},
		"text":     {"a.yaml", "share: half", 0, "share: got a string, want a number"},
		"nothing":  {"a.yaml", "share:", 0, "share: got nothing, want a number"},
	} {
		root, err := read(tc.file, []byte(tc.content))
		if err != nil {
			t.Fatal(err)
		}
		var to struct {
			Share float64 `key:"share"`
		}
		d := &decoder{lookup: env}
		d.value("", root, reflect.ValueOf(&to).Elem())
		got := ""
		if len(d.errs) > 0 {
			got = d.errs[0].Error()
		}
		if to.Share != tc.want || got != tc.err || len(d.errs) > 1 {
			t.Errorf("%s: got %v and %v, want %v and %q", name, to.Share, d.errs, tc.want, tc.err)
		}
	}
}

func TestSizes(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		want          bytesize.Size
		err           string
	}{
		"unit":        {"a.yaml", "size: 256MiB", 256 << 20, ""},
		"number":      {"a.yaml", "size: 268435456", 256 << 20, ""},
		"large":       {"a.json", `{"size": 8589934592}`, 8 << 30, ""},
		"TOML":        {"a.toml", `size = "64KiB"`, 64 << 10, ""},
		"variable":    {"a.yaml", "size: ${SIZE}", 1 << 30, ""},
		"other unit":  {"a.yaml", "size: 1GB", 0, `size: got "1GB", want a size like 64KiB, 256MiB or 1GiB`},
		"negative":    {"a.yaml", "size: -1", 0, `size: got "-1", want a size like`},
		"fraction":    {"a.yaml", "size: 1.5", 0, "size: got a number, want a size like"},
		"nothing":     {"a.yaml", "size:", 0, "size: got nothing, want a size like"},
		"list":        {"a.yaml", "size: [1]", 0, "size: got a list, want a size like"},
		"too large":   {"a.yaml", "size: 9223372036854775808", 0, `size: got "9223372036854775808", want`},
		"no variable": {"a.yaml", "size: ${NOPE}", 0, `size: environment variable "NOPE" is not set`},
	} {
		root, err := read(tc.file, []byte(tc.content))
		if err != nil {
			t.Fatal(err)
		}
		var to struct {
			Size bytesize.Size `key:"size"`
		}
		d := &decoder{lookup: func(name string) (string, bool) { return "1GiB", name == "SIZE" }}
		d.value("", root, reflect.ValueOf(&to).Elem())
		got := ""
		if len(d.errs) > 0 {
			got = d.errs[0].Error()
		}
		if to.Size != tc.want || !strings.HasPrefix(got, tc.err) || tc.err == "" && got != "" || len(d.errs) > 1 {
			t.Errorf("%s: got %s, %q, want %s, %q", name, to.Size, d.errs, tc.want, tc.err)
		}
	}
}
