package strictfile

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// place is where something stands in the file: line and column in characters,
// from 1, and offset in bytes, from 0.
type place struct{ line, column, offset int }

// step is a part of a path: a name, or an index where the name is empty.
type step struct {
	name  string
	index int
}

// parsePath reads what field.Error holds: rules[2].match.paths[0].
func parsePath(path string) []step {
	var steps []step
	for _, part := range strings.Split(path, ".") {
		name, indices, _ := strings.Cut(part, "[")
		if name != "" {
			steps = append(steps, step{name: name})
		}
		for _, index := range strings.Split(strings.TrimSuffix(indices, "]"), "][") {
			if i, err := strconv.Atoi(index); err == nil {
				steps = append(steps, step{index: i})
			}
		}
	}
	return steps
}

var (
	newlines     = []rune{'\n'}
	yamlNewlines = []rune{'\n', '\r', '\u0085', '\u2028', '\u2029'} // YAML 1.1 §4.2
)

// cursor finds places. It goes through the file once, in the order of what is
// looked for: counting each place's lines from the beginning would take time
// that grows with the square of the file.
type cursor struct {
	content  []byte
	newlines []rune
	at       place
}

func newCursor(content []byte, newlines []rune) *cursor {
	return &cursor{content: content, newlines: newlines, at: place{line: 1, column: 1}}
}

// offset returns the place of a byte.
func (c *cursor) offset(offset int) place {
	if offset < c.at.offset {
		c.at = place{line: 1, column: 1}
	}
	for c.at.offset < min(offset, len(c.content)) {
		c.step()
	}
	return c.at
}

// position returns the place of a line and column.
func (c *cursor) position(line, column int) place {
	if line < c.at.line || line == c.at.line && column < c.at.column {
		c.at = place{line: 1, column: 1}
	}
	for c.at.offset < len(c.content) && (c.at.line < line || c.at.line == line && c.at.column < column) {
		c.step()
	}
	return place{line: line, column: column, offset: c.at.offset}
}

func (c *cursor) step() {
	r, size := utf8.DecodeRune(c.content[c.at.offset:])
	if r == '\r' && bytes.HasPrefix(c.content[c.at.offset:], []byte("\r\n")) {
		size = 2
	}
	c.at.offset += size
	if slices.Contains(c.newlines, r) || size == 2 && r == '\r' {
		c.at.line, c.at.column = c.at.line+1, 1
		return
	}
	c.at.column++
}
