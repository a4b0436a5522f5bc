// Package recovered makes errors of panics. A panic in a goroutine that we start
// would end the process, and with it the decisions about every other token: so
// work that somebody else's bytes could upset is called through here. It does not
// decide what the error means.
package recovered

import (
	"fmt"
	"runtime/debug"
)

// Error is a panic. What the work panicked with may hold a token or a secret, and
// is not in it: only its type is.
type Error struct {
	Type  string
	Stack []byte // where it happened
}

func (e *Error) Error() string { return fmt.Sprintf("panic: %s\n%s", e.Type, e.Stack) }

// Call returns what work returns, or an [*Error] when it panics.
func Call[T any](work func() (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Type: fmt.Sprintf("%T", p), Stack: debug.Stack()}
		}
	}()
	return work()
}
