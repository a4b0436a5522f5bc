// Package bytesize reads and writes amounts of memory as the configuration
// file has them: 64KiB, 256MiB, 1GiB. It decides nothing.
package bytesize

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// The units, which are powers of 1024: KB and MB are not taken, because half of
// the world means powers of 1000 by them.
const (
	Byte Size = 1
	KiB       = 1024 * Byte
	MiB       = 1024 * KiB
	GiB       = 1024 * MiB
	TiB       = 1024 * GiB
)

var units = []struct {
	suffix string
	size   Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}}

// Parse reads a whole number of bytes, or of a unit: 268435456 is 256MiB.
func Parse(s string) (Size, error) {
	number, unit := s, Byte
	for _, u := range units {
		if before, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = before, u.size
			break
		}
	}
	// ParseUint takes neither signs nor, in base 10, underscores.
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n > uint64(math.MaxInt64/unit) { //nolint:gosec // units are not negative
		return 0, fmt.Errorf("got %q, want a size like 64KiB, 256MiB or 1GiB, or a number of bytes", s)
	}
	return Size(n) * unit, nil //nolint:gosec // bounded above
}

// String returns the shortest text that Parse reads as the same size.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
