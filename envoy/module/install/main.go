// Command install copies the library from its image to a folder that an Envoy mounts,
// as an init container: install FOLDER. It is the only program of the image.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const library = "libbearergate.so"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: install FOLDER")
		os.Exit(2)
	}
	if err := install("/"+library, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}

// install has the whole library there, or what was there before: an Envoy may be
// starting that reads it.
func install(from, folder string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := os.CreateTemp(folder, library+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(copied.Name())) //nolint:gosec // whoever calls says where
		}
	}()
	if _, err := io.Copy(copied, source); err != nil {
		return errors.Join(err, copied.Close())
	}
	if err := errors.Join(copied.Chmod(0o755), copied.Close()); err != nil {
		return err
	}
	return os.Rename(copied.Name(), filepath.Join(folder, library)) //nolint:gosec // as above
}
