// Package demo runs the main job on one machine: a development authorization
// server, an upstream that echoes what it got, Bearergate as `serve` runs it,
// and a real Envoy in front. It is no way to run Bearergate for anybody else.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/devissuer"
)

const (
	audience = "demo-api"

	upstreamAudience = "demo-internal" // of the token that the upstream gets in place of the client's

	preferred    = "127.0.0.1:10000" // where Envoy listens, if it can
	anywhere     = "127.0.0.1:0"
	startTimeout = 30 * time.Second
)

// Options are what the demo needs from outside.
type Options struct {
	Envoy string // binary; empty: none was found
	Check bool   // send the requests, compare, and end

	Shared bool   // two replicas that share a store
	Store  string // binary of Redis or Valkey; empty: none was found

	Out   io.Writer
	Serve func(ctx context.Context, configFile string, grpc, admin net.Listener) error
}

// Run starts everything, prints what to try, and stops when ctx ends.
func Run(ctx context.Context, o Options) error {
	if o.Shared && o.Store == "" {
		return errNoStore
	}
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "bearergate-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := prepare(dir)
	if err != nil {
		return err
	}
	defer p.close()
	if o.Shared {
		return o.runShared(ctx, p, began)
	}
	gate := o.serve(ctx, p)
	defer func() { cancel(); <-gate.ended }()
	if err := gate.ready(ctx, p); err != nil {
		return err
	}
	if o.Envoy == "" {
		return o.withoutEnvoy(ctx, p)
	}
	return o.withEnvoy(ctx, p, began)
}

// gate is a running Bearergate.
type gate struct {
	ended chan struct{} // closed when it has
	err   error         // why; to be read after that
}

func (o Options) serve(ctx context.Context, p *parts) *gate {
	g := &gate{ended: make(chan struct{})}
	go func() {
		g.err = o.Serve(ctx, p.configFile, p.grpc, p.admin)
		close(g.ended)
		_ = p.admin.Close() // or whoever asks would wait for somebody to accept
	}()
	return g
}

// ready waits until tokens can be decided. A service that ended says itself why.
func (g *gate) ready(ctx context.Context, p *parts) error {
	err := wait(ctx, "Bearergate", "http://"+p.admin.Addr().String()+"/readyz", http.StatusOK, g.ended)
	if errors.Is(err, errEnded) && g.err != nil {
		return fmt.Errorf("%w: %w", err, g.err)
	}
	return err
}

func (o Options) withEnvoy(ctx context.Context, p *parts, began time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	envoy, err := p.startEnvoy(ctx, o.Envoy)
	if err != nil {
		cancel()
		return err
	}
	defer func() { cancel(); <-envoy.ended }()
	steps := p.steps()
	if err := send(ctx, steps[0]); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "The first request was allowed through Envoy after %.1f s.\n\n", time.Since(began).Seconds())
	if o.Check {
		return checkAll(ctx, o.Out, steps)
	}
	for _, s := range steps {
		fmt.Fprintf(o.Out, "# %s: %d\n%s\n\n", s.title, s.want, s.curl())
	}
	fmt.Fprintf(o.Out, "Metrics and status: http://%s/   Stop with Ctrl-C.\n", p.admin.Addr())
	<-ctx.Done()
	return nil
}

const noEnvoy = "missing: no Envoy binary ($ENVOY, or envoy on PATH); `make demo` fetches one"

var errNothingToCheck = errors.New("nothing to check without an Envoy")

func (o Options) withoutEnvoy(ctx context.Context, p *parts) error {
	fmt.Fprintln(o.Out, noEnvoy)
	if o.Check {
		return errNothingToCheck
	}
	for _, s := range p.steps() {
		fmt.Fprintf(o.Out, "# %s: %d, once there is an Envoy at %s\n%s\n\n", s.title, s.want, p.addresses.Listener, s.curl())
	}
	fmt.Fprintf(o.Out, "Bearergate answers ext_authz on %s; status: http://%s/   Stop with Ctrl-C.\n",
		p.addresses.Bearergate, p.admin.Addr())
	<-ctx.Done()
	return nil
}

// parts are the pieces around Bearergate and Envoy.
type parts struct {
	dir        string
	issuer     *devissuer.Issuer
	stopIssuer func()
	upstream   *http.Server
	addresses  chains.Addresses
	configFile string
	secret     string   // of Bearergate at the issuer
	shared     *sharing // nil: there is one replica

	// Bearergate's listeners stay open from here on: an address that was found
	// free and let go would be found by the next demo, too.
	grpc, admin net.Listener
}

func prepare(dir string) (*parts, error) {
	p := &parts{dir: dir, secret: rand.Text()}
	var err error
	if p.issuer, p.stopIssuer, err = devissuer.Start(map[string]string{"bearergate": p.secret}); err != nil {
		return nil, err
	}
	var up net.Listener
	for _, lis := range []*net.Listener{&up, &p.grpc, &p.admin} {
		if *lis, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	p.upstream = &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = p.upstream.Serve(up) }()
	p.addresses = chains.Addresses{
		Listener: preferred, Bearergate: p.grpc.Addr().String(), Upstream: up.Addr().String(), Admin: anywhere,
	}
	p.configFile = filepath.Join(dir, "bearergate.yaml")
	return p, p.configure()
}

func (p *parts) configure() error {
	return os.WriteFile(p.configFile, []byte(p.configuration()), 0o600)
}

func (p *parts) configuration() string {
	server, sections := p.shared.settings()
	return fmt.Sprintf(`server: {grpc_address: %q, admin_address: %q%s}
log: {level: info, format: text}
auth:
  issuer: %q
  audience: %s
  token_validation: both
  client_id: bearergate
  client_secret: %q
  insecure_http: true
rules:
  - name: orders
    match: {paths: ["/orders/**"]}
    scopes: [orders:read]
  - name: internal # this upstream gets a token of its own, and never the client's
    match: {paths: ["/internal/**"]}
    scopes: [orders:read]
    upstream_token: {audience: [%s], scopes: [orders:read]}
%s`, p.addresses.Bearergate, p.admin.Addr().String(), server, p.issuer.URL(), audience, p.secret, upstreamAudience,
		sections)
}

func (p *parts) close() {
	p.stopIssuer()
	_ = p.upstream.Close()
}

// echo answers with the request as the upstream sees it.
func echo(w http.ResponseWriter, r *http.Request) {
	headers := map[string]string{}
	for name := range r.Header {
		headers[name] = r.Header.Get(name)
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(map[string]any{"method": r.Method, "path": r.URL.RequestURI(), "headers": headers})
}
