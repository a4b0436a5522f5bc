package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// address is the node's, as node.sh gives it, and the first one of its Pods'.
const (
	address  = "10.244.0.1"
	podRange = "10.244.0.0/24"
)

// work is the directory of node.sh: the programs under test, and all that the
// node writes. Empty outside of it.
var work = os.Getenv("NODE")

// startNode makes this a Kubernetes node: it runs what is given to the API server.
func startNode(t *testing.T) {
	t.Helper()
	kubeconfig := writeKubeconfig(t)
	socket := "/run/containerd/containerd.sock"
	runtime := fmt.Sprintf(`version = 2
root = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  # Without CAP_SYS_RESOURCE no score can be lowered.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %q
`, inWork("containerd"), pauseImage, inWork("cni"))
	// Point to point, not a bridge: traffic between Pods passes the node's rules.
	network := `{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {
	"type": "host-local", "dataDir": "/run/cni", "routes": [{"dst": "0.0.0.0/0"}],
	"ranges": [[{"subnet": "` + podRange + `", "rangeStart": "10.244.0.10"}]]
}}]}`
	kubelet := fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: %[1]q}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
failCgroupV1: false
failSwapOn: false
clusterDNS: [%[3]s]
clusterDomain: cluster.local
resolvConf: ""
containerRuntimeEndpoint: unix://%[4]s
volumePluginDir: %[5]q
configMapAndSecretChangeDetectionStrategy: Watch
syncFrequency: 10s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
`, server.certificate, filepath.Base(work), address, socket, inWork("plugins"))
	for name, content := range map[string]string{
		"containerd.toml": runtime, "cni/10-pods.conflist": network, "kubelet.yaml": kubelet,
	} {
		write(t, inWork(name), content)
	}

	start(t, "/usr/bin", "containerd", "--config", inWork("containerd.toml"))
	eventually(t, "containerd", func() error { return execute("ctr", "version") })
	for image, program := range map[string]string{gateImage: "bearergate", pauseImage: "pause"} {
		archive := inWork(program + ".tar")
		if err := writeImage(archive, image, inWork(program)); err != nil {
			t.Fatal(err)
		}
		if err := execute("ctr", "--namespace", "k8s.io", "images", "import", archive); err != nil {
			t.Fatal(err)
		}
	}
	start(t, server.programs, "kube-controller-manager", "--kubeconfig", kubeconfig, "--leader-elect=false",
		"--bind-address", "127.0.0.1", "--service-account-private-key-file", server.signingKey,
		"--root-ca-file", server.certificate, "--horizontal-pod-autoscaler-sync-period", "2s")
	start(t, server.programs, "kube-scheduler", "--kubeconfig", kubeconfig, "--leader-elect=false",
		"--bind-address", "127.0.0.1")
	start(t, server.programs, "kubelet", "--kubeconfig", kubeconfig, "--config", inWork("kubelet.yaml"),
		"--root-dir", inWork("kubelet"), "--hostname-override", "node", "--node-ip", address)
	start(t, server.programs, "kube-proxy", "--kubeconfig", kubeconfig, "--proxy-mode", "nftables",
		"--hostname-override", "node", "--cluster-cidr", podRange, "--bind-address", address, "--conntrack-max-per-core", "0",
		"--conntrack-tcp-timeout-established", "0s", "--conntrack-tcp-timeout-close-wait", "0s")
	resolver, err := net.ListenPacket("udp", address+":53")
	if err != nil {
		t.Fatal(err)
	}
	go server.serveDNS(t.Context(), resolver)
	eventually(t, "node", nodeReady)
}

func nodeReady() error {
	content, err := server.get(context.Background(), "/api/v1/nodes/node")
	if err != nil {
		return err
	}
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal(content, &node); err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			return nil
		}
	}
	return fmt.Errorf("not ready: %v", node.Status.Conditions)
}

// writeKubeconfig writes what the programs of the node, and Helm, connect by.
func writeKubeconfig(t *testing.T) string {
	t.Helper()
	path := inWork("kubeconfig")
	write(t, path, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: test, user: {token: %q}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`, server.url, server.certificate, server.token))
	t.Setenv("KUBECONFIG", path)
	return path
}

func inWork(name string) string { return filepath.Join(work, name) }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs a program until the end of all tests.
func start(t *testing.T, programs, name string, args ...string) {
	t.Helper()
	if err := server.run(programs, work, name, args...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(inWork(name + ".log")) // without it there is less to see
			t.Logf("%s:\n%s", name, tail(log))
		}
	})
}

// execute runs a command to its end. Its error says what it printed.
func execute(name string, args ...string) error {
	output, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, output)
	}
	return nil
}

// output returns what a command printed, whatever became of it.
func output(name string, args ...string) []byte {
	printed, _ := exec.Command(name, args...).CombinedOutput()
	return printed
}

// tail returns the end of a log.
func tail(log []byte) string { return string(log[max(0, len(log)-4000):]) }

// eventually waits until ok has no error any more.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}
