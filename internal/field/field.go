// Package field names the place of a configuration mistake, so that whoever
// read the file can point at the line. It decides nothing.
package field

import (
	"errors"
	"fmt"
	"strings"
)

// Error is one mistake at one key of the configuration.
type Error struct {
	Path string // dots descend, indices stand in brackets: rules[2].match.paths[0]
	Err  error
}

func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Errorf reports a mistake at path; the message says got and want.
func Errorf(path, format string, args ...any) error {
	return &Error{Path: path, Err: fmt.Errorf(format, args...)}
}

// Under moves every [*Error] inside err below prefix; a nil err stays nil.
// Errors joined by [errors.Join] are moved one by one.
func Under(prefix string, err error) error {
	var moved []error
	for _, e := range List(err) {
		var at *Error
		if !errors.As(e, &at) {
			moved = append(moved, &Error{Path: prefix, Err: e})
			continue
		}
		path := prefix + "." + at.Path
		if at.Path == "" || strings.HasPrefix(at.Path, "[") {
			path = prefix + at.Path
		}
		moved = append(moved, &Error{Path: path, Err: at.Err})
	}
	return errors.Join(moved...)
}

// List flattens what [errors.Join] put together, in order.
func List(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, List(e)...)
	}
	return all
}
