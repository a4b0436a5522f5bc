package validation

import (
	"crypto/tls"
	"errors"
	"os"

	"github.com/bearergate/bearergate/internal/clientauth"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/safehttp"
)

// CheckFiles reads every file that c names, and reports all that cannot be used,
// each a [*field.Error] with the key of the configuration file.
func (c Config) CheckFiles() error {
	errs := []error{
		checkFile("client_secret_file", c.ClientSecretFile, clientauth.CheckSecret),
		checkFile("client_key_file", c.ClientKeyFile, clientauth.CheckPrivateKey),
		checkFile("client_cert_file", c.ClientCertFile, func(content []byte) error {
			key, err := os.ReadFile(c.ClientKeyFile)
			if err != nil {
				return nil //nolint:nilerr // said of client_key_file
			}
			_, err = tls.X509KeyPair(content, key)
			return err
		}),
		checkFile("ca_file", c.CAFile, safehttp.CheckAnchors),
	}
	return errors.Join(errs...)
}

func checkFile(path, file string, check func([]byte) error) error {
	if file == "" {
		return nil
	}
	content, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return field.Errorf(path, "%w", err)
	}
	if err := check(content); err != nil {
		return field.Errorf(path, "%s: %w", file, err)
	}
	return nil
}
