// Command loader sends Checks to a running server and prints what it saw, as
// JSON.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/bearergate/bearergate/test/bench/load"
	"github.com/bearergate/bearergate/test/bench/process"
)

type report struct {
	load.Result

	CPU      float64 `json:"server_cpu_us_per_check,omitempty"`
	Resident int64   `json:"resident_bytes,omitempty"`
	Peak     int64   `json:"peak_bytes,omitempty"`
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "loader:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	c := load.Config{}
	flag.StringVar(&c.Address, "address", "127.0.0.1:9191", "host:port or unix:///path")
	flag.IntVar(&c.Connections, "connections", 2, "connections")
	flag.IntVar(&c.InFlight, "in-flight", 32, "requests under way, on all connections together")
	flag.StringVar(&c.Shape.Path, "path", "", "path of the requests")
	flag.BoolVar(&c.Shape.Map, "map", false, "headers as Envoy sends them without encode_raw_headers")
	flag.BoolVar(&c.Shape.Few, "few", false, "only the headers that the shipped chains let through")
	tokens := flag.String("tokens", "", "file of tokens, one a line")
	choice := flag.String("choice", "uniform", "uniform | zipf | once")
	duration := flag.Duration("duration", 10*time.Second, "how long")
	warm := flag.Bool("warm", false, "send every token once before, and do not count that")
	secure := flag.Bool("tls", false, "TLS, whatever the certificate")
	pid := flag.Int("pid", 0, "process of the server, to read its CPU and memory")
	flag.Parse()

	c.Choice = load.Choice(*choice)
	if c.Choice != load.Uniform && c.Choice != load.Zipf && c.Choice != load.Once {
		return fmt.Errorf("-choice: got %q, want uniform, zipf or once", *choice)
	}
	if *secure {
		c.TLS = &tls.Config{InsecureSkipVerify: true} // what is measured is on this machine
	}
	var err error
	if c.Tokens, err = load.ReadTokens(*tokens); err != nil {
		return err
	}
	client, err := load.Dial(c)
	if err != nil {
		return err
	}
	defer client.Close()
	if *warm {
		client.Each(ctx)
	}
	measured, err := measure(ctx, client, *duration, *pid)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(measured)
}

func measure(ctx context.Context, client *load.Client, duration time.Duration, pid int) (report, error) {
	if pid == 0 {
		return report{Result: client.For(ctx, duration)}, nil
	}
	before, err := process.CPU(pid)
	if err != nil {
		return report{}, err
	}
	r := report{Result: client.For(ctx, duration)}
	after, err := process.CPU(pid)
	if err != nil {
		return report{}, err
	}
	if r.Requests == 0 {
		return r, errors.New("no request was sent")
	}
	r.CPU = float64((after - before).Nanoseconds()) / 1000 / float64(r.Requests)
	r.Resident, r.Peak, err = process.Memory(pid)
	return r, err
}
