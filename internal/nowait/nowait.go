// Package nowait lets a caller that must not be held up ask for a decision all the
// same: what would have to wait for the network, or to verify a signature, says so
// instead, before it has counted, logged or begun anything. It decides nothing.
package nowait

import (
	"context"
	"errors"
)

// Err says that there is no answer without waiting. It is nobody's fault, and never
// reaches a client: the caller asks again where it may wait.
var Err = errors.New("would wait")

type key struct{}

// With returns a context in which nobody waits.
func With(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Of says whether nobody may wait in ctx. It is asked only where somebody would.
func Of(ctx context.Context) bool {
	hurried, _ := ctx.Value(key{}).(bool)
	return hurried
}
