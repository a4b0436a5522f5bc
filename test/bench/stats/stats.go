// Package stats sums up repetitions: what is shared with others' work differs
// from one to the next, so a median is told with its spread.
package stats

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Spread is the middle of some repetitions and how far they went.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"min"`
	Most   float64 `json:"max"`
}

// Of returns the spread of values; the zero Spread of none.
func Of(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + median) / 2
	}
	return Spread{Median: median, Least: sorted[0], Most: sorted[len(sorted)-1]}
}

// String implements fmt.Stringer.
func (s Spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Least, s.Most) }

// WriteJSON writes v to a file, with the folder that it needs.
func WriteJSON(name string, v any) error {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, append(content, '\n'), 0o600)
}
