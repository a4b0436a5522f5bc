package config

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Mistake is one thing that is wrong with a file.
type Mistake struct {
	File         string
	Line, Column int    // from 1
	Path         string // of the key; empty: the file as a whole
	Err          error
	source       string // the offending line
}

// Error returns `file:line:column: path: what is wrong`, and the line under it.
func (m *Mistake) Error() string {
	head := fmt.Sprintf("%s:%d:%d: ", m.File, m.Line, m.Column)
	if m.Path != "" {
		head += m.Path + ": "
	}
	head += m.Err.Error()
	if strings.TrimSpace(m.source) == "" {
		return head
	}
	caret := strings.Repeat(" ", max(0, m.Column-1))
	return fmt.Sprintf("%s\n%5d | %s\n      | %s^", head, m.Line, m.source, caret)
}

func (m *Mistake) Unwrap() error { return m.Err }

// secretKeys are those whose values no error may show.
var secretKeys = []string{"client_secret"} //nolint:gochecknoglobals // never changed

// lineOf returns a line of the file without tabs and secrets in it.
func lineOf(content []byte, line int) string {
	lines := strings.Split(string(content), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	s := strings.ReplaceAll(strings.TrimRight(lines[line-1], "\r"), "\t", " ")
	for _, key := range secretKeys {
		if i := strings.Index(s, key); i >= 0 && !strings.HasPrefix(s[i:], key+"_") {
			return s[:i] + key + " [redacted]"
		}
	}
	return s
}

// sorted joins mistakes in the order of the file.
func sorted(mistakes []*Mistake) error {
	sort.SliceStable(mistakes, func(i, j int) bool {
		if mistakes[i].Line != mistakes[j].Line {
			return mistakes[i].Line < mistakes[j].Line
		}
		return mistakes[i].Column < mistakes[j].Column
	})
	errs := make([]error, len(mistakes))
	for i, m := range mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}
