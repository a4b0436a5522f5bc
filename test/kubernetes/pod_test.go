package kubernetes

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// TestPodSecurityRestricted asks the evaluator of the API server.
func TestPodSecurityRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			for at, pod := range pods(t, name) {
				level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
				for _, result := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
					if !result.Allowed {
						t.Errorf("%s: %s: %s", at, result.ForbiddenReason, result.ForbiddenDetail)
					}
				}
				if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
					t.Errorf("%s: a service account token is mounted", at)
				}
				for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
					if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
						t.Errorf("%s: %s can write to its root", at, c.Name)
					}
				}
			}
		})
	}
}

// pods are those of the Deployment, of the hook and of helm test.
func pods(t *testing.T, name string) map[string]corev1.Pod {
	t.Helper()
	all := map[string]corev1.Pod{}
	for _, o := range objects(t, name) {
		switch v := o.(type) {
		case *appsv1.Deployment:
			all["Deployment"] = corev1.Pod{ObjectMeta: v.Spec.Template.ObjectMeta, Spec: v.Spec.Template.Spec}
		case *batchv1.Job:
			all[v.Name] = corev1.Pod{ObjectMeta: v.Spec.Template.ObjectMeta, Spec: v.Spec.Template.Spec}
		case *corev1.Pod:
			all[v.Name] = *v
		}
	}
	return all
}

// TestRolloutLosesNothing is the contract between the parts of a shutdown and
// a rollout, in every value set.
func TestRolloutLosesNothing(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			d := find[appsv1.Deployment](t, objects(t, name))
			if got := d.Spec.Strategy.RollingUpdate.MaxUnavailable; got == nil || *got != intstr.FromInt32(0) {
				t.Errorf("got maxUnavailable %v, want 0", got)
			}
			c := d.Spec.Template.Spec.Containers[0]
			for probe, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe} {
				if grpc, ready := p.GRPC != nil, p.HTTPGet != nil && p.HTTPGet.Path == "/readyz"; grpc == ready {
					t.Errorf("%s: got %+v, want gRPC, or /readyz with TLS", probe, p.ProbeHandler)
				}
			}
			// An outage of an authorization server must never restart a Pod that serves.
			if c.LivenessProbe.GRPC != nil || c.LivenessProbe.HTTPGet != nil && c.LivenessProbe.HTTPGet.Path != "/livez" {
				t.Errorf("liveness: got %+v", c.LivenessProbe.ProbeHandler)
			}
		})
	}
}

func TestGracePeriod(t *testing.T) {
	tests := []struct {
		server, version, sleep string
		want                   int64
		preStop                bool
	}{
		{`{}`, "1.33.0", "5", 5 + 0 + 15 + 5, true},
		{`{}`, "1.30.0", "5", 5 + 0 + 15 + 5, true},
		{`{}`, "1.29.9", "5", 0 + 15 + 5, false},
		{`{}`, "1.33.0", "0", 0 + 15 + 5, false},
		{`{drain_delay: 1m30s}`, "1.33.0", "5", 5 + 90 + 15 + 5, true},
		{`{drain_delay: 1500ms, shutdown_timeout: 1.5s}`, "1.33.0", "10", 10 + 2 + 2 + 5, true},
		{`{drain_delay: 1h, shutdown_timeout: 1m}`, "1.29.0", "10", 3600 + 60 + 5, false},
	}
	for n, test := range tests {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			pod := render(t, "server: "+test.server, "--kube-version", test.version, "--set",
				"shutdown.preStopSleepSeconds="+test.sleep)
			if got := *pod.TerminationGracePeriodSeconds; got != test.want {
				t.Errorf("got %d s, want %d s", got, test.want)
			}
			if got := pod.Containers[0].Lifecycle != nil; got != test.preStop {
				t.Errorf("preStop: got %v, want %v", got, test.preStop)
			}
		})
	}
}

// TestDurationsAsGoReadsThem compares the chart's arithmetic with Go's.
func TestDurationsAsGoReadsThem(t *testing.T) {
	for _, text := range []string{"1s", "999ms", "1001ms", "1m1s1ms", "2h0m0.5s", "0.1s"} {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		want := int64((d+time.Second-1)/time.Second) + 15 + 5
		pod := render(t, "server: {drain_delay: "+text+"}", "--set", "shutdown.preStopSleepSeconds=0")
		if got := *pod.TerminationGracePeriodSeconds; got != want {
			t.Errorf("%s: got %d s, want %d s", text, got, want)
		}
	}
}

