package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

var errNoStore = errors.New("missing: no Redis or Valkey ($REDIS, or redis-server or valkey-server on PATH); " +
	"--shared starts one for its two replicas")

// within is how soon a revocation has to be known by the other replica.
const within = time.Second

// sharing is what the replicas of a demo have in common.
type sharing struct {
	socket, keyFile string

	adminToken, adminTokenFile string
}

// startStore starts a store that only this user reaches, with a key that nobody else
// has. It ends with ctx; ended is closed when it has.
func startStore(ctx context.Context, binary, dir string) (s *sharing, ended <-chan struct{}, err error) {
	s = &sharing{
		socket: filepath.Join(dir, "store.sock"), keyFile: filepath.Join(dir, "shared-key"),
		adminToken: rand.Text() + rand.Text(), adminTokenFile: filepath.Join(dir, "admin-token"),
	}
	err = errors.Join(
		os.WriteFile(s.keyFile, []byte(rand.Text()+rand.Text()), 0o600),
		os.WriteFile(s.adminTokenFile, []byte(s.adminToken), 0o600))
	if err != nil {
		return nil, nil, err
	}
	said := new(bytes.Buffer)
	cmd := exec.CommandContext(ctx, binary, //nolint:gosec // the operator's store
		"--port", "0", "--unixsocket", s.socket, "--unixsocketperm", "700", "--save", "", "--dir", dir)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	limited, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if conn, err := new(net.Dialer).DialContext(limited, "unix", s.socket); err == nil {
			_ = conn.Close()
			return s, gone, nil
		}
		if err := pause(limited, "the store", gone); err != nil {
			<-gone
			return nil, nil, fmt.Errorf("%w\n%s", err, said)
		}
	}
}

// settings are those of the configuration's sections; nothing without a store.
func (s *sharing) settings() (server, sections string) {
	if s == nil {
		return "", ""
	}
	return fmt.Sprintf(", admin_token_file: %q", s.adminTokenFile),
		fmt.Sprintf("shared: {address: %q, key_file: %q}\nrevocation: {keep: 24h}\n", "unix://"+s.socket, s.keyFile)
}

// runShared runs two replicas of one configuration, an Envoy before each.
func (o Options) runShared(ctx context.Context, first *parts, began time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shared, ended, err := startStore(ctx, o.Store, first.dir)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-ended }()
	first.shared = shared
	second, err := first.another()
	if err != nil {
		return err
	}
	replicas := []*parts{first, second}
	for _, p := range replicas {
		if err := p.configure(); err != nil {
			return err
		}
		gate := o.serve(ctx, p)
		defer func() { cancel(); <-gate.ended }()
		if err := gate.ready(ctx, p); err != nil {
			return err
		}
	}
	if o.Envoy == "" {
		return o.withoutEnvoys(ctx, first, second)
	}
	for _, p := range replicas {
		envoy, err := p.startEnvoy(ctx, o.Envoy)
		if err != nil {
			return err
		}
		defer func() { cancel(); <-envoy.ended }()
	}
	f := newFleet(first, second)
	fmt.Fprintf(o.Out, "Two replicas share a store, after %.1f s.\n\n", time.Since(began).Seconds())
	if o.Check {
		return f.check(ctx, o)
	}
	f.show(o)
	<-ctx.Done()
	return nil
}

func (o Options) withoutEnvoys(ctx context.Context, first, second *parts) error {
	fmt.Fprintln(o.Out, noEnvoy)
	if o.Check {
		return errNothingToCheck
	}
	second.addresses.Listener = "127.0.0.1:10001"
	newFleet(first, second).show(o)
	<-ctx.Done()
	return nil
}

