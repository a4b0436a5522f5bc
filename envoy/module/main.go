// Command module is Bearergate within Envoy's own process: a shared library that Envoy
// loads as a dynamic module, and that decides in the thread of the request. It is built
// with -buildmode=c-shared (make module); docs/module.md says when to use it.
package main

import (
	"os"

	sdk "github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go"
	_ "github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/abi" // what Envoy calls
	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/bearergate/bearergate/envoy/module/filter"
)

// Which sources the library was made of. The linker sets both for a release.
var (
	version = "dev"
	commit  = "unknown"
)

// Name is the filter_name of the filter.
const Name = "bearergate"

// Envoy asks for the filter by name right after it has loaded the library, which has no
// main that runs: this is the one place to say it.
func init() { //nolint:gochecknoinits // see above
	sdk.RegisterHttpFilterConfigFactories(map[string]shared.HttpFilterConfigFactory{
		Name: filter.NewFactory(filter.Build{Version: version, Commit: commit}, os.Stderr),
	})
}

func main() {}
