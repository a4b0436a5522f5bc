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

// secretKey is the key whose value no error may show.
const secretKey = "client_secret"

// lineOf returns a line of the file without tabs, or "" if a secret may be in it.
func lineOf(content []byte, line int) string {
	lines := strings.Split(string(content), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	s := strings.ReplaceAll(strings.TrimRight(lines[line-1], "\r"), "\t", " ")
	for back := range min(line, secretReach) { // a secret may go on for some lines
		if namesSecret(lines[line-1-back]) {
			return ""
		}
	}
	return s
}

// secretReach is how many lines a secret is taken to be long.
const secretReach = 5

// namesSecret finds the key client_secret, which client_secret_file and the
// like are not.
func namesSecret(s string) bool {
	for {
		i := strings.Index(s, secretKey)
		if i < 0 {
			return false
		}
		s = s[i+len(secretKey):]
		if !strings.HasPrefix(s, "_") {
			return true
		}
	}
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
