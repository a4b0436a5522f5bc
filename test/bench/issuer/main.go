// Command issuer serves the development authorization server, and writes tokens
// of it into files: `issuer -mint ES256=1000:warm.txt -mint opaque=1000:opaque.txt`.
// It must never serve anything that matters.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/bearergate/bearergate/test/bench/mint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "issuer:", err)
		os.Exit(1)
	}
}

// order is so many tokens of a kind for a file.
type order struct {
	kind, file string
	n          int
}

func run(ctx context.Context) error {
	address := flag.String("address", "127.0.0.1:0", "where to serve")
	grpc := flag.String("grpc", "127.0.0.1:9191", "server.grpc_address of -config")
	config := flag.String("config", "", "file to write a configuration of Bearergate to")
	var orders []order
	flag.Func("mint", "KIND=NUMBER:FILE, of kind RS256, ES256, EdDSA or opaque; repeatable", func(value string) error {
		kind, rest, _ := strings.Cut(value, "=")
		number, file, found := strings.Cut(rest, ":")
		n, err := strconv.Atoi(number)
		if err != nil || !found {
			return errors.New("want KIND=NUMBER:FILE")
		}
		orders = append(orders, order{kind, file, n})
		return nil
	})
	flag.Parse()

	issuer, err := mint.Start(*address)
	if err != nil {
		return err
	}
	defer issuer.Close()
	for _, o := range orders {
		tokens, err := issuer.Mint(o.kind, o.n)
		if err != nil {
			return err
		}
		if err := mint.Write(o.file, tokens); err != nil {
			return err
		}
	}
	if *config != "" {
		text := issuer.Config(*grpc, "127.0.0.1:9192", "")
		if err := os.WriteFile(*config, []byte(text), 0o600); err != nil {
			return err
		}
	}
	fmt.Println(issuer.URL())
	<-ctx.Done()
	return nil
}
