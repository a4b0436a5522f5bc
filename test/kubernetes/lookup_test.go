package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cluster answers what Helm asks an API server while it renders: which kinds
// there are, and these objects by their paths. Everything else is not found.
func cluster(t *testing.T, objects map[string]any) (kubeconfig string) {
	t.Helper()
	answers := map[string]any{
		"/version": map[string]string{"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
		"/api":     metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}},
	}
	groups := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for group, kinds := range map[string]string{
		"v1":                 "ConfigMap Pod Secret Service ServiceAccount",
		"apps/v1":            "Deployment ReplicaSet",
		"autoscaling/v2":     "HorizontalPodAutoscaler",
		"batch/v1":           "Job",
		"cert-manager.io/v1": "Certificate",
		"policy/v1":          "PodDisruptionBudget",
	} {
		list := metav1.APIResourceList{GroupVersion: group}
		list.Kind, list.APIVersion = "APIResourceList", "v1"
		for _, kind := range strings.Fields(kinds) {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: strings.ToLower(kind) + "s", Kind: kind, Namespaced: true, Verbs: metav1.Verbs{"get", "list"},
			})
		}
		path := "/apis/" + group
		if name, _, ok := strings.Cut(group, "/"); !ok {
			path = "/api/v1"
		} else {
			version := metav1.GroupVersionForDiscovery{GroupVersion: group, Version: strings.TrimPrefix(group, name+"/")}
			groups.Groups = append(groups.Groups, metav1.APIGroup{
				Name: name, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
			})
		}
		answers[path] = list
	}
	answers["/apis"] = groups
	maps.Copy(answers, objects)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
				Status:   "Failure", Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
			}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	write(t, kubeconfig, fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\nusers: [{name: a, user: {}}]\n"+
		"clusters: [{name: a, cluster: {server: %q}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n", server.URL))
	return kubeconfig
}

// inCluster renders a value set with the cluster to look at.
func inCluster(t *testing.T, name string, objects map[string]any) []any {
	t.Helper()
	args := append(arguments(name), "--dry-run=server", "--disable-openapi-validation", "--kubeconfig", cluster(t, objects))
	out, errs, err := template(args...)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	all, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestConfigMapsInUseStay: Helm deletes what a release no longer has while the
// Pods of before are still running, and they restart by their ConfigMap.
func TestConfigMapsInUseStay(t *testing.T) {
	replicaSet := func(release, config string) appsv1.ReplicaSet {
		r := appsv1.ReplicaSet{TypeMeta: metav1.TypeMeta{Kind: "ReplicaSet", APIVersion: "apps/v1"}}
		r.Name, r.Labels = release+config, map[string]string{
			"app.kubernetes.io/name": "bearergate", "app.kubernetes.io/instance": release,
			"app.kubernetes.io/component": "authorization", "pod-template-hash": "a",
		}
		volume := corev1.Volume{Name: "config"}
		volume.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: config}}
		r.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "other"}, volume}
		return r
	}
	configMap := func(release, name, content string, immutable bool) corev1.ConfigMap {
		c := corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}}
		c.Name, c.Data, c.Immutable = name, map[string]string{"bearergate.yaml": content}, &immutable
		c.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
		c.Annotations = map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "security"}
		return c
	}
	const path, current = "/api/v1/namespaces/security/configmaps/", "gate-bearergate-3e12685758"
	all := inCluster(t, "minimal", map[string]any{
		"/apis/apps/v1/namespaces/security/replicasets": appsv1.ReplicaSetList{
			TypeMeta: metav1.TypeMeta{Kind: "ReplicaSetList", APIVersion: "apps/v1"},
			Items: []appsv1.ReplicaSet{
				replicaSet("gate", "gate-bearergate-old"), replicaSet("gate", "gate-bearergate"), replicaSet("gate", current),
				replicaSet("gate", "gate-bearergate-gone"), replicaSet("gate", "of-somebody"), replicaSet("other", "other-old"),
			},
		},
		path + "gate-bearergate-old": configMap("gate", "gate-bearergate-old", "realm: old\n\n", true),
		path + "gate-bearergate":     configMap("gate", "gate-bearergate", "realm: mutable", false),
		path + "of-somebody":         configMap("", "of-somebody", "realm: b", false),
		path + "other-old":           configMap("other", "other-old", "realm: c", true),
		path + "unused":              configMap("gate", "unused", "realm: d", true),
	})
	got := map[string]*corev1.ConfigMap{}
	for _, o := range all {
		if c, ok := o.(*corev1.ConfigMap); ok {
			got[c.Name] = c
		}
	}
	want := []string{"gate-bearergate", current, "gate-bearergate-old", "gate-bearergate-validate"}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Fatalf("got %v, want %v", names, want)
	}
	old, mutable := got["gate-bearergate-old"], got["gate-bearergate"]
	if old.Data["bearergate.yaml"] != "realm: old\n\n" || old.Immutable == nil || !*old.Immutable {
		t.Errorf("got %v, want what is in the cluster", old)
	}
	if mutable.Data["bearergate.yaml"] != "realm: mutable" || mutable.Immutable != nil {
		t.Errorf("got %v, want what is in the cluster", mutable)
	}
}

