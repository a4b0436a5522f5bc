// Command run measures what a Check costs the server, each row in turn with a
// server that checks nothing, and again: of a shared machine only the ratio of
// two that were measured side by side says something.
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
	"runtime"
	"syscall"

	"github.com/bearergate/bearergate/test/bench/mint"
	"github.com/bearergate/bearergate/test/bench/stats"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rows        *regexp.Regexp
	repetitions int
	seconds     float64
	binary      string
	baseline    string
	noop        string
	out         string
	chart       string
	long, small bool
}

func parse(args []string) (options, error) {
	var o options
	var pattern string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&pattern, "rows", ".", "which rows, a regular expression that their whole name matches; . is all")
	flags.IntVar(&o.repetitions, "repetitions", 5, "how often each row is measured")
	flags.Float64Var(&o.seconds, "seconds", 5, "of each measurement")
	flags.StringVar(&o.binary, "binary", "../bin/bearergate", "what is measured")
	flags.StringVar(&o.baseline, "baseline-binary", "", "another build, measured in turn with the first")
	flags.StringVar(&o.noop, "noop", "", "the server that checks nothing; empty: it is built")
	flags.StringVar(&o.out, "out", "../.cache/bench", "folder for the JSON")
	flags.StringVar(&o.chart, "chart", "", "file for the chart (SVG); empty: beside the JSON")
	flags.BoolVar(&o.long, "long", false, "the rows of a million tokens too")
	flags.BoolVar(&o.small, "small", false, "at most 1,000 tokens, to see that everything works")
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
	if o.repetitions < 1 || o.seconds <= 0 {
		return o, errors.New("got no repetitions or no seconds, want at least one and more than none")
	}
	return o, nil
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
	if err := writeCertificate(dir); err != nil {
		return err
	}
	programs, err := o.programs(ctx, dir)
	if err != nil {
		return err
	}
	issuer, err := mint.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer issuer.Close()
	b := &bench{dir: dir, issuer: issuer, seconds: o.seconds, small: o.small, minted: map[string][]string{}}
	r := newReport(o)
	err = b.all(ctx, o, programs, r, out)
	if len(r.Rows) == 0 {
		return err
	}
	r.print(out) // also what there is when it was interrupted
	return errors.Join(err, o.write(r))
}

// programs are what is compared, the yardstick first.
func (o options) programs(ctx context.Context, dir string) ([]program, error) {
	noop := o.noop
	if noop == "" {
		noop = filepath.Join(dir, "noop")
		output, err := exec.CommandContext(ctx, "go", "build", "-o", noop,
			"github.com/bearergate/bearergate/test/bench/noop").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("go build: %w\n%s", err, output)
		}
	}
	programs := []program{{yardstick, noop, true}, {subject, o.binary, false}}
	if o.baseline != "" {
		programs = append(programs, program{baseline, o.baseline, false})
	}
	return programs, nil
}

// The names of the programs in the report.
const (
	yardstick = "no-op"
	subject   = "bearergate"
	baseline  = "baseline"
)

// all measures every row once, and then again, so that what happens on the
// machine meanwhile does not meet one row alone.
func (b *bench) all(ctx context.Context, o options, programs []program, report *report, out io.Writer) error {
	chosen := o.chosen()
	if len(chosen) == 0 {
		return fmt.Errorf("no row has a name that matches %s", o.rows)
	}
	for n := range o.repetitions {
		for _, r := range chosen {
			for i := range programs {
				if err := ctx.Err(); err != nil {
					return err
				}
				p := programs[(i+n)%len(programs)] // nobody is always first
				m, err := b.measure(ctx, p, r)
				if err != nil {
					return err
				}
				report.add(r, p, m)
				fmt.Fprintf(out, "%d/%d %-20s %-10s %8.1f µs/check %8.0f req/s  p50 %.0f p99 %.0f µs  %d MiB\n",
					n+1, o.repetitions, r.name, p.name, m.CPU, m.Rate, m.P50, m.P99, m.Resident>>20)
			}
		}
	}
	return nil
}

func (o options) chosen() []row {
	var chosen []row
	for _, r := range rows() {
		if o.rows.MatchString(r.name) && (o.long || !r.long) {
			chosen = append(chosen, r)
		}
	}
	return chosen
}

// write puts the numbers and the chart where they are wanted.
func (o options) write(r *report) error {
	name := filepath.Join(o.out, r.Time.Format("20060102T150405"))
	if err := stats.WriteJSON(name+".json", r); err != nil {
		return err
	}
	if o.chart == "" {
		o.chart = name + ".svg"
	}
	return os.WriteFile(o.chart, []byte(r.chart().SVG()), 0o600)
}

func machine() string {
	return fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}
