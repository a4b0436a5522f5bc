package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	chains "github.com/bearergate/bearergate/envoy/config"
)

// envoy is a running Envoy.
type envoy struct {
	ended chan struct{} // closed when it has
}

// startEnvoy starts Envoy at the preferred address or, when that is taken, at
// another one. Both it and Envoy's own admin page are then asked for: no one
// else can have got the port in between.
func (p *parts) startEnvoy(ctx context.Context, binary string) (*envoy, error) {
	e, err := p.tryEnvoy(ctx, binary)
	if errors.Is(err, errEnded) && ctx.Err() == nil && p.addresses.Listener == preferred {
		p.addresses.Listener = anywhere
		e, err = p.tryEnvoy(ctx, binary)
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.envoyLog())
	}
	return e, nil
}

var errEnded = errors.New("ended by itself")

func (p *parts) tryEnvoy(ctx context.Context, binary string) (*envoy, error) {
	ctx, cancel := context.WithCancel(ctx)
	e, err := p.runEnvoy(ctx, binary)
	if err != nil {
		cancel()
		return nil, err
	}
	if err := p.awaitEnvoy(ctx, e); err != nil {
		cancel()
		<-e.ended
		return nil, err
	}
	go func() { <-e.ended; cancel() }()
	return e, nil
}

func (p *parts) runEnvoy(ctx context.Context, binary string) (*envoy, error) {
	bootstrap, err := chains.Bootstrap("envoy.yaml", p.addresses)
	if err != nil {
		return nil, err
	}
	// Several Envoys may else listen on one port, and share out its connections.
	const name = "- name: ingress\n"
	if !strings.Contains(bootstrap, name) {
		return nil, errors.New("the chain has no listener named ingress")
	}
	bootstrap = strings.Replace(bootstrap, name, name+"      enable_reuse_port: false\n", 1)
	file := filepath.Join(p.dir, "envoy.yaml")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		return nil, err
	}
	if err := os.Remove(p.adminFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	output, err := os.Create(filepath.Join(p.dir, "envoy.log"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd := exec.CommandContext(ctx, binary, //nolint:gosec // the operator's Envoy
		"-c", file, "--admin-address-path", p.adminFile(),
		"--log-level", "warn", "--disable-hot-restart", "--concurrency", "2")
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	e := &envoy{ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(e.ended) }()
	return e, nil
}

// awaitEnvoy waits until Envoy passes requests on, and learns where it listens.
func (p *parts) awaitEnvoy(ctx context.Context, e *envoy) error {
	limited, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var admin string
	for admin == "" {
		content, err := os.ReadFile(p.adminFile()) // written by Envoy, once it listens there
		if err == nil && strings.Contains(string(content), ":") {
			admin = strings.TrimSpace(string(content))
			break
		}
		if err := pause(limited, "Envoy", e.ended); err != nil {
			return err
		}
	}
	if err := wait(limited, "Envoy", "http://"+admin+"/ready", http.StatusOK, e.ended); err != nil {
		return err
	}
	listener, err := listenerOf(limited, admin)
	if err != nil {
		return err
	}
	p.addresses.Admin, p.addresses.Listener = admin, listener
	return wait(limited, "Envoy", "http://"+listener+"/", http.StatusUnauthorized, e.ended)
}

func (p *parts) adminFile() string { return filepath.Join(p.dir, "admin-address") }

// listenerOf asks Envoy where its one listener is.
func listenerOf(ctx context.Context, admin string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/listeners?format=json", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var all struct {
		Statuses []struct {
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return "", err
	}
	if len(all.Statuses) != 1 {
		return "", fmt.Errorf("the demo's Envoy has %d listeners, want 1", len(all.Statuses))
	}
	socket := all.Statuses[0].Local.Socket
	return net.JoinHostPort(socket.Address, strconv.Itoa(socket.Port)), nil
}

func (p *parts) envoyLog() string {
	content, _ := os.ReadFile(filepath.Join(p.dir, "envoy.log"))
	return string(content)
}

// wait asks url until it answers with status, or until what is asked ends.
func wait(ctx context.Context, what, url string, status int, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == status {
				return nil
			}
		}
		if err := pause(ctx, what, ended); err != nil {
			return err
		}
	}
}

// pause is between two attempts.
func pause(ctx context.Context, what string, ended <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s did not get ready within %s", what, startTimeout)
	case <-ended:
		return fmt.Errorf("%s %w", what, errEnded)
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}
