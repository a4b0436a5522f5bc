package strictfile

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

	Excerpt string // of the offending line; "": there is nothing to show
	Caret   int    // how many characters of Excerpt stand before the place
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
	if strings.TrimSpace(m.Excerpt) == "" {
		return head
	}
	return fmt.Sprintf("%s\n%5d | %s\n      | %s^", head, m.Line, m.Excerpt, strings.Repeat(" ", m.Caret))
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

// Mistakes returns every mistake in the file in its order, each a [*Mistake]:
// those that [File.Decode] found, and those of err, joined errors of package
// field. A key that Decode could not read gets no other mistake: what is said of
// its value leads astray.
func (f *File) Mistakes(err error) error {
	var all []*Mistake
	unread := map[string]bool{}
	for _, e := range f.decoder.errs {
		m := f.mistake(e)
		unread[m.Path] = true
		all = append(all, m)
	}
	for _, e := range field.List(err) {
		if m := f.mistake(e); !unread[m.Path] {
			all = append(all, m)
		}
	}
	return sorted(all)
}

func (f *File) mistake(err error) *Mistake {
	m := &Mistake{File: f.name, Err: err}
	var at *field.Error
	if errors.As(err, &at) {
		m.Path, m.Err = at.Path, at.Err
	}
	m.Err = f.decoder.discreet(m.Path, m.Err)
	place := f.root.position(parsePath(m.Path))
	m.Line, m.Column = place.line, place.column
	m.Excerpt, m.Caret = f.excerpts.at(place)
	return m
}

// credentials are the user information of a URL.
var credentials = regexp.MustCompile(`://[^/\s"]*@`)

// shortestSecret is how long the value of an environment variable must be to
// be taken for one.
const shortestSecret = 4

// discreet returns err with the names instead of the values of the environment
// variables in its text, and without credentials in URLs: a secret in the wrong
// place is still one.
func (d *decoder) discreet(path string, err error) error {
	text := err.Error()
	hidden := credentials.ReplaceAllString(text, "://…@")
	for _, v := range d.variables[path] {
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