func TestRuntimeFollowsLimits(t *testing.T) {
	tests := []struct{ memory, cpu, memlimit, maxprocs string }{
		{"512Mi", "2", "460MiB", "limits.cpu/1"},
		{"1Gi", "500m", "921MiB", "limits.cpu/1"},
		{"1G", "1", "858MiB", "limits.cpu/1"},
		{"1.5Gi", "1", "1382MiB", "limits.cpu/1"},
		{"268435456", "1", "230MiB", "limits.cpu/1"},
		{"null", "1", "", "limits.cpu/1"},
		{"512Mi", "null", "460MiB", ""},
	}
	for _, test := range tests {
		t.Run(test.memory+" "+test.cpu, func(t *testing.T) {
			pod := render(t, "realm: a", "--set",
				fmt.Sprintf("resources.limits.memory=%s,resources.limits.cpu=%s", test.memory, test.cpu))
			got := map[string]string{}
			for _, e := range pod.Containers[0].Env {
				got[e.Name] = e.Value
				if e.ValueFrom != nil {
					got[e.Name] = e.ValueFrom.ResourceFieldRef.Resource + "/" + e.ValueFrom.ResourceFieldRef.Divisor.String()
				}
			}
			want := map[string]string{}
			if test.memlimit != "" {
				want["GOMEMLIMIT"] = test.memlimit
			}
			if test.maxprocs != "" {
				want["GOMAXPROCS"] = test.maxprocs
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMemoryLimitLeavesRoom compares the two in every value set.
func TestMemoryLimitLeavesRoom(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			c := find[appsv1.Deployment](t, objects(t, name)).Spec.Template.Spec.Containers[0]
			limit := float64(c.Resources.Limits.Memory().Value())
			for _, e := range c.Env {
				if e.Name != "GOMEMLIMIT" {
					continue
				}
				quantity := resource.MustParse(strings.TrimSuffix(e.Value, "B"))
				if share := float64(quantity.Value()) / limit; share < 0.89 || share > 0.9 {
					t.Errorf("got %s, which is %.2f of %.0f", e.Value, share, limit)
				}
			}
		})
	}
}

// TestConfigMapFollowsConfiguration: another configuration, another ConfigMap
// and other Pods, unless the user wants none.
func TestConfigMapFollowsConfiguration(t *testing.T) {
	name := func(config string, args ...string) string {
		for _, v := range render(t, config, args...).Volumes {
			if v.Name == "config" {
				return v.ConfigMap.Name
			}
		}
		return ""
	}
	a, b := name("realm: a"), name("realm: b")
	if !strings.HasPrefix(a, "gate-bearergate-") || a == b || a != name("realm: a") {
		t.Errorf("got %q and %q", a, b)
	}
	if got := name("realm: a", "--set", "rollOnConfigChange=false"); got != "gate-bearergate" {
		t.Errorf("got %q, want one name for every content", got)
	}
	for name, want := range map[string]bool{"minimal": true, "autoscaling": false} {
		for _, o := range objects(t, name) {
			c, ok := o.(*corev1.ConfigMap)
			if ok && c.Labels["bearergate.io/holds"] == "config" && (c.Immutable != nil) != want {
				t.Errorf("%s: %s: got immutable %v, want %v", name, c.Name, c.Immutable, want)
			}
		}
	}
}

func TestStrategy(t *testing.T) {
	got := deployment(t, "realm: a", "--set", "strategy.type=Recreate").Spec.Strategy
	if got.Type != appsv1.RecreateDeploymentStrategyType || got.RollingUpdate != nil {
		t.Errorf("got %+v, want Recreate alone", got)
	}
}

func deployment(t *testing.T, config string, args ...string) *appsv1.Deployment {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bearergate.yaml")
	write(t, file, strings.TrimSpace(config)+"\n")
	out, errs, err := template(append([]string{"--set-file", "config=" + file}, args...)...)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	all, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	return find[appsv1.Deployment](t, all)
}

func render(t *testing.T, config string, args ...string) corev1.PodSpec {
	t.Helper()
	return deployment(t, config, args...).Spec.Template.Spec
}
