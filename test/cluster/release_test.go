package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// littleMemory upgrades a release to a limit of 20 MiB, and looks for a while
// at what becomes of its Pods.
func littleMemory(t *testing.T, r *installation, config string) {
	t.Helper()
	r.must(t, config, "upgrade", "--wait", "--timeout", "120s",
		"--set", "resources.limits.memory=20Mi,resources.requests.memory=20Mi")
	time.Sleep(15 * time.Second)
	pods := r.running(t)
	if len(pods) != 3 {
		t.Errorf("got %d Pods that get requests, want 3", len(pods))
	}
	for _, p := range pods {
		if n := p.restarts(); n != 0 {
			t.Errorf("%s: got %d restarts, want none", p.Metadata.Name, n)
		}
		if got, want := p.environment(t, "GOMEMLIMIT"), "18MiB"; got != want {
			t.Errorf("%s: got GOMEMLIMIT %q, want %s", p.Metadata.Name, got, want)
		}
		if got := p.memory(t, "memory.limit_in_bytes"); got != 20<<20 {
			t.Errorf("%s: got a limit of %d bytes, want 20 MiB", p.Metadata.Name, got)
		}
		resident, err := metric(p.Status.PodIP, "process_resident_memory_bytes")
		if err != nil {
			t.Error(err)
		}
		n, err := checks(p.Status.PodIP)
		if err != nil || n < 100 {
			t.Errorf("%s: got %d Checks, %v, want at least 100", p.Metadata.Name, n, err)
		}
		t.Logf("%s: %d Checks, %.1f MiB resident, at most %.1f MiB charged",
			p.Metadata.Name, n, resident/(1<<20), float64(p.memory(t, "memory.max_usage_in_bytes"))/(1<<20))
	}
}

// configMap returns the one that every Pod of a release mounts.
func (r *installation) configMap(t *testing.T) string {
	t.Helper()
	names := map[string]bool{}
	for _, p := range r.running(t) {
		for _, v := range p.Spec.Volumes {
			if strings.HasPrefix(v.ConfigMap.Name, r.service()) {
				names[v.ConfigMap.Name] = true
			}
		}
	}
	if len(names) != 1 {
		t.Fatalf("got ConfigMaps %v, want one", names)
	}
	return slices.Collect(maps.Keys(names))[0]
}

// rollBack goes back to the revision before, whose configuration is another one.
func rollBack(t *testing.T, r *installation) {
	t.Helper()
	left := r.configMap(t)
	err := execute(inWork("helm"), "rollback", r.name, "--namespace", namespace, "--wait", "--timeout", "120s")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Pods of the revision before", func() error {
		if n := len(r.pods(t)); n != 3 {
			return fmt.Errorf("got %d", n)
		}
		return nil
	})
	name := r.configMap(t)
	var now struct {
		Immutable bool
		Data      map[string]string
	}
	getJSON(t, "/api/v1/namespaces/"+namespace+"/configmaps/"+name, &now)
	if name == left || !now.Immutable || strings.Contains(now.Data["bearergate.yaml"], "realm: little") {
		t.Errorf("got %s, immutable %t, %q, want the one before %s", name, now.Immutable, now.Data, left)
	}
}

// uninstall removes a release after an upgrade that its hook refused, and wants
// nothing in the namespace that was not there before. The Job that refused is
// there to be read, and Kubernetes removes it later.
func uninstall(t *testing.T, r *installation, config string, before map[string]bool) {
	t.Helper()
	if err := r.helm(t, config+"no_such_key: 1\n", "upgrade", "--timeout", "60s"); err == nil {
		t.Error("got an upgrade that succeeds")
	}
	if err := execute(inWork("helm"), "uninstall", r.name, "--namespace", namespace, "--wait"); err != nil {
		t.Fatal(err)
	}
	job := r.service() + "-validate"
	eventually(t, "a namespace as before the release", func() error {
		left := slices.DeleteFunc(slices.Sorted(maps.Keys(stored(t))), func(o string) bool {
			return before[o] || o == "jobs/"+job || strings.HasPrefix(o, "pods/"+job+"-")
		})
		if len(left) > 0 {
			return fmt.Errorf("got %v", left)
		}
		return nil
	})
	var refused struct {
		Spec struct{ TTLSecondsAfterFinished int }
	}
	getJSON(t, "/apis/batch/v1/namespaces/"+namespace+"/jobs/"+job, &refused)
	if ttl := refused.Spec.TTLSecondsAfterFinished; ttl < 1 || ttl > 3600 {
		t.Errorf("got %d seconds for the Job that refused, want at most an hour", ttl)
	}
}

// stored returns all that is in the namespace, of whatever kind, but events.
func stored(t *testing.T) map[string]bool {
	t.Helper()
	var groups struct {
		Groups []struct{ PreferredVersion struct{ GroupVersion string } }
	}
	getJSON(t, "/apis", &groups)
	prefixes := []string{"/api/v1"}
	for _, g := range groups.Groups {
		prefixes = append(prefixes, "/apis/"+g.PreferredVersion.GroupVersion)
	}
	objects := map[string]bool{}
	for _, prefix := range prefixes {
		var kinds struct {
			Resources []struct {
				Name       string
				Namespaced bool
				Verbs      []string
			}
		}
		getJSON(t, prefix, &kinds)
		for _, kind := range kinds.Resources {
			// Endpoints are deprecated, and the API server warns of them: they come and go with EndpointSlices.
			if !kind.Namespaced || !slices.Contains(kind.Verbs, "list") || kind.Name == "events" || kind.Name == "endpoints" {
				continue
			}
			var list struct {
				Items []struct{ Metadata struct{ Name string } }
			}
			getJSON(t, prefix+"/namespaces/"+namespace+"/"+kind.Name, &list)
			for _, item := range list.Items {
				objects[kind.Name+"/"+item.Metadata.Name] = true
			}
		}
	}
	return objects
}
