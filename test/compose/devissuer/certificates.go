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
)

const lifetime = 365 * 24 * time.Hour

// certificates writes a certificate for host, and the authority that signed
// it, into dir. What is there stays, so that a restart changes no trust.
func certificates(dir, host string) error {
	if host == "" {
		return errors.New("TLS_HOST is empty")
	}
	if _, err := os.Stat(filepath.Join(dir, authorityFile)); err == nil {
		return nil
	}
	authority, authorityKey, err := issue("Bearergate development CA", nil, nil)
	if err != nil {
		return err
	}
	leaf, leafKey, err := issue(host, authority, authorityKey)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(leafKey)
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

// issue returns a certificate signed by parent, or an authority if there is none.
func issue(name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
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
		parent, parentKey = template, key
	} else {
		template.DNSNames = []string{name}
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

func write(file, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
