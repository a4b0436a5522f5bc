package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// result is what the client saw.
type result struct {
	requests  int
	took      time.Duration
	latencies []time.Duration // sorted
}

// request is one of eleven headers, as a browser's script sends it.
func request(token string) []byte {
	return []byte("GET /orders/4711?expand=lines HTTP/1.1\r\n" +
		"host: api.example.com\r\n" +
		"user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0\r\n" +
		"accept: application/json, text/plain, */*\r\n" +
		"accept-language: en-GB,en;q=0.9,de;q=0.7\r\n" +
		"accept-encoding: gzip, deflate, br, zstd\r\n" +
		"authorization: Bearer " + token + "\r\n" +
		"origin: https://app.example.com\r\n" +
		"referer: https://app.example.com/orders\r\n" +
		"cache-control: no-cache\r\n" +
		"x-request-id: 4f1c2f6e-8a57-4a3c-9c0e-6f7d0f7f0a11\r\n" +
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n")
}

// each sends the request of every token once, and for sends them at random until
// the time is over. An answer that is no 200 ends it with an error.
func each(ctx context.Context, address string, connections int, tokens []string) (result, error) {
	var next atomic.Int64
	return send(ctx, address, connections, func() (string, bool) {
		i := int(next.Add(1)) - 1
		if i >= len(tokens) {
			return "", false
		}
		return tokens[i], true
	})
}

func sendFor(ctx context.Context, address string, connections int, tokens []string, d time.Duration) (result, error) {
	end := time.Now().Add(d)
	return send(ctx, address, connections, func() (string, bool) {
		return tokens[rand.IntN(len(tokens))], time.Now().Before(end)
	})
}

func send(ctx context.Context, address string, connections int, choose func() (string, bool)) (result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([][]time.Duration, connections)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range connections {
		wg.Go(func() {
			var err error
			if latencies[i], err = converse(ctx, address, choose); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	r := result{took: time.Since(start), latencies: slices.Concat(latencies...)}
	slices.Sort(r.latencies)
	r.requests = len(r.latencies)
	return r, context.Cause(ctx)
}

// converse sends one request after the other on one connection.
func converse(ctx context.Context, address string, choose func() (string, bool)) ([]time.Duration, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	var latencies []time.Duration
	for ctx.Err() == nil {
		token, ok := choose()
		if !ok {
			break
		}
		message := request(token)
		begin := time.Now()
		if _, err := conn.Write(message); err != nil {
			return nil, err
		}
		if err := readOK(in); err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(begin))
	}
	return latencies, nil
}

// readOK reads an answer of status 200, and no more of it than where it ends.
func readOK(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("got %q, want 200", bytes.TrimSpace(line))
	}
	length := 0
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			_, err := io.CopyN(io.Discard, in, int64(length))
			return err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
}
