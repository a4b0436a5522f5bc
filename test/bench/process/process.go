// Package process starts what is measured, and asks the kernel what it took.
package process

import (
	"bytes"
	"context"
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
	"unsafe"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
)

// Process is one that runs.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Start runs a program, whose output goes to a file beside dir.
func Start(dir, name string, env []string, args ...string) (*Process, error) {
	output, err := os.CreateTemp(dir, filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer output.Close()
	p := &Process{cmd: exec.Command(name, args...), log: output.Name(), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = output, output
	// What is measured ends with who measures, also when that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	return p, nil
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the process.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Log returns the end of what the process printed.
func (p *Process) Log() string {
	content, _ := os.ReadFile(p.log)
	return string(content[max(0, len(content)-4000):])
}

// Get waits until url answers 200.
func (p *Process) Get(ctx context.Context, url string) error {
	return p.wait(ctx, url, func(ctx context.Context) bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// Listens waits until somebody listens on host:port or unix:///path.
func (p *Process) Listens(ctx context.Context, address string) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		network, address = "unix", path
	}
	return p.wait(ctx, address, func(ctx context.Context) bool {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

func (p *Process) wait(ctx context.Context, what string, ok func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not ready within %s\n%s", what, startTimeout, p.Log())
		case <-p.done:
			return fmt.Errorf("%s: the process ended\n%s", what, p.Log())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// CPU returns the time that all threads of a process took, ended ones too, by
// the clock of its task group: to the nanosecond, where /proc/PID/stat counts
// ticks of 10 ms. Where the kernel refuses that clock, the ticks are read.
func CPU(pid int) (time.Duration, error) {
	const perProcessSched = 2
	clock := int32(^pid)<<3 | perProcessSched // clock_getcpuclockid(3)
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if errno == 0 {
		return time.Duration(ts.Nano()), nil
	}
	return ticks(pid)
}

func ticks(pid int) (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may have spaces: fields count from behind it.
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat: got too few fields")
	}
	var sum int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * 10 * time.Millisecond, nil
}

// Memory returns what a process has resident, and the most that it ever had, in
// bytes.
func Memory(pid int) (resident, peak int64, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(content)) {
		for name, to := range map[string]*int64{"VmRSS:": &resident, "VmHWM:": &peak} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				if err != nil {
					return 0, 0, err
				}
				*to = kib << 10
			}
		}
	}
	if resident == 0 {
		return 0, 0, errors.New("/proc/PID/status: got no VmRSS")
	}
	return resident, max(peak, resident), nil
}

// Free returns an address where nobody listens.
func Free() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return lis.Addr().String(), lis.Close()
}
