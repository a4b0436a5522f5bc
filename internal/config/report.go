package config

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"unicode"

	"github.com/bearergate/bearergate/internal/field"
)

// Mistake is one thing that is wrong with a file.
type Mistake struct {
	File         string
	Line, Column int    // in characters, from 1
	Path         string // of the key; empty: the file as a whole
	Err          error

	excerpt string // of the offending line; "": there is nothing to show
	caret   int    // how many characters of excerpt stand before the place
}

// Error returns `file:line:column: path: what is wrong`, and the line under it.
// It never has the value of a secret, nor that of a key that nobody knows: it
// goes to terminals, CI and logs.
func (m *Mistake) Error() string {
	head := fmt.Sprintf("%s:%d:%d: ", m.File, m.Line, m.Column)
	if m.Path != "" {
		head += printable(m.Path, longestPath) + ": "
	}
	head += printable(m.Err.Error(), longestText)
	if strings.TrimSpace(m.excerpt) == "" {
		return head
	}
	return fmt.Sprintf("%s\n%5d | %s\n      | %s^", head, m.Line, m.excerpt, strings.Repeat(" ", m.caret))
}

func (m *Mistake) Unwrap() error { return m.Err }

// How many characters of a path and of a text are shown.
const (
	longestPath = 200
	longestText = 1000
)

// printable returns s on one line, without what would do something to a
// terminal, and at most longest characters of it.
func printable(s string, longest int) string {
	var out strings.Builder
	written := 0
	for _, r := range s {
		if written == longest {
			return out.String() + "…"
		}
		out.WriteRune(visible(r))
		written++
	}
	return out.String()
}

// visible replaces characters that no one can see.
func visible(r rune) rune {
	switch {
	case r == '\n' || r == '\t' || r == '\r':
		return ' '
	case !unicode.IsPrint(r):
		return unicode.ReplacementChar
	}
	return r
}

// quotation is what the parsers quote of the file, but for single characters.
var quotation = regexp.MustCompile(`"(?:[^"\\]|\\.){2,}"|'[^']{2,}'|` + "`[^`]{2,}`")

// repetition is what go-toml says of names, which it does not quote.
var repetition = regexp.MustCompile(`(?s)^(key|table) .* (already exists|is already defined|should be a)`)

// unquoted returns a parser's message without what it quotes: that may be a
// secret, or a part of one. The position says where it stands.
func unquoted(message string) string {
	message = repetition.ReplaceAllString(message, "this $1 $2")
	return strings.TrimSpace(quotation.ReplaceAllString(message, "…"))
}

// report collects mistakes.
type report struct {
	file      string
	root      *node
	variables map[string][]variable
	excerpts  *excerpts
	known     map[string]bool // paths that need no other mistake
	mistakes  []*Mistake
}

// once lets no key that has a mistake have another: what a room says about a
// value that could not be read leads astray.
func (r *report) once() {
	r.known = map[string]bool{}
	for _, m := range r.mistakes {
		r.known[m.Path] = true
	}
}

func (r *report) add(err error) {
	for _, e := range field.List(err) {
		m := &Mistake{File: r.file, Err: e}
		var at *field.Error
		if errors.As(e, &at) {
			m.Path, m.Err = at.Path, at.Err
		}
		if r.known[m.Path] {
			continue
		}
		m.Err = r.discreet(m.Path, m.Err)
		place := r.root.position(parsePath(m.Path))
		m.Line, m.Column = place.line, place.column
		m.excerpt, m.caret = r.excerpts.at(place)
		r.mistakes = append(r.mistakes, m)
	}
}

// credentials are the user information of a URL.
var credentials = regexp.MustCompile(`://[^/\s"]*@`)

// shortestSecret is how long the value of an environment variable must be to
// be taken for one.
const shortestSecret = 4

// discreet returns err with the names instead of the values of the environment
// variables in its text, and without credentials in URLs: a secret in the wrong
// place is still one.
func (r *report) discreet(path string, err error) error {
	text := err.Error()
	hidden := credentials.ReplaceAllString(text, "://…@")
	for _, v := range r.variables[path] {
		if len(v.value) < shortestSecret {
			continue
		}
		quoted := fmt.Sprintf("%q", v.value)
		for _, value := range []string{v.value, quoted[1 : len(quoted)-1]} {
			hidden = strings.ReplaceAll(hidden, value, "${"+v.name+"}")
		}
	}
	if hidden == text {
		return err
	}
	return &discreetError{text: hidden, err: err}
}

type discreetError struct {
	text string
	err  error
}

func (e *discreetError) Error() string { return e.text }

func (e *discreetError) Unwrap() error { return e.err }

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
