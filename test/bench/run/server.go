package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/bearergate/bearergate/test/bench/mint"
	"github.com/bearergate/bearergate/test/bench/process"
)

// program is one of those that are compared.
type program struct {
	name   string // no-op, bearergate, baseline
	binary string
	noop   bool
}

// server is a program that runs for one row.
type server struct {
	*process.Process

	address string
}

// start runs the program with what the row wants, and waits until it decides.
func (p program) start(ctx context.Context, dir string, issuer *mint.Issuer, r row) (*server, error) {
	address, err := listenAddress(dir, r.transport)
	if err != nil {
		return nil, err
	}
	if p.noop {
		return p.startNoop(ctx, dir, address, r)
	}
	admin, err := process.Free()
	if err != nil {
		return nil, err
	}
	section := ""
	if r.transport == overTLS {
		section = fmt.Sprintf(", tls: {cert_file: %s, key_file: %s}", certificateFile(dir), keyFile(dir))
	}
	file := filepath.Join(dir, "bearergate.yaml")
	config := issuer.Config(address, admin, section) + r.settings
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	running, err := process.Start(dir, p.binary, nil, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	if err := running.Get(ctx, "http://"+admin+"/readyz"); err != nil {
		running.Stop()
		return nil, err
	}
	return &server{running, address}, nil
}

func (p program) startNoop(ctx context.Context, dir, address string, r row) (*server, error) {
	args := []string{"-address", address}
	if r.transport == overTLS {
		args = append(args, "-cert", certificateFile(dir), "-key", keyFile(dir))
	}
	running, err := process.Start(dir, p.binary, nil, args...)
	if err != nil {
		return nil, err
	}
	if err := running.Listens(ctx, address); err != nil {
		running.Stop()
		return nil, err
	}
	return &server{running, address}, nil
}

func listenAddress(dir string, t transport) (string, error) {
	if t != unixSocket {
		return process.Free()
	}
	path := filepath.Join(dir, "authz.sock")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return "", err
	}
	return "unix://" + path, nil
}

func certificateFile(dir string) string { return filepath.Join(dir, "tls.crt") }
func keyFile(dir string) string         { return filepath.Join(dir, "tls.key") }

// clientTLS is what the loader needs: nil but for the row that measures TLS.
func (r row) clientTLS() *tls.Config {
	if r.transport != overTLS {
		return nil
	}
	return &tls.Config{InsecureSkipVerify: true} // the server is our child on 127.0.0.1
}

// writeCertificate makes a self-signed one for 127.0.0.1.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		certificateFile(dir): {Type: "CERTIFICATE", Bytes: certificate},
		keyFile(dir):         {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
