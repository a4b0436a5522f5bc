package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/validation"
)

// minTokenLength keeps a token from being guessed.
const minTokenLength = 32

// AdminToken reads the content of server.admin_token_file, without the newline that
// editors add. Its errors hold nothing of the content.
func AdminToken(content []byte) (validation.Secret, error) {
	token := bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	if len(token) < minTokenLength {
		return "", fmt.Errorf("got %d characters, want at least %d", len(token), minTokenLength)
	}
	if bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("has spaces or what is no visible ASCII, want what fits into a header")
	}
	return validation.Secret(token), nil
}

func (c *Config) checkAdminToken() error {
	file := c.Server.AdminTokenFile
	if file == "" {
		return nil
	}
	content, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return field.Errorf("server.admin_token_file", "%w", err)
	}
	if _, err := AdminToken(content); err != nil {
		return field.Errorf("server.admin_token_file", "%s: %w", file, err)
	}
	return nil
}
