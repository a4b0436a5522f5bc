package lint

import (
	"strings"
)

// object is a Kubernetes manifest.
type object struct {
	*node
	kind, group     string
	name, namespace string
}

// collect puts what a document holds where the checks look for it.
func (l *linter) collect(d *node) {
	switch {
	case d.get("apiVersion") != nil && d.get("kind") != nil:
		l.collectObject(d)
	case d.get("static_resources") != nil || d.get("dynamic_resources") != nil:
		l.collectBootstrap(d)
	case d.get("configs") != nil || d.get("resources").item(0).member("@type") != nil || d.member("@type") != nil:
		l.collectResources(d)
	case isMesh(d):
		l.meshes = append(l.meshes, d)
	case d.get("meshConfig") != nil: // values of the chart istiod
		l.meshes = append(l.meshes, d.get("meshConfig"))
	default:
		l.note(d, "neither an Envoy bootstrap or config_dump, nor a manifest of Istio or Envoy Gateway")
	}
}

func isMesh(d *node) bool {
	return d.get("extensionProviders") != nil || d.get("pathNormalization") != nil
}

func (l *linter) collectBootstrap(d *node) {
	static := d.get("static_resources")
	l.listeners = append(l.listeners, static.get("listeners").items()...)
	for _, c := range static.get("clusters").items() {
		l.clusters[c.get("name").string()] = c
	}
	dynamic := d.get("dynamic_resources")
	if lds := dynamic.near("lds_config"); dynamic.get("lds_config") != nil {
		l.note(lds, "listeners come from a control plane, and are not in this file")
	}
	if dynamic.get("cds_config") != nil || dynamic.get("ads_config") != nil {
		l.discovers.clusters = true
	}
}

// collectResources finds every resource in a config_dump, or in a file of an xDS
// server, however deep it is. What Envoy has refused, or is about to forget, is not
// in force.
func (l *linter) collectResources(d *node) {
	if d == nil {
		return
	}
	l.discovers.clusters = true
	switch typeOf(d) {
	case "envoy.config.listener.v3.Listener":
		l.listeners = append(l.listeners, d)
		return
	case "envoy.config.route.v3.RouteConfiguration":
		l.routes[d.get("name").string()] = d
		return
	case "envoy.config.cluster.v3.Cluster":
		l.clusters[d.get("name").string()] = d
		return
	case "envoy.config.core.v3.TypedExtensionConfig":
		l.filters[d.get("name").string()] = d.get("typed_config")
		return
	case "envoy.admin.v3.BootstrapConfigDump": // its static resources come again, where they are in force
		return
	case "envoy.admin.v3.ScopedRoutesConfigDump":
		if len(d.keys) > 1 { // Envoy has an empty one always
			l.note(d, "scoped routes are not looked into")
		}
		return
	}
	for i, child := range d.children {
		if d.isObject {
			switch plainName(d.keys[i]) {
			case "errorstate", "drainingstate":
				continue
			case "warmingstate":
				if d.get("active_state") != nil {
					continue
				}
			}
		}
		l.collectResources(child)
	}
}

func (l *linter) collectObject(d *node) {
	group, _, _ := strings.Cut(d.get("apiVersion").string(), "/")
	o := object{
		node: d, kind: d.get("kind").string(), group: group,
		name: d.get("metadata", "name").string(), namespace: d.get("metadata", "namespace").string(),
	}
	switch {
	case strings.HasSuffix(o.kind, "List") && d.get("items") != nil:
		for _, item := range d.get("items").items() {
			l.collect(item)
		}
	case o.kind == "ConfigMap":
		l.collectConfigMap(d)
	case o.kind == "IstioOperator" && d.get("spec", "meshConfig") != nil:
		l.meshes = append(l.meshes, d.get("spec", "meshConfig"))
	default:
		l.objects = append(l.objects, o)
	}
}

// collectConfigMap looks into the files that a ConfigMap holds: Istio's MeshConfig,
// an Envoy's bootstrap.
func (l *linter) collectConfigMap(d *node) {
	data := d.get("data")
	if data == nil || !data.isObject {
		return
	}
	for _, file := range data.children {
		for _, e := range file.embedded() {
			if isMesh(e) || e.get("static_resources") != nil || e.get("dynamic_resources") != nil {
				l.collect(e)
			}
		}
	}
}

// all returns the objects of a kind; group may be empty.
func (l *linter) all(group string, kinds ...string) []object {
	var found []object
	for _, o := range l.objects {
		for _, kind := range kinds {
			if o.kind == kind && (group == "" || o.group == group) {
				found = append(found, o)
			}
		}
	}
	return found
}
