// Package filter is Bearergate as an HTTP filter in Envoy's own process: the way from a
// request as Envoy's dynamic modules show it to an authz.Request, and from an
// authz.Decision to what becomes of the request. It decides nothing, and is the second
// door to what package envoy answers over gRPC.
//
// Everything here is called on Envoy's threads, whose memory it shares: a panic must not
// leave a function that Envoy calls, and the texts that Envoy shows are gone after it.
package filter

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/cli"
)

// Build says which sources the library was made of.
type Build = cli.Build

// settleTime bounds how long the first use of a configuration file waits for its
// issuers, so that the first requests find them there.
const settleTime = 2 * time.Second

// Factory makes the filters of one process. All that name the same configuration file
// share one engine, whichever listener they belong to and however often Envoy builds
// that anew: nothing that was found out is lost. An engine lives as long as the process.
type Factory struct {
	build  Build
	stderr io.Writer

	mu      sync.Mutex
	engines map[string]*engine
}

// NewFactory returns the factory that Envoy asks; what the engines log goes to stderr.
func NewFactory(build Build, stderr io.Writer) *Factory {
	return &Factory{build: build, stderr: stderr, engines: map[string]*engine{}}
}

// engine decides for all workers.
type engine struct {
	inside  *cli.Inside
	checks  *envoy.Server
	admin   string
	room    room
	streams streams
}

// Create implements shared.HttpFilterConfigFactory. After an error Envoy does not use
// the listener.
func (f *Factory) Create(_ shared.HttpFilterConfigHandle, raw []byte) (_ shared.HttpFilterFactory, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %T", p)
		}
	}()
	cfg, err := parseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("filter_config: %w", err)
	}
	e, err := f.engine(cfg)
	if err != nil {
		return nil, err
	}
	return &filters{engine: e, timeout: cfg.timeout, route: cfg.route}, nil
}

// CreatePerRoute implements shared.HttpFilterConfigFactory. There is no error: Envoy
// would go on without what it could not read, and a typo never opens a route
// (docs/contract.md §3). What cannot be read is remembered, and denies.
func (f *Factory) CreatePerRoute(raw []byte) (route any, _ error) {
	defer func() {
		if recover() != nil {
			route = &authz.Route{Unknown: unreadable}
		}
	}()
	parsed := parseRoute(raw)
	return &parsed, nil
}

// engine returns the one of a configuration file, which it starts the first time.
func (f *Factory) engine(cfg config) (*engine, error) {
	path, err := filepath.Abs(cfg.file)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.engines[path]; e != nil {
		if cfg.admin != "" && cfg.admin != e.admin {
			return nil, fmt.Errorf("filter_config: admin_address: got %q, and %q is in use for %s", cfg.admin, e.admin, path)
		}
		return e, nil
	}
	inside, err := cli.StartInside(f.build, cli.InsideOptions{
		ConfigFile: path, AdminAddress: cfg.admin, Stderr: f.stderr,
	})
	if err != nil {
		return nil, err
	}
	inside.Settle(settleTime)
	e := &engine{
		inside: inside, checks: inside.Checks(), admin: cfg.admin, room: room{most: maxWaitingBytes},
		streams: streams{open: map[*filter]watched{}, fresh: map[*filter]struct{}{}},
	}
	go e.watch()
	f.engines[path] = e
	return e, nil
}

// filters makes the filters of one filter_config, one for each stream.
type filters struct {
	engine  *engine
	timeout time.Duration
	route   authz.Route
}

// Create implements shared.HttpFilterFactory. It never returns nil: the SDK would let
// the request of a stream without a filter pass.
func (f *filters) Create(handle shared.HttpFilterHandle) shared.HttpFilter {
	return &filter{filters: f, handle: handle}
}

// maxWaitingBytes bounds the memory of requests that wait, as that of Checks under way
// is bounded.
const maxWaitingBytes = 128 << 20

// room is how much memory those that wait may take.
type room struct {
	most  int64
	taken atomic.Int64
}

var errNoRoom = errors.New("too many bytes of requests wait for a decision")

func (r *room) enter(bytes int64) bool {
	if r.taken.Add(bytes) > r.most {
		r.leave(bytes)
		return false
	}
	return true
}

func (r *room) leave(bytes int64) { r.taken.Add(-bytes) }
