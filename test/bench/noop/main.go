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
	"google.golang.org/protobuf/types/known/structpb"
)

func main() {
	address := flag.String("address", "127.0.0.1:9191", "host:port or unix:///path")
	certificate := flag.String("cert", "", "PEM certificate chain; with -key: TLS")
	key := flag.String("key", "", "PEM private key")
	var n noop
	// What these cost Envoy shows what it pays for Bearergate's answers.
	flag.BoolVar(&n.remove, "remove", false, "remove the names that Bearergate removes by default")
	flag.BoolVar(&n.metadata, "metadata", false, "tell dynamic metadata as Bearergate does")
	flag.Parse()
	if err := serve(*address, *certificate, *key, n); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

func serve(address, certificate, key string, n noop) error {
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
	authv3.RegisterAuthorizationServer(server, n)
	return server.Serve(lis)
}

// noop is as simple as can be unless it is told to look like Bearergate.
type noop struct{ remove, metadata bool }

func (n noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	allow := &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{
			header("x-auth-sub", subject),
			header("x-auth-scope", scope),
			header("x-auth-client-id", client),
		},
	}
	response := &authv3.CheckResponse{
		Status:       &rpcstatus.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: allow},
	}
	if n.remove {
		allow.HeadersToRemove = spellings()
	}
	if n.metadata {
		response.DynamicMetadata = metadata()
	}
	return response, nil
}

// What the answer says.
const (
	subject = "f3b1c0de-5a6b-4c7d-8e9f-000000000000"
	scope   = "openid profile orders:read orders:write invoices:read"
	client  = "orders-web-frontend"
)

// spellings are authorization and every mixture of dashes and underscores of the
// three names, but these themselves.
func spellings() []string {
	all := []string{"authorization"}
	for _, a := range []string{"-", "_"} {
		for _, b := range []string{"-", "_"} {
			if a+b != "--" {
				all = append(all, "x"+a+"auth"+b+"sub", "x"+a+"auth"+b+"scope")
			}
			for _, c := range []string{"-", "_"} {
				if a+b+c != "---" {
					all = append(all, "x"+a+"auth"+b+"client"+c+"id")
				}
			}
		}
	}
	return all
}

func metadata() *structpb.Struct {
	text := structpb.NewStringValue
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"reason": text("allowed"), "rule": text("default"), "iss": text("https://auth.example.com"),
		"sub": text(subject), "client_id": text(client), "scope": text(scope),
	}}
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
}
