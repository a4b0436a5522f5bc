package cluster

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const podsPath = "/api/v1/namespaces/" + namespace + "/pods"

// pod is what must be known of a Pod.
type pod struct {
	Metadata struct{ Name string }
	Spec     struct {
		Volumes []struct{ ConfigMap struct{ Name string } }
	}
	Status struct {
		PodIP             netip.Addr
		ContainerStatuses []struct {
			ContainerID  string
			RestartCount int
			LastState    struct {
				Terminated struct{ ExitCode int }
			}
		}
	}
}

// restarts returns how often the container was started again.
func (p pod) restarts() int {
	sum := 0
	for _, c := range p.Status.ContainerStatuses {
		sum += c.RestartCount
	}
	return sum
}

// process returns the process ID of Bearergate in it, on the node.
func (p pod) process(t *testing.T) int {
	t.Helper()
	if len(p.Status.ContainerStatuses) != 1 {
		t.Fatalf("%s: got %d containers, want 1", p.Metadata.Name, len(p.Status.ContainerStatuses))
	}
	id := strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "containerd://")
	for line := range strings.Lines(string(output("ctr", "--namespace", "k8s.io", "tasks", "ls"))) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == id {
			process, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return process
		}
	}
	t.Fatalf("%s: got no process of container %s", p.Metadata.Name, id)
	return 0
}

// environment returns a variable of that process.
func (p pod) environment(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.process(t)))
	if err != nil {
		t.Fatal(err)
	}
	for variable := range strings.SplitSeq(string(content), "\x00") {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// memory returns a number of that process's memory controller, in bytes.
func (p pod) memory(t *testing.T, file string) int {
	t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.process(t)))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(groups), ":memory:")
	if !ok {
		t.Fatalf("got no memory controller in %s", groups)
	}
	group, _, _ := strings.Cut(rest, "\n")
	content, err := os.ReadFile("/sys/fs/cgroup/memory" + group + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// running returns the Pods that get requests.
func (r *installation) running(t *testing.T) []pod {
	t.Helper()
	addresses := r.pods(t)
	var list struct{ Items []pod }
	getJSON(t, podsPath, &list)
	return slices.DeleteFunc(list.Items, func(p pod) bool { return !slices.Contains(addresses, p.Status.PodIP) })
}

// evict has each Pod of a release evicted, as a drain of its node does: a
// disruption that the budget does not allow yet is asked for again.
func evict(t *testing.T, r *installation) {
	t.Helper()
	before := r.pods(t)
	for _, p := range r.running(t) {
		name := p.Metadata.Name
		body := fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q}}`, name)
		eventually(t, "eviction of "+name, func() error {
			path := podsPath + "/" + name + "/eviction"
			_, err := server.do(t.Context(), http.MethodPost, path, "application/json", []byte(body))
			return err
		})
	}
	eventually(t, "Pods in place of the evicted ones", func() error {
		if now := r.pods(t); len(now) != len(before) || len(common(before, now)) > 0 {
			return fmt.Errorf("got %v after %v", now, before)
		}
		return nil
	})
}

// kill ends the process of a Pod as the kernel does when memory is short, and
// waits until the Pod answers its share again.
func kill(t *testing.T, r *installation, l *load) {
	t.Helper()
	eventually(t, "load", func() error {
		if n := l.soFar()[allowed]; n < 100 {
			return fmt.Errorf("got %d answers", n)
		}
		return nil
	})
	victim := r.running(t)[0]
	name, at := victim.Metadata.Name, victim.Status.PodIP
	if err := syscall.Kill(victim.process(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica that was killed", func() error {
		var now pod
		getJSON(t, podsPath+"/"+name, &now)
		if now.restarts() != victim.restarts()+1 || !slices.Contains(r.pods(t), at) {
			return fmt.Errorf("got %d restarts, and requests for %v", now.restarts(), r.pods(t))
		}
		if code := now.Status.ContainerStatuses[0].LastState.Terminated.ExitCode; code != 137 {
			t.Errorf("got exit code %d, want 137 of SIGKILL", code)
		}
		return nil
	})
	// Envoy looks every 5 seconds, and may just now learn that the replica was gone.
	time.Sleep(6 * time.Second)
	before, err := checks(at)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Checks at the replica that was killed", func() error {
		n, err := checks(at)
		if err == nil && n < before+10 {
			return fmt.Errorf("got %d after %d", n, before)
		}
		return err
	})
}
