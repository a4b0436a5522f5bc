// Command noop is the yardstick: an ext_authz server as anybody would write it
// with grpc-go and the generated code, which answers OK with three fixed headers
// and checks nothing. What a real one costs is said as a multiple of it, so that
// numbers of two machines can be compared.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

func main() {
	address := flag.String("address", "127.0.0.1:9191", "host:port or unix:///path")
	certificate := flag.String("cert", "", "PEM certificate chain; with -key: TLS")
	key := flag.String("key", "", "PEM private key")
	flag.Parse()
	if err := serve(*address, *certificate, *key); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

func serve(address, certificate, key string) error {
	var options []grpc.ServerOption
	if certificate != "" {
		transport, err := credentials.NewServerTLSFromFile(certificate, key)
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(transport))
	}
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		network, address = "unix", path
	}
	lis, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(options...)
	authv3.RegisterAuthorizationServer(server, noop{})
	return server.Serve(lis)
}

type noop struct{}

func (noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				header("x-auth-sub", "f3b1c0de-5a6b-4c7d-8e9f-000000000000"),
				header("x-auth-scope", "openid profile orders:read orders:write invoices:read"),
				header("x-auth-client-id", "orders-web-frontend"),
			},
		}},
	}, nil
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}
