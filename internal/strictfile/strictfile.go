// Package strictfile makes Go values of a YAML, TOML or JSON file, or reports
// every mistake in it with line, column and an excerpt that shows no secret. It
// does not know which keys exist: the tags of package field say that.
package strictfile

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
)

// File is the content of a file, free of mistakes in its format.
type File struct {
	name     string
	root     *node
	excerpts *excerpts
	decoder  decoder
	spare    func(path string) bool
}

// Read reads content in the format that the extension of name says. The error
// is a [*Mistake] unless it is the extension that is wrong.
func Read(name string, content []byte) (*File, error) {
	content = bytes.TrimPrefix(content, []byte("\uFEFF"))
	root, err := read(name, content)
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		return nil, &Mistake{
			File: name, Line: syntax.line, Column: syntax.column, Err: errors.New(unquoted(syntax.message)),
		}
	}
	if err != nil {
		return nil, err
	}
	return &File{name: name, root: root, excerpts: &excerpts{content: content, root: root}}, nil
}

func read(name string, content []byte) (*node, error) {
	switch extension := strings.ToLower(filepath.Ext(name)); extension {
	case ".yaml", ".yml":
		return readYAML(content)
	case ".toml":
		return readTOML(content)
	case ".json":
		return readJSON(content)
	default:
		return nil, fmt.Errorf("%s: got extension %q, want .yaml, .yml, .toml or .json", name, extension)
	}
}

// Decode fills the struct that to points to, defaults first, with environment
// variables from lookup. What it cannot read stays as it is, and is what
// [File.Mistakes] returns.
func (f *File) Decode(to any, lookup func(string) (string, bool)) {
	f.decoder = decoder{lookup: lookup, spare: f.spare}
	f.decoder.value("", f.root, reflect.ValueOf(to).Elem())
}

// unset stands for an environment variable that is not set, where it need not be.
const unset = "unset"

// Spare has an environment variable that is missing be no mistake in the values of
// those keys whose path it says true of. It is called before [File.Decode].
func (f *File) Spare(spare func(path string) bool) { f.spare = spare }

// Line returns the line where the key of a path stands, or the nearest part of it.
func (f *File) Line(path string) int { return f.root.position(parsePath(path)).line }
