package bytesize_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/bytesize"
)

func ExampleParse() {
	size, err := bytesize.Parse("256MiB")
	fmt.Println(int64(size), size, err)
	// Output: 268435456 256MiB <nil>
}

func TestParse(t *testing.T) {
	for s, want := range map[string]bytesize.Size{
		"0": 0, "1": 1, "1023": 1023, "64KiB": 64 << 10, "256MiB": 256 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40,
		"268435456": 256 << 20, "9223372036854775807": 1<<63 - 1, "8388607TiB": 8388607 << 40,
	} {
		got, err := bytesize.Parse(s)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, err, want)
		}
		if again, err := bytesize.Parse(got.String()); err != nil || again != got {
			t.Errorf("%s: %s reads as %d, %v", s, got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", "MiB", "-1", "+1", "-1MiB", "1.5GiB", "1e9", "0x10", "1_000", " 1", "1 MiB", "1mib", "1MB", "1M", "1Mi", "1B", "1MiBMiB",
		"9223372036854775808", "8388608TiB", "99999999999999999999",
	} {
		if got, err := bytesize.Parse(s); err == nil ||
			!strings.Contains(err.Error(), fmt.Sprintf("got %q, want a size like", s)) {
			t.Errorf("%q: got %d, %v", s, got, err)
		}
	}
}

func TestString(t *testing.T) {
	for size, want := range map[bytesize.Size]string{
		0: "0", 1: "1", 1536: "1536", 2048: "2KiB", 256 << 20: "256MiB", 3 << 30: "3GiB", -1: "-1",
	} {
		if got := size.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
