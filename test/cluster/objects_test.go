package cluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is what must be known of a manifest to send its text to the API server.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`

	text string
}

func (o object) namespace() string { return cmp.Or(o.Metadata.Namespace, "default") }

// String returns a name for it.
func (o object) String() string {
	return fmt.Sprintf("%s/%s", o.Kind, o.Metadata.Name)
}

var separator = regexp.MustCompile(`(?m)^---.*$`)

// parse returns the objects of a YAML stream. The text stays as it is, for the
// API server to read.
func parse(stream string) ([]object, error) {
	var objects []object
	for _, text := range separator.Split(stream, -1) {
		o := object{text: text}
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			return nil, err
		}
		if o.Kind != "" { // else comments alone
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// parseFile returns the objects of a file.
func parseFile(path string) ([]object, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	objects, err := parse(string(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return objects, nil
}

// crdFiles are where the modules keep their CRDs. A module without a sum has
// the version and the sum by which test/kubernetes reads the same kinds.
var crdFiles = []struct{ module, sum, files string }{
	{"sigs.k8s.io/gateway-api", "", "config/crd/standard/*.yaml"},
	{"github.com/envoyproxy/gateway", "", "charts/gateway-crds-helm/templates/generated/*.yaml"},
	{"istio.io/api", "", "kubernetes/customresourcedefinitions.gen.yaml"},
	{"github.com/cert-manager/cert-manager", "", "deploy/crds/*.yaml"},
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
		"example/prometheus-operator-crd/*.yaml"},
}

// crds returns the CRDs of everything for which the chart can make objects.
func crds() ([]object, error) {
	var found []object
	for _, m := range crdFiles {
		dir, err := moduleDir(m.module, m.sum)
		if err != nil {
			return nil, err
		}
		files, err := filepath.Glob(filepath.Join(dir, m.files))
		if err != nil {
			return nil, err
		}
		before := len(found)
		for _, file := range files {
			definitions, err := definitions(file)
			if err != nil {
				return nil, err
			}
			found = append(found, definitions...)
		}
		if len(found) == before {
			return nil, fmt.Errorf("got no CRD in %s of %s", m.files, m.module)
		}
	}
	return found, nil
}

// condition is a line of Helm's around a CRD of Envoy Gateway.
var condition = regexp.MustCompile(`(?m)^\{\{.*$`)

func definitions(file string) ([]object, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	objects, err := parse(condition.ReplaceAllString(string(content), ""))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var kept []object
	for _, o := range objects {
		if o.Kind == "CustomResourceDefinition" {
			kept = append(kept, o)
		}
	}
	return kept, nil
}

// moduleDir returns the directory of a module, which is downloaded if need be
// and held to go.sum, or to the sum given.
func moduleDir(module, sum string) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = "../kubernetes"
	output, err := cmd.Output()
	var answer struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(output, &answer); jsonErr != nil || answer.Error != "" || err != nil {
		return "", fmt.Errorf("download %s: %w %s", module, cmp.Or(err, jsonErr), strings.TrimSpace(answer.Error))
	}
	if sum != "" && answer.Sum != sum {
		return "", fmt.Errorf("%s: got sum %s, want %s", module, answer.Sum, sum)
	}
	return answer.Dir, nil
}
