package load

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// ReadTokens returns the lines of a file. It is mapped and not read: a million
// tokens would else take as much memory of ours as the server has.
func ReadTokens(name string) ([]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%s is empty, want a token a line", name)
	}
	content, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var tokens []string
	for line := range bytes.Lines(content) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			tokens = append(tokens, unsafe.String(&line[0], len(line))) // the mapping stays until the end
		}
	}
	return tokens, nil
}
