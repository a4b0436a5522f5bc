package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// door is DOOR: module has every Envoy decide in its own process, where else it asks the
// binary.
func door() string { return os.Getenv("DOOR") }

// Module says whether Envoys decide in their own process.
func Module() bool { return door() == "module" }

// OnlyExtAuthz skips a test of what ext_authz alone does, where Envoys decide in their own
// process; docs/module.md says what differs.
func OnlyExtAuthz(t testing.TB, reason string) {
	t.Helper()
	if Module() {
		t.Skip("over gRPC only: " + reason)
	}
}

var libraries sync.Map // by flags: func() (string, error)

// Library builds the module, with these flags of go build, and returns its folder.
func Library(t testing.TB, flags ...string) string {
	t.Helper()
	built, _ := libraries.LoadOrStore(strings.Join(flags, " "), sync.OnceValues(func() (string, error) {
		return buildLibrary(flags)
	}))
	folder, err := built.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func buildLibrary(flags []string) (string, error) {
	folder := filepath.Join(root(), ".cache", "module"+strings.Join(flags, ""))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	args := append([]string{
		"build", "-trimpath", "-buildvcs=false", "-tags=grpcnotrace", "-ldflags=-s -w", "-buildmode=c-shared",
	}, flags...)
	cmd := exec.Command("go", append(args, "-o", filepath.Join(folder, "libbearergate.so"), ".")...)
	cmd.Dir = filepath.Join(root(), "envoy", "module")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return folder, nil
}

// ModuleEnvironment is what an Envoy that loads the library of a folder needs.
func ModuleEnvironment(folder string) []string {
	return []string{"GODEBUG=cgocheck=0", "ENVOY_DYNAMIC_MODULES_SEARCH_PATH=" + folder}
}

// services are the configuration files of the services of this process, by gRPC address.
var services sync.Map

// Inside returns a bootstrap that has the module for the ext_authz filter, with the
// configuration file of the service that it would ask, and the pages at admin, if that is
// an address. Names stay as they are.
func Inside(bootstrap, configFile, admin string) (string, error) {
	var document any
	if err := yaml.Unmarshal([]byte(bootstrap), &document); err != nil {
		return "", err
	}
	turn(document, configFile, admin)
	text, err := yaml.Marshal(document)
	return string(text), err
}

const (
	extAuthz         = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
	extAuthzPerRoute = extAuthz + "PerRoute"
	dynamicModule    = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
	disabled         = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
	structType       = "type.googleapis.com/google.protobuf.Struct"
)

type object = map[string]any

// turn changes every configuration of the filter below node.
func turn(node any, configFile, admin string) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			turn(child, configFile, admin)
		}
	case object:
		switch node["@type"] {
		case extAuthz:
			value := object{"config": configFile, "timeout": "1s"} // as the chains have it for ext_authz
			if admin != "" {
				value["admin_address"] = admin
			}
			replace(node, object{
				"@type":                 dynamicModule,
				"dynamic_module_config": object{"name": "bearergate", "do_not_close": true},
				"filter_name":           "bearergate",
				"filter_config":         object{"@type": structType, "value": value},
			})
		case extAuthzPerRoute:
			turnRoute(node)
		default:
			for _, child := range node {
				turn(child, configFile, admin)
			}
		}
	}
}

func turnRoute(node object) {
	if node["disabled"] == true {
		replace(node, object{"@type": disabled, "disabled": true, "config": object{}})
		return
	}
	settings, _ := node["check_settings"].(object)
	extensions, _ := settings["context_extensions"].(object)
	replace(node, object{
		"@type":                 dynamicModule + "PerRoute",
		"dynamic_module_config": object{"name": "bearergate", "do_not_close": true},
		"filter_name":           "bearergate",
		"filter_config":         object{"@type": structType, "value": extensions},
	})
}

func replace(node, by object) {
	clear(node)
	for key, value := range by {
		node[key] = value
	}
}