// TestAutoscalingKeepsReplicas: a manifest without replicas would have the API
// server set one, for as long as the autoscaler takes to act.
func TestAutoscalingKeepsReplicas(t *testing.T) {
	for present, want := range map[int32]int32{0: 2, 1: 2, 3: 3, 12: 12} {
		d := appsv1.Deployment{TypeMeta: metav1.TypeMeta{Kind: "Deployment", APIVersion: "apps/v1"}}
		d.Name, d.Spec.Replicas = "gate-bearergate", &present
		d.Annotations = map[string]string{"meta.helm.sh/release-name": "gate", "meta.helm.sh/release-namespace": "security"}
		d.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
		path := "/apis/apps/v1/namespaces/security/deployments/gate-bearergate"
		all := inCluster(t, "autoscaling", map[string]any{path: d})
		if got := find[appsv1.Deployment](t, all).Spec.Replicas; got == nil || *got != want {
			t.Errorf("%d: got %v, want %d", present, got, want)
		}
	}
	if got := find[appsv1.Deployment](t, inCluster(t, "autoscaling", nil)).Spec.Replicas; got != nil {
		t.Errorf("a first installation: got %d replicas, want the autoscaler's", *got)
	}
}

// TestHookHasWhatPodsHave: what validate says of the Job holds for the Pods.
func TestHookHasWhatPodsHave(t *testing.T) {
	for _, name := range []string{"contract", "platform", "mutual-tls", "existing-config-map"} {
		t.Run(name, func(t *testing.T) {
			all := objects(t, name)
			job := find[batchv1.Job](t, all)
			pod, hook := find[appsv1.Deployment](t, all).Spec.Template.Spec, job.Spec.Template.Spec
			for volume := range pod.Volumes {
				if pod.Volumes[volume].Name == "config" && name != "existing-config-map" {
					pod.Volumes[volume].ConfigMap.Name = "gate-bearergate-validate"
				}
			}
			same := func(c corev1.Container) any {
				return []any{c.Image, c.Env, c.EnvFrom, c.VolumeMounts, c.SecurityContext, c.Resources}
			}
			for what, pair := range map[string][2]any{
				"volumes":         {pod.Volumes, hook.Volumes},
				"init containers": {pod.InitContainers, hook.InitContainers},
				"containers":      {same(pod.Containers[0]), same(hook.Containers[0])},
			} {
				want, _ := json.Marshal(pair[0])
				if got, _ := json.Marshal(pair[1]); string(got) != string(want) {
					t.Errorf("%s: got %s, want %s", what, got, want)
				}
			}
			if got := job.Annotations["helm.sh/hook"]; got != "pre-install,pre-upgrade" || hook.Containers[0].Args[0] != "validate" {
				t.Errorf("got hook %q, arguments %q", got, hook.Containers[0].Args)
			}
		})
	}
}

// TestHookWaitsForCertManager: before the first installation its Secret is
// nowhere, and a Pod that mounts it would never start.
func TestHookWaitsForCertManager(t *testing.T) {
	jobs := func(objects map[string]any) (n int) {
		for _, o := range inCluster(t, "cert-manager", objects) {
			if _, ok := o.(*batchv1.Job); ok {
				n++
			}
		}
		return n
	}
	secret := corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}}
	secret.Name = "gate-bearergate-tls"
	there := map[string]any{"/api/v1/namespaces/security/secrets/gate-bearergate-tls": secret}
	if before, after := jobs(nil), jobs(there); before != 0 || after != 1 {
		t.Errorf("got %d Jobs before and %d after, want 0 and 1", before, after)
	}
}
