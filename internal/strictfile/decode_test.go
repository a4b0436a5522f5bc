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
