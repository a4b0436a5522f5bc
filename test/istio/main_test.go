package istio

import (
	"os"
	"testing"

	"istio.io/istio/pkg/log"
)

// TestMain silences istiod: what it did is in what it made.
func TestMain(m *testing.M) {
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.NoneLevel)
	}
	os.Exit(m.Run())
}
