// Command gateway measures what the filter costs a request through a real Envoy
// of one worker: CPU of Envoy and of the server that it asks, over an Envoy
// without a filter.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/bearergate/bearergate/test/bench/mint"
	"github.com/bearergate/bearergate/test/bench/stats"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench-envoy:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rows        *regexp.Regexp
	repetitions int
	duration    time.Duration
	connections int
	tokens      int
	envoy       string
	binary      string
	noop        string
	library     string
	out         string
}

func parse(args []string) (options, error) {
	var o options
	var pattern string
	var seconds float64
	flags := flag.NewFlagSet("bench-envoy", flag.ContinueOnError)
	flags.StringVar(&pattern, "rows", ".", "which rows, a regular expression that their whole name matches; . is all")
	flags.IntVar(&o.repetitions, "repetitions", 5, "how often each row is measured")
	flags.Float64Var(&seconds, "seconds", 5, "of each measurement")
	flags.IntVar(&o.connections, "connections", 16, "of the client, each with one request under way")
	flags.IntVar(&o.tokens, "tokens", 1000, "how many warm JWTs take turns")
	flags.StringVar(&o.envoy, "envoy", os.Getenv("ENVOY"), "the binary of Envoy")
	flags.StringVar(&o.binary, "binary", "../bin/bearergate", "the binary of Bearergate")
	flags.StringVar(&o.library, "library", "../bin", "the folder of libbearergate.so")
	flags.StringVar(&o.noop, "noop", "", "the server that checks nothing; empty: it is built")
	flags.StringVar(&o.out, "out", "../.cache/bench", "folder for the JSON")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if pattern == "." {
		pattern = ".*"
	}
	var err error
	if o.rows, err = regexp.Compile("^(?:" + pattern + ")$"); err != nil {
		return o, err
	}
	o.duration = time.Duration(seconds * float64(time.Second))
	if o.repetitions < 1 || o.duration <= 0 || o.connections < 1 || o.tokens < 1 {
		return o, errors.New("got no repetitions, seconds, connections or tokens, want some of each")
	}
	if o.envoy == "" {
		return o, errors.New("got no Envoy, want its binary in -envoy or $ENVOY")
	}
	return o, nil
}

// bench is what all rows share.
type bench struct {
	options

	dir    string
	issuer *mint.Issuer
	all    []string // tokens
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.noop == "" {
		o.noop = filepath.Join(dir, "noop")
		output, err := exec.CommandContext(ctx, "go", "build", "-o", o.noop,
			"github.com/bearergate/bearergate/test/bench/noop").CombinedOutput()
		if err != nil {
			return fmt.Errorf("go build: %w\n%s", err, output)
		}
	}
	issuer, err := mint.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer issuer.Close()
	b := &bench{options: o, dir: dir, issuer: issuer}
	if b.all, err = issuer.Mint(mint.ES256, o.tokens); err != nil {
		return err
	}
	r := newReport()
	err = b.measureAll(ctx, r, out)
	if len(r.Rows) == 0 {
		return err
	}
	r.print(out) // also what there is when it was interrupted
	name := filepath.Join(o.out, "envoy-"+r.Time.Format("20060102T150405")+".json")
	return errors.Join(err, stats.WriteJSON(name, r))
}

// measureAll takes the rows in turn, and again. The one without a filter is in
// every repetition: the others are told as what they cost above it.
func (b *bench) measureAll(ctx context.Context, r *report, out io.Writer) error {
	for n := range b.repetitions {
		for _, row := range rows() {
			if row.name != nothing && !b.rows.MatchString(row.name) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			m, err := b.measure(ctx, row)
			if err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
			r.add(row, m)
			fmt.Fprintf(out, "%d/%d %-24s Envoy %6.1f µs, server %6.1f µs, %6.0f req/s, p50 %.0f p99 %.0f µs\n",
				n+1, b.repetitions, row.name, m.Envoy, m.Server, m.Rate, m.P50, m.P99)
		}
	}
	return nil
}
