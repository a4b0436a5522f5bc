package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/test/bench/process"
)

// sample is one measurement: microseconds a request.
type sample struct {
	Envoy  float64 `json:"envoy_cpu_us"`
	Server float64 `json:"server_cpu_us"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	Rate   float64 `json:"requests_per_second"`
}

const warmUp = 500 * time.Millisecond

// measure starts Envoy, and whom it asks, for one row.
func (b *bench) measure(ctx context.Context, r row) (sample, error) {
	addresses := chains.Addresses{Upstream: "127.0.0.1:1"}
	for _, to := range []*string{&addresses.Listener, &addresses.Bearergate, &addresses.Admin} {
		address, err := process.Free()
		if err != nil {
			return sample{}, err
		}
		*to = address
	}
	if r.unix {
		addresses.Bearergate = "unix://" + filepath.Join(b.dir, "authz.sock")
	}
	server, err := b.startServer(ctx, r, addresses.Bearergate)
	if err != nil {
		return sample{}, err
	}
	if server != nil {
		defer server.Stop()
	}
	envoy, err := b.startEnvoy(ctx, r, addresses)
	if err != nil {
		return sample{}, err
	}
	defer envoy.Stop()
	m, err := b.loaded(ctx, addresses.Listener, envoy, server)
	if err != nil {
		return sample{}, errors.Join(err, errors.New(envoy.Log()))
	}
	return m, nil
}

func (b *bench) startServer(ctx context.Context, r row, address string) (*process.Process, error) {
	if r.asks == askNobody {
		return nil, nil
	}
	if r.asks == askNoop {
		server, err := process.Start(b.dir, b.noop, nil, append([]string{"-address", address}, r.noop...)...)
		if err != nil {
			return nil, err
		}
		return ready(server, server.Listens(ctx, address))
	}
	admin, err := process.Free()
	if err != nil {
		return nil, err
	}
	file := b.configFile()
	config := b.issuer.Config(address, admin, "") + "cache: {ttl: 1h}\n" + r.settings
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if r.asks == askInside {
		return nil, nil
	}
	server, err := process.Start(b.dir, b.binary, nil, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	return ready(server, server.Get(ctx, "http://"+admin+"/readyz"))
}

func (b *bench) startEnvoy(ctx context.Context, r row, a chains.Addresses) (*process.Process, error) {
	content, err := bootstrap(r, a, b.issuer)
	if err != nil {
		return nil, err
	}
	content = bytes.ReplaceAll(content, []byte(inFile), []byte(b.configFile()))
	file := filepath.Join(b.dir, "envoy.yaml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return nil, err
	}
	envoy, err := process.Start(b.dir, b.envoy, b.environment(r), "-c", file,
		"--log-level", "warn", "--disable-hot-restart", "--concurrency", "1")
	if err != nil {
		return nil, err
	}
	return ready(envoy, envoy.Get(ctx, "http://"+a.Admin+"/ready"))
}

func (b *bench) configFile() string { return filepath.Join(b.dir, "bearergate.yaml") }

// environment is what an Envoy needs that loads the module.
func (b *bench) environment(r row) []string {
	if r.asks != askInside {
		return nil
	}
	return []string{"GODEBUG=cgocheck=0", "ENVOY_DYNAMIC_MODULES_SEARCH_PATH=" + b.library}
}

// ready stops what did not get so.
func ready(p *process.Process, err error) (*process.Process, error) {
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (b *bench) loaded(ctx context.Context, address string, envoy, server *process.Process) (sample, error) {
	if _, err := each(ctx, address, b.connections, b.all); err != nil {
		return sample{}, err
	}
	if _, err := sendFor(ctx, address, b.connections, b.all, min(warmUp, b.duration)); err != nil {
		return sample{}, err
	}
	before, err := cpuOf(envoy, server)
	if err != nil {
		return sample{}, err
	}
	r, err := sendFor(ctx, address, b.connections, b.all, b.duration)
	if err != nil {
		return sample{}, err
	}
	after, err := cpuOf(envoy, server)
	if err != nil {
		return sample{}, err
	}
	if r.requests == 0 {
		return sample{}, errors.New("no request was sent")
	}
	a := func(i int) float64 { return microseconds(after[i]-before[i]) / float64(r.requests) }
	return sample{
		Envoy: a(0), Server: a(1), Rate: float64(r.requests) / r.took.Seconds(),
		P50: microseconds(r.latencies[len(r.latencies)/2]), P99: microseconds(r.latencies[len(r.latencies)*99/100]),
	}, nil
}

// cpuOf reads both; a server that is not there took none.
func cpuOf(processes ...*process.Process) ([]time.Duration, error) {
	all := make([]time.Duration, len(processes))
	for i, p := range processes {
		if p == nil {
			continue
		}
		var err error
		if all[i], err = process.CPU(p.PID()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