// another is a second replica beside p, of the same issuer, upstream and store.
func (p *parts) another() (*parts, error) {
	q := *p
	q.dir = filepath.Join(p.dir, "second")
	if err := os.Mkdir(q.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	for _, lis := range []*net.Listener{&q.grpc, &q.admin} {
		if *lis, err = net.Listen("tcp", anywhere); err != nil {
			return nil, err
		}
	}
	q.configFile = filepath.Join(q.dir, "bearergate.yaml")
	q.addresses.Bearergate, q.addresses.Listener = q.grpc.Addr().String(), anywhere
	return &q, nil
}

// fleet are two replicas and what is asked of them.
type fleet struct {
	first, second *parts
	before, after []step // a revocation
}

// newFleet makes the requests that show what replicas share: one of them asks about a
// token, and what one is told to revoke the other refuses.
func newFleet(first, second *parts) *fleet {
	claims := devissuer.Claims{
		"sub": "carol", "aud": audience, "client_id": "demo-client", "scope": "orders:read",
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	bearer := func(token string) [][2]string { return [][2]string{{"Authorization", "Bearer " + token}} }
	opaque, jwt := bearer(first.issuer.Opaque("", claims)), bearer(first.issuer.JWT(claims))
	at := func(p *parts) string { return "http://" + p.addresses.Listener + "/orders/1" }
	return &fleet{
		first: first, second: second,
		before: []step{
			{"an opaque token, about which the first replica asks", at(first), opaque, http.StatusOK, "carol", none},
			{"the same at the second replica, which asks nobody", at(second), opaque, http.StatusOK, "carol", none},
			{"a JWT of the same user at the second replica", at(second), jwt, http.StatusOK, "carol", none},
		},
		after: []step{
			{"the opaque token at the second replica, once it is revoked", at(second), opaque, http.StatusUnauthorized, "", nil},
			{"the JWT at the second replica, once it is revoked", at(second), jwt, http.StatusUnauthorized, "", nil},
		},
	}
}

func (f *fleet) show(o Options) {
	for _, s := range f.before {
		fmt.Fprintf(o.Out, "# %s: %d\n%s\n\n", s.title, s.want, s.curl())
	}
	fmt.Fprintf(o.Out, "# all tokens of this user are revoked, at the first replica: %d\n"+
		"curl -i -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '%s' %s\n\n",
		http.StatusAccepted, f.first.shared.adminToken, f.wish(), f.revocations())
	for _, s := range f.after {
		fmt.Fprintf(o.Out, "# %s: %d\n%s\n\n", s.title, s.want, s.curl())
	}
	fmt.Fprintf(o.Out, "Metrics and status: http://%s/ and http://%s/   Stop with Ctrl-C.\n",
		f.first.admin.Addr(), f.second.admin.Addr())
}

// check sends the requests, and wants one introspection for both replicas, and the
// revocation to be known by the other one in time.
func (f *fleet) check(ctx context.Context, o Options) error {
	if err := checkAll(ctx, o.Out, f.first.steps()); err != nil {
		return err
	}
	asked := f.first.issuer.Calls(devissuer.PathIntrospection)
	if err := checkAll(ctx, o.Out, f.before); err != nil {
		return err
	}
	if got := f.first.issuer.Calls(devissuer.PathIntrospection) - asked; got != 1 {
		return fmt.Errorf("got %d introspections of one token, want 1 for both replicas", got)
	}
	if err := f.revoke(ctx); err != nil {
		return err
	}
	revoked := time.Now()
	for _, s := range f.after {
		err := send(ctx, s)
		for err != nil && time.Since(revoked) < within && ctx.Err() == nil {
			err = send(ctx, s)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "%d  %s\n", s.want, s.title)
	}
	fmt.Fprintf(o.Out, "\nOne introspection served both replicas; %d ms after the first was told, the second refused.\n",
		time.Since(revoked).Milliseconds())
	return nil
}

func (f *fleet) revocations() string {
	return "http://" + f.first.admin.Addr().String() + "/revocations"
}

func (f *fleet) wish() []byte {
	wish, _ := json.Marshal(map[string]string{"issuer": f.first.issuer.URL(), "sub": "carol"}) // of texts
	return wish
}

// revoke tells the first replica, as `bearergate revoke` does.
func (f *fleet) revoke(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.revocations(), bytes.NewReader(f.wish()))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+f.first.shared.adminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var told struct{ Shared bool }
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil {
		return fmt.Errorf("revocation: got status %d: %w", resp.StatusCode, err)
	}
	if resp.StatusCode != http.StatusAccepted || !told.Shared {
		return fmt.Errorf("revocation: got status %d, shared %t, want 202 and told to all", resp.StatusCode, told.Shared)
	}
	return nil
}
