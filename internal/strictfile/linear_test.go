package strictfile

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpu is what the process has used so far.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// An object with many keys is read, and looked into, in time that grows with
// their number, too. (TOML aside: go-toml looks through the keys of one table
// for each of them. No table of ours has thousands of keys.)
func TestManyKeysInOneObject(t *testing.T) {
	cost := func(name, before, format, after string, keys int) time.Duration {
		var content strings.Builder
		content.WriteString(before)
		for i := range keys {
			fmt.Fprintf(&content, format, i)
		}
		content.WriteString(after)
		began := cpu(t)
		root, err := read(name, []byte(content.String()))
		if err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			if at := root.position([]step{{name: fmt.Sprintf("key-%d", i)}}); at.line != i+2 {
				t.Fatalf("%s: key %d is found in line %d", name, i, at.line)
			}
		}
		return cpu(t) - began
	}
	for name, parts := range map[string][3]string{
		"a.yaml": {"# first\n", "key-%d: value\n", ""},
		"a.json": {"{\n", "\"key-%d\": \"value\",\n", "\"last\": 0}"},
	} {
		few := cost(name, parts[0], parts[1], parts[2], 5_000)
		if many := cost(name, parts[0], parts[1], parts[2], 20_000); many > 8*few {
			t.Errorf("%s: 20000 keys took %s, 5000 took %s", name, many, few)
		}
	}
}
