package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"sigs.k8s.io/yaml"
)

// noted returns the bootstrap of envoy.yaml, listening at address, with the
// filter and the cluster that the notes of a value set show.
func noted(t *testing.T, name, address string) (bootstrap, cluster map[string]any) {
	t.Helper()
	shown := snippets(t, name, 3)
	var filter map[string]any
	if err := errors.Join(
		yaml.Unmarshal([]byte(read(t, root+"/envoy/config/envoy.yaml")), &bootstrap),
		yaml.Unmarshal([]byte(element(t, shown[0])), &filter),
		yaml.Unmarshal([]byte(element(t, shown[2])), &cluster),
	); err != nil {
		t.Fatal(err)
	}
	static := bootstrap["static_resources"].(map[string]any)
	static["clusters"].([]any)[0] = cluster
	static["listeners"].([]any)[0].(map[string]any)["address"] = endpoint(t, address)
	walk("", static["listeners"], func(_ string, node map[string]any) {
		if filters, ok := node["http_filters"].([]any); ok {
			filters[0] = filter
		}
	})
	return bootstrap, cluster
}

func endpoint(t *testing.T, address string) map[string]any {
	t.Helper()
	at := socket(t, address)
	return map[string]any{"socket_address": map[string]any{"address": at["address"], "port_value": at["portValue"]}}
}

func bootstrapFile(t *testing.T, bootstrap map[string]any) string {
	t.Helper()
	content, err := json.Marshal(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	write(t, file, string(content))
	return file
}

// TestNotesNameEveryPod: behind a cluster IP an Envoy's one connection leads to
// one Pod, and replicas beyond it get nothing.
func TestNotesNameEveryPod(t *testing.T) {
	for name, port := range map[string]uint32{"minimal": 9191, "mutual-tls": 8443, "cert-manager": 9191} {
		t.Run(name, func(t *testing.T) {
			cluster := new(clusterv3.Cluster)
			fromYAML(t, element(t, snippets(t, name, 3)[2]), cluster)
			if err := cluster.ValidateAll(); err != nil {
				t.Error(err)
			}
			at := cluster.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress()
			if got, want := at.GetAddress(), "gate-bearergate-headless.security.svc.cluster.local"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			// A headless name resolves to Pods, and nothing maps the Service's port there.
			if at.GetPortValue() != port {
				t.Errorf("got port %d, want the Pods' %d", at.GetPortValue(), port)
			}
			bootstrap, _ := noted(t, name, "127.0.0.1:1")
			certificate, key := pair(t, "envoy")
			dir := t.TempDir()
			walk("", bootstrap, func(_ string, node map[string]any) {
				file, ok := node["filename"].(string)
				if !ok || !strings.HasPrefix(file, "/etc/envoy/") {
					return
				}
				content := certificate
				if filepath.Ext(file) == ".key" {
					content = key
				}
				node["filename"] = filepath.Join(dir, filepath.Base(file))
				write(t, node["filename"].(string), content)
			})
			if out, errs, err := execute(envoyBinary(t), "--mode", "validate", "-c", bootstrapFile(t, bootstrap)); err != nil {
				t.Errorf("%v\n%s%s", err, out, errs)
			}
		})
	}
}

// TestNotesAskAnotherPod: a Pod that has just gone costs no request its answer.
func TestNotesAskAnotherPod(t *testing.T) {
	listener, gone := free(t), free(t)
	service, stop := serveBearergate(t, serveIssuer(t).URL())
	bootstrap, cluster := noted(t, "minimal", listener)
	cluster["type"] = "STATIC"
	endpoints := cluster["load_assignment"].(map[string]any)["endpoints"].([]any)[0].(map[string]any)
	endpoints["lb_endpoints"] = nil
	for _, address := range []string{gone, service} {
		all, _ := endpoints["lb_endpoints"].([]any)
		endpoints["lb_endpoints"] = append(all, map[string]any{"endpoint": map[string]any{"address": endpoint(t, address)}})
	}
	start(t, envoyBinary(t), "--config-path", bootstrapFile(t, bootstrap),
		"--base-id", fmt.Sprint(os.Getpid()+1), "--log-level", "warn")
	wait(t, listener)
	// Many at a time: Envoy's own bound of retries under way is three.
	statuses := func() map[int]int {
		var mu sync.Mutex
		var askers sync.WaitGroup
		got := map[int]int{}
		for range 20 {
			askers.Go(func() {
				for range 20 {
					response, err := http.Get("http://" + listener + "/orders")
					if err != nil {
						t.Error(err)
						return
					}
					_ = response.Body.Close()
					mu.Lock()
					got[response.StatusCode]++
					mu.Unlock()
				}
			})
		}
		askers.Wait()
		return got
	}
	if got := statuses(); got[401] != 400 {
		t.Errorf("got %v, want 400 of 401", got)
	}
	stop()
	if got := statuses(); got[503] != 400 {
		t.Errorf("with none left: got %v, want 400 of 503", got)
	}
}

// TestNotesGiveEachTryItsTime: Envoy takes the longest pause between tries for
// the time of one, too, and an introspection may need all of it.
func TestNotesGiveEachTryItsTime(t *testing.T) {
	var filter struct {
		TypedConfig struct {
			GRPCService struct {
				Timeout     string `json:"timeout"`
				RetryPolicy struct {
					RetryBackOff struct {
						MaxInterval string `json:"max_interval"`
					} `json:"retry_back_off"`
				} `json:"retry_policy"`
			} `json:"grpc_service"`
		} `json:"typed_config"`
	}
	if err := yaml.Unmarshal([]byte(element(t, snippets(t, "minimal", 3)[0])), &filter); err != nil {
		t.Fatal(err)
	}
	service := filter.TypedConfig.GRPCService
	if got := service.RetryPolicy.RetryBackOff.MaxInterval; got == "" || got != service.Timeout {
		t.Errorf("got %q for one try, want the filter's %q", got, service.Timeout)
	}
}

// TestHelmTestAsks hands the arguments of helm test to the real binary, with a
// service that nobody finds, and its files at hand.
func TestHelmTestAsks(t *testing.T) {
	for _, name := range []string{"minimal", "cert-manager", "mutual-tls"} {
		pod, ok := pods(t, name)["gate-bearergate-test"]
		if !ok {
			t.Fatalf("%s: no Pod", name)
		}
		dir, args := t.TempDir(), []string{}
		for _, arg := range pod.Spec.Containers[0].Args {
			if _, file, ok := strings.Cut(arg, "="+etc); ok {
				write(t, filepath.Join(dir, file), content(t, file))
				arg = strings.ReplaceAll(arg, etc, dir+"/")
			}
			if strings.HasPrefix(arg, "--address=gate-bearergate.security.svc:") {
				arg = "--address=" + free(t)
			}
			args = append(args, arg)
		}
		_, errs, err := execute(filepath.Join(binaries, "bearergate"), args...)
		if err == nil || !strings.Contains(errs, "127.0.0.1") {
			t.Errorf("%s: got %q, want that nobody answers there", name, errs)
		}
	}
}
