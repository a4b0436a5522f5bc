package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestSchemaRejects(t *testing.T) {
	tests := []struct{ name, set, want string }{
		{"typo at the top", "replicas=3", "'replicas' not allowed"},
		{"typo in the image", "image.tags=1", "'tags' not allowed"},
		{"typo in TLS", "tls.secret=a", "'secret' not allowed"},
		{"typo in cert-manager", "tls.certManager.issuer.name=a", "'issuer' not allowed"},
		{"typo in a secret", "secrets[0].name=a,secrets[0].secretName=b,secrets[0].key=c", "'key' not allowed"},
		{"secret without a name", "secrets[0].name=a", "missing property 'secretName'"},
		{"environment without a value", "env[0].name=A", "oneOf"},
		{"environment with two values", "env[0].name=A,env[0].value=a,env[0].valueFrom.fieldRef.fieldPath=b", "oneOf"},
		{"environment from both", "envFrom[0].configMapRef.name=a,envFrom[0].secretRef.name=b", "oneOf"},
		{"volume without a name", "extraVolumes[0].emptyDir.medium=Memory", "missing property 'name'"},
		{"a relative mount", "extraVolumeMounts[0].name=a,extraVolumeMounts[0].mountPath=b", "does not match pattern"},
		{"typo in the strategy", "strategy.rollingUpdate.maxSurges=1", "'maxSurges' not allowed"},
		{"typo in the behaviour", "autoscaling.behavior.scaleUp.policy=a", "'policy' not allowed"},
		{"typo in a relabeling", "metrics.podMonitor.relabelings[0].sourceLabel=a", "'sourceLabel' not allowed"},
		{"peer by address and label", "networkPolicy.clients[0].cidr=10.0.0.0/8,networkPolicy.clients[0].podLabels.a=b", "not"},
		{"exception of nothing", "networkPolicy.clients[0].except[0]=10.0.0.0/8", "cidr"},
		{"a family that is none", "service.ipFamilies[0]=IPv5", "value must be one of"},
		{"a provider that is no name", "istio.provider=bearer gate", "does not match pattern"},
		{"a provider that Istio denies all for", "istio.provider=Bearergate", "does not match pattern"},
		{"a provider too long for Istio", "istio.provider=" + strings.Repeat("a", 64), "does not match pattern"},
		{"a provider without a name", "istio.provider=", "does not match pattern"},
		{"typo in a toleration", "tolerations[0].keys=a", "'keys' not allowed"},
		{"typo in the affinity", "affinity.nodeAfinity.a=b", "'nodeAfinity' not allowed"},
		{"typo deep in the affinity", "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKeys=a", "'topologyKeys' not allowed"},
		{"typo in a probe", "probes.liveness.period=3", "'period' not allowed"},
		{"typo in a peer", "networkPolicy.clients[0].namespace=a", "'namespace' not allowed"},
		{"typo in an operation", "istio.authorizationPolicy.operations[0].path[0]=/", "'path' not allowed"},
		{"typo in a context extension", "envoyGateway.securityPolicy.contextExtensions.bearergate\\.scope=a", "'bearergate.scope' not allowed"},
		{"typo in the metrics", "metrics.serviceMonitor.enable=true", "'enable' not allowed"},
		{"fail open", "envoyGateway.securityPolicy.failOpen=true", "'failOpen' not allowed"},
		{"root", "securityContext.runAsUser=0", "minimum"},
		{"a port too high", "service.port=70000", "maximum"},
		{"a number as text", "replicaCount=two", "got string, want integer"},
		{"a mesh there is not", "mesh=linkerd", "value must be one of"},
		{"a quantity that is none", "resources.limits.memory=512MB", "does not match pattern"},
		{"a digest that is none", "image.digest=sha256:abc", "does not match pattern"},
		{"a duration that is none", "envoyGateway.securityPolicy.timeout=1", "want string"},
		{"configuration as a map", "config=1", "got number, want string"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, errs, err := template("--values", chart+"/ci/minimal-values.yaml", "--set", test.set)
			if err == nil {
				t.Fatal("got no error")
			}
			if !strings.Contains(errs, test.want) {
				t.Errorf("got %q, want %q in it", errs, test.want)
			}
		})
	}
}

// openMaps are those whose keys are the user's own: labels, annotations,
// selectors; those of Kubernetes' own objects; and `global`, which belongs to
// parent charts.
var openMaps = []string{"definitions.labels", "definitions.kubernetes", "definitions.volume", "properties.global"}

// TestSchemaIsStrictEverywhere walks every object of the schema.
func TestSchemaIsStrictEverywhere(t *testing.T) {
	seen := 0
	walk("", schema(t), func(path string, node map[string]any) {
		if node["type"] != "object" || slices.Contains(openMaps, path) {
			return
		}
		seen++
		if node["additionalProperties"] != false {
			t.Errorf("%s: got additionalProperties %v, want false", path, node["additionalProperties"])
		}
	})
	if seen < 40 {
		t.Errorf("got %d objects, want all of them", seen)
	}
}

// TestSchemaAndValuesHaveTheSameKeys finds a key that only one of them knows.
func TestSchemaAndValuesHaveTheSameKeys(t *testing.T) {
	var defaults map[string]any
	if err := yaml.UnmarshalStrict([]byte(read(t, chart+"/values.yaml")), &defaults); err != nil {
		t.Fatal(err)
	}
	all := schema(t)
	if diff := cmp.Diff(keysOfSchema("", all, all), keysOfValues("", defaults)); diff != "" {
		t.Errorf("(-schema +values)\n%s", diff)
	}
}

func schema(t *testing.T) map[string]any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(read(t, chart+"/values.schema.json")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func walk(path string, node any, visit func(string, map[string]any)) {
	switch v := node.(type) {
	case map[string]any:
		visit(path, v)
		for key, child := range v {
			walk(strings.TrimPrefix(path+"."+key, "."), child, visit)
		}
	case []any:
		for n, child := range v {
			walk(fmt.Sprintf("%s[%d]", path, n), child, visit)
		}
	}
}

// optional are objects without defaults: a key of them is the user's choice.
var optional = []string{"affinity", "autoscaling.behavior", "dnsConfig", "envoyGateway.securityPolicy.contextExtensions", "strategy"}

func keysOfSchema(path string, node, all map[string]any) []string {
	if ref, ok := node["$ref"].(string); ok {
		node = all["definitions"].(map[string]any)[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
	}
	properties, ok := node["properties"].(map[string]any)
	if !ok || slices.Contains(optional, path) {
		return []string{path}
	}
	var keys []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		keys = append(keys, keysOfSchema(strings.TrimPrefix(path+"."+name, "."), properties[name].(map[string]any), all)...)
	}
	return keys
}

func keysOfValues(path string, value any) []string {
	object, ok := value.(map[string]any)
	if !ok || (len(object) == 0) || path == "metrics.dashboard.labels" {
		return []string{path}
	}
	var keys []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		keys = append(keys, keysOfValues(strings.TrimPrefix(path+"."+name, "."), object[name])...)
	}
	return keys
}
