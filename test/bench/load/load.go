package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Choice says which token the next request has.
type Choice string

// The choices.
const (
	Uniform Choice = "uniform" // each as often as any other
	Zipf    Choice = "zipf"    // few of them often, as in life
	Once    Choice = "once"    // each a single time; the load ends with the last
)

// Config is a load.
type Config struct {
	Address     string      // host:port or unix:///path
	TLS         *tls.Config // nil: plain text
	Connections int
	InFlight    int // on all connections together
	Tokens      []string
	Choice      Choice
	Shape       Shape
}

// Result is what a load saw.
type Result struct {
	Seconds  float64          `json:"seconds"`
	Requests int              `json:"requests"`
	Rate     float64          `json:"requests_per_second"`
	P50      float64          `json:"p50_us"`
	P90      float64          `json:"p90_us"`
	P99      float64          `json:"p99_us"`
	P999     float64          `json:"p99_9_us"`
	Answers  map[string]int64 `json:"answers"` // allowed, denied 401, …, error
	Error    string           `json:"error,omitempty"`
}

// Client is connected, and sends one load after another.
type Client struct {
	config Config
	conns  []*grpc.ClientConn
	next   atomic.Int64 // of Once
}

// Dial connects.
func Dial(c Config) (*Client, error) {
	if len(c.Tokens) == 0 || c.Connections < 1 || c.InFlight < 1 {
		return nil, errors.New("got no token, connection or request in flight, want at least one of each")
	}
	transport := insecure.NewCredentials()
	if c.TLS != nil {
		transport = credentials.NewTLS(c.TLS)
	}
	client := &Client{config: c}
	for range c.Connections {
		// Windows for all that is under way, so that flow control is not what is measured.
		conn, err := grpc.NewClient(c.Address, grpc.WithTransportCredentials(transport),
			grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<24),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{})), grpc.WithDisableRetry())
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		client.conns = append(client.conns, conn)
	}
	return client, nil
}

// Close hangs up.
func (c *Client) Close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Remaining is how many tokens [Once] has left.
func (c *Client) Remaining() int { return max(0, len(c.config.Tokens)-int(c.next.Load())) }

// Each sends every token once, whatever the choice.
func (c *Client) Each(ctx context.Context) Result {
	var next atomic.Int64
	return c.run(ctx, func() func() (string, bool) { return c.once(&next) })
}

// For sends for a duration, or until [Once] has no token left.
func (c *Client) For(ctx context.Context, duration time.Duration) Result {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	return c.run(ctx, c.chooser)
}

// Count sends n requests, for instance as a warm-up.
func (c *Client) Count(ctx context.Context, n int) Result {
	var sent atomic.Int64
	return c.run(ctx, func() func() (string, bool) {
		choose := c.chooser()
		return func() (string, bool) {
			if sent.Add(1) > int64(n) {
				return "", false
			}
			return choose()
		}
	})
}

func (c *Client) once(next *atomic.Int64) func() (string, bool) {
	return func() (string, bool) {
		i := next.Add(1) - 1
		if i >= int64(len(c.config.Tokens)) {
			return "", false
		}
		return c.config.Tokens[i], true
	}
}

// chooser returns what chooses for one worker.
func (c *Client) chooser() func() (string, bool) {
	tokens := c.config.Tokens
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	switch c.config.Choice {
	case Once:
		return c.once(&c.next)
	case Zipf:
		zipf := rand.NewZipf(random, 1.1, 1, uint64(len(tokens)-1))
		return func() (string, bool) { return tokens[zipf.Uint64()], true }
	default:
		return func() (string, bool) { return tokens[random.IntN(len(tokens))], true }
	}
}

// worker has one request under way at a time.
type worker struct {
	conn    *grpc.ClientConn
	choose  func() (string, bool)
	writer  writer
	times   []time.Duration
	answers map[int]int64
	err     error
	failed  int64
}

func (c *Client) run(ctx context.Context, chooser func() func() (string, bool)) Result {
	workers := make([]*worker, c.config.InFlight)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range workers {
		w := &worker{
			conn: c.conns[i%len(c.conns)], choose: chooser(), answers: map[int]int64{},
			writer: writer{shape: c.config.Shape, templates: map[lengths]template{}},
		}
		workers[i] = w
		wg.Go(func() { w.run(ctx) })
	}
	wg.Wait()
	return summary(workers, time.Since(start))
}

// run sends until ctx ends, but lets the last call come back.
func (w *worker) run(ctx context.Context) {
	calls := context.WithoutCancel(ctx)
	var answer []byte
	for ctx.Err() == nil {
		token, ok := w.choose()
		if !ok {
			return
		}
		proof := w.writer.prove(token)
		begin := time.Now()
		if err := w.send(calls, token, proof, &answer); err != nil {
			w.failed++
			w.err = err
			w.writer.buffer = nil // gRPC may still hold it
		}
		w.times = append(w.times, time.Since(begin))
	}
}

func (w *worker) send(ctx context.Context, token, proof string, answer *[]byte) error {
	request, err := w.writer.write(token, proof)
	if err != nil {
		return err
	}
	if err := w.conn.Invoke(ctx, authv3.Authorization_Check_FullMethodName, request, answer); err != nil {
		return err
	}
	got, err := status(*answer)
	if err != nil {
		return err
	}
	w.answers[got]++
	return nil
}

func summary(workers []*worker, took time.Duration) Result {
	r := Result{Seconds: took.Seconds(), Answers: map[string]int64{}}
	var times []time.Duration
	for _, w := range workers {
		times = append(times, w.times...)
		for status, n := range w.answers {
			r.Answers[answerName(status)] += n
		}
		if w.failed > 0 {
			r.Answers["error"] += w.failed
			r.Error = w.err.Error()
		}
	}
	slices.Sort(times)
	r.Requests = len(times)
	r.Rate = float64(len(times)) / took.Seconds()
	r.P50, r.P90 = quantile(times, 0.5), quantile(times, 0.9)
	r.P99, r.P999 = quantile(times, 0.99), quantile(times, 0.999)
	return r
}

func answerName(status int) string {
	if status == 0 {
		return "allowed"
	}
	return "denied " + strconv.Itoa(status)
}

// quantile is in microseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(q*float64(len(sorted)-1))].Nanoseconds()) / 1000
}

// Allowed returns an error unless every answer allowed.
func (r Result) Allowed() error {
	if r.Requests == 0 || r.Answers["allowed"] != int64(r.Requests) {
		return fmt.Errorf("got %d requests with answers %v %s, want all allowed", r.Requests, r.Answers, r.Error)
	}
	return nil
}

// With returns a client on the same connections that sends one other token.
func (c *Client) With(token string) *Client {
	config := c.config
	config.Tokens = []string{token}
	return &Client{config: config, conns: c.conns}
}

// Plus is r and then next, with the latencies of next.
func (r Result) Plus(next Result) Result {
	next.Seconds += r.Seconds
	next.Requests += r.Requests
	next.Rate = float64(next.Requests) / next.Seconds
	for answer, n := range r.Answers {
		next.Answers[answer] += n
	}
	if next.Error == "" {
		next.Error = r.Error
	}
	return next
}
