package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Files below the shared directory.
const (
	authorityFile   = "ca.crt"
	certificateFile = "tls.crt"
	keyFile         = "tls.key"

	sharedKeyFile     = "shared-key"     // of what replicas share
	adminTokenFile    = "admin-token"    // of the admin address
	storePasswordFile = "store-password" //nolint:gosec // a name
)

const lifetime = 365 * 24 * time.Hour

// certificates writes a certificate for host, and the authority that signed
// it, into dir. What is there stays, so that a restart changes no trust.
func certificates(dir, host string) error {
	if host == "" {
		return errors.New("TLS_HOST is empty")
	}
	if err := secrets(dir, os.Getenv("STORE_PASSWORD")); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, authorityFile)); err == nil {
		return nil
	}
	authority, err := issue("Bearergate development CA", nil)
	if err != nil {
		return err
	}
	leaf, err := issue(host, authority)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.key)
	if err != nil {
		return err
	}
	// The authority comes last: where it is, the others are.
	return errors.Join(
		write(filepath.Join(dir, keyFile), "PRIVATE KEY", key, 0o600),
		write(filepath.Join(dir, certificateFile), "CERTIFICATE", leaf.Raw, 0o644),
		write(filepath.Join(dir, authorityFile), "CERTIFICATE", authority.Raw, 0o644),
	)
}

// secrets writes what the profile fleet needs besides, if it is not there.
func secrets(dir, storePassword string) error {
	var errs []error
	for name, content := range map[string]string{
		sharedKeyFile: rand.Text() + rand.Text(), adminTokenFile: rand.Text() + rand.Text(),
		storePasswordFile: storePassword,
	} {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err != nil {
			errs = append(errs, os.WriteFile(file, []byte(content), 0o600))
		}
	}
	return errors.Join(errs...)
}

// pair is a certificate and its private key.
type pair struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue returns a certificate signed by parent, or an authority if there is none.
func issue(name string, parent *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(lifetime),
	}
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign
		parent = &pair{template, key}
	} else {
		template.DNSNames = []string{name}
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	return &pair{certificate, key}, nil
}

func write(file, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
