package shared

import (
	"errors"
	"log/slog"

	"github.com/bearergate/bearergate/internal/field"
)

// CheckFiles reads every file that c names, and says which cannot be used.
func (c Config) CheckFiles() error {
	log := slog.New(slog.DiscardHandler)
	check := func(path, file string, open func(Config) error) error {
		if file == "" {
			return nil
		}
		if err := open(c); err != nil {
			return field.Errorf(path, "%w", err)
		}
		return nil
	}
	access := func(only Config) error {
		_, err := newAccess(only, log)
		return err
	}
	return errors.Join(
		check("key_file", c.KeyFile, func(c Config) error {
			_, err := openKeys(c.KeyFile, log)
			return err
		}),
		check("password_file", c.PasswordFile, func(c Config) error {
			return access(Config{Address: c.Address, PasswordFile: c.PasswordFile})
		}),
		check("ca_file", c.CAFile, func(c Config) error {
			return access(Config{Address: c.Address, CAFile: c.CAFile})
		}),
		check("cert_file", c.CertFile, func(c Config) error {
			return access(Config{Address: c.Address, CertFile: c.CertFile, KeyPEMFile: c.KeyPEMFile})
		}),
	)
}
