// Package memory keeps the process within its memory, and the garbage collector from
// taking more of the processor than that needs. It decides nothing else.
package memory

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/bearergate/bearergate/internal/bytesize"
)

// variable is the environment variable that the Go runtime itself reads.
const variable = "GOMEMLIMIT"

// Unlimited is the limit that is none.
const Unlimited int64 = math.MaxInt64

// Parse reads a limit as GOMEMLIMIT says it: 512MiB, 536870912, 536870912B, or off.
func Parse(s string) (int64, error) {
	if s == "off" {
		return Unlimited, nil
	}
	number := s
	if strings.HasSuffix(s, "B") && !strings.HasSuffix(s, "iB") {
		number = strings.TrimSuffix(s, "B")
	}
	size, err := bytesize.Parse(number)
	if err != nil || size == 0 {
		return 0, fmt.Errorf("got %q, want a size like 512MiB, a number of bytes, or off", s)
	}
	return int64(size), nil
}

// SetLimit sets the soft limit of the process, in bytes: what the configuration says, else
// what the environment says, else nine tenths of the cgroup's, since not all that a
// container is charged for is the runtime's. The runtime collects more often as it
// comes near, and never fails because of it. It says where the limit is from.
func SetLimit(configured string, lookup func(string) (string, bool)) (limit int64, from string, err error) {
	limit, from, err = choose(configured, lookup)
	if err != nil {
		return 0, "", err
	}
	debug.SetMemoryLimit(limit)
	return limit, from, nil
}

func choose(configured string, lookup func(string) (string, bool)) (limit int64, from string, err error) {
	if configured != "" {
		limit, err = Parse(configured)
		return limit, "server.memory_limit", err
	}
	if set, ok := lookup(variable); ok && set != "" {
		limit, err = Parse(set)
		return limit, variable, err
	}
	limit, err = ofCgroup()
	return limit, "cgroup", err
}

// ofCgroup returns nine tenths of the container's limit, or Unlimited.
func ofCgroup() (int64, error) {
	limit, err := memlimit.FromCgroup()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup),
		errors.Is(err, memlimit.ErrCgroupsNotSupported):
		return Unlimited, nil
	case err != nil:
		return 0, fmt.Errorf("limit of the cgroup: %w", err)
	case limit > math.MaxInt64:
		return Unlimited, nil
	}
	return int64(limit / 10 * 9), nil //nolint:gosec // bounded above
}
