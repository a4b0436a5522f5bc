package devissuer

import (
	"net"
	"net/http"
	"time"
)

// Start serves a new issuer of those clients on a free port of 127.0.0.1. The
// returned function stops it, with the connections that are open.
func Start(clients map[string]string) (*Issuer, func(), error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	i := New("http://"+lis.Addr().String(), clients)
	server := &http.Server{Handler: i, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(lis) }()
	return i, func() { _ = server.Close() }, nil
}
