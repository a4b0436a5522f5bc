package cli

import (
	"bytes"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// healthService answers over TLS with the status; anchors is the file of those
// that vouch for it.
func healthService(t *testing.T, status healthv1.HealthCheckResponse_ServingStatus) (address, anchors string) {
	t.Helper()
	issued := httptest.NewTLSServer(nil) // for its certificate of 127.0.0.1 and example.com
	defer issued.Close()
	anchors = filepath.Join(t.TempDir(), "ca.crt")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate().Raw})
	if err := os.WriteFile(anchors, content, 0o600); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&issued.TLS.Certificates[0])))
	service := grpchealth.NewServer()
	service.SetServingStatus("", status)
	healthv1.RegisterHealthServer(server, service)
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)
	return lis.Addr().String(), anchors
}

func TestHealth(t *testing.T) {
	serving, ca := healthService(t, healthv1.HealthCheckResponse_SERVING)
	draining, drainingCA := healthService(t, healthv1.HealthCheckResponse_NOT_SERVING)
	stranger := issuer(t) // who speaks no gRPC
	for name, tc := range map[string]struct {
		args   []string
		status int
		stderr string // contained
	}{
		"serving":           {[]string{"--address=" + serving, "--tls-ca=" + ca}, 0, ""},
		"by another name":   {[]string{"--address=" + serving, "--tls-ca=" + ca, "--tls-name=example.com"}, 0, ""},
		"not that name":     {[]string{"--address=" + serving, "--tls-ca=" + ca, "--tls-name=x.test"}, 1, "x.test"},
		"not serving":       {[]string{"--address=" + draining, "--tls-ca=" + drainingCA}, 1, "got NOT_SERVING"},
		"without TLS":       {[]string{"--address=" + serving}, 1, "Unavailable"},
		"no such anchors":   {[]string{"--address=" + serving, "--tls-ca=" + ca + "x"}, 1, "no such file"},
		"no key":            {[]string{"--address=" + serving, "--tls-ca=" + ca, "--tls-cert=" + ca}, 1, "open"},
		"another service":   {[]string{"--address=" + strings.TrimPrefix(stranger.URL(), "http://")}, 1, ""},
		"a socket, missing": {[]string{"--address=unix:///nowhere/authz.sock"}, 1, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"health"}, tc.args...)
			status := Run(t.Context(), build, args, &stdout, &stderr)
			if status != tc.status || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("got status %d and %q, want %d and %q", status, &stderr, tc.status, tc.stderr)
			}
		})
	}
}
