package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// deploymentPath is where the API server has the Deployment of a release.
func (r *installation) deploymentPath() string {
	return "/apis/apps/v1/namespaces/" + namespace + "/deployments/" + r.service()
}

// autoscale switches autoscaling on under a running release, has the node's
// metrics ask for more than there are, and switches it off again.
func autoscale(t *testing.T, r *installation, config string) {
	t.Helper()
	least := r.leastReplicas(t, func() {
		r.must(t, config, "upgrade", "--wait", "--timeout", "120s",
			"--set", "autoscaling.enabled=true,autoscaling.maxReplicas=4")
		r.scaler(t, "AbleToScale")
		// Time for the scaler to act on what it knows, which is nothing yet.
		time.Sleep(5 * time.Second)
	})
	if now := len(r.pods(t)); least != 3 || now != 3 {
		t.Errorf("got %d replicas, at least %d of them wanted, want 3 all the time", now, least)
	}
	serveUsage(t)
	r.scaler(t, "ScalingActive")
	eventually(t, "a fourth replica that answers", func() error { return r.answering(t, 4) })
	// The number is the scaler's own by now.
	r.must(t, config, "upgrade", "--wait", "--timeout", "120s", "--force-conflicts")
	eventually(t, "three replicas without autoscaling", func() error { return r.answering(t, 3) })
}

// answering wants that many Pods, and Checks at each.
func (r *installation) answering(t *testing.T, want int) error {
	t.Helper()
	pods := r.pods(t)
	if len(pods) != want {
		return fmt.Errorf("got %d replicas, want %d", len(pods), want)
	}
	for _, pod := range pods {
		n, err := checks(pod)
		if err != nil {
			return err
		}
		if n < 10 {
			return fmt.Errorf("%s: got %d Checks", pod, n)
		}
	}
	return nil
}

// leastReplicas returns the least number that the Deployment was told to have
// while something happened.
func (r *installation) leastReplicas(t *testing.T, during func()) int {
	t.Helper()
	var seen []int
	wanted := startAsking(t, func() string {
		var deployment struct{ Spec struct{ Replicas int } }
		content, err := server.get(t.Context(), r.deploymentPath())
		if err = errors.Join(err, json.Unmarshal(content, &deployment)); err != nil {
			return err.Error()
		}
		seen = append(seen, deployment.Spec.Replicas)
		return "seen"
	})
	during()
	if answers := wanted.stop(); answers["seen"] < 100 {
		t.Errorf("got %v, want at least 100 looks", answers)
	}
	least := seen[0]
	for _, n := range seen {
		least = min(least, n)
	}
	return least
}

// scaler waits until the HorizontalPodAutoscaler says that the condition holds.
func (r *installation) scaler(t *testing.T, condition string) {
	t.Helper()
	path := "/apis/autoscaling/v2/namespaces/" + namespace + "/horizontalpodautoscalers/" + r.service()
	eventually(t, "HorizontalPodAutoscaler", func() error {
		var scaler struct {
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		getJSON(t, path, &scaler)
		for _, c := range scaler.Status.Conditions {
			if c.Type == condition && c.Status == "True" {
				return nil
			}
		}
		return fmt.Errorf("got %v, want %s", scaler.Status.Conditions, condition)
	})
}

// serveUsage makes the API of a metrics server, which says of every Pod that is
// asked about that it takes twice the CPU that the chart reserves.
func serveUsage(t *testing.T) {
	t.Helper()
	serveTLS(t, address+":4443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := usage(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	apply(t, `apiVersion: v1
kind: Service
metadata: {name: metrics, namespace: kube-system}
spec: {ports: [{port: 443, targetPort: 4443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics, namespace: kube-system, labels: {kubernetes.io/service-name: metrics}}
addressType: IPv4
ports: [{port: 4443}]
endpoints: [{addresses: [`+address+`], conditions: {ready: true}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  service: {name: metrics, namespace: kube-system}
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
`)
	t.Cleanup(func() {
		path := "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
		if err := server.remove(context.Background(), path); err != nil {
			t.Error(err)
		}
	})
}

// usage answers what the API server passes on, by the Pods that it has.
func usage(r *http.Request) (any, error) {
	const version = "metrics.k8s.io/v1beta1"
	if !strings.HasSuffix(r.URL.Path, "/namespaces/"+namespace+"/pods") {
		pods := map[string]any{"name": "pods", "kind": "PodMetrics", "namespaced": true, "verbs": []string{"get", "list"}}
		return map[string]any{
			"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": []any{pods},
		}, nil
	}
	selector := url.Values{"labelSelector": {r.URL.Query().Get("labelSelector")}}.Encode()
	content, err := server.get(r.Context(), podsPath+"?"+selector)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []pod }
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, err
	}
	items := []any{}
	for _, p := range list.Items {
		items = append(items, map[string]any{
			"metadata":  map[string]any{"name": p.Metadata.Name, "namespace": namespace},
			"timestamp": time.Now().UTC().Format(time.RFC3339), "window": "1s",
			"containers": []any{map[string]any{
				"name": "bearergate", "usage": map[string]any{"cpu": "200m", "memory": "32Mi"},
			}},
		})
	}
	return map[string]any{
		"kind": "PodMetricsList", "apiVersion": version, "metadata": map[string]any{}, "items": items,
	}, nil
}
