// Package observe is the one shape in which the rooms tell what they do: that
// something began, with the context that it goes on in, and how it ended. What is
// made of that, metrics, spans or nothing, they do not know.
package observe

import "context"

// Observer is told of events of one room. Its functions are called on the path of
// a request: they must not block, and must be safe for concurrent use. Nil ones,
// and so the zero Observer, are told nothing.
type Observer[E any] struct {
	// Started is told when an operation begins, and returns the context that it
	// goes on in.
	Started func(ctx context.Context, operation string) context.Context
	// Ended is told how it ended. What takes no time has an end only.
	Ended func(ctx context.Context, event E)
}

// Start tells that an operation begins.
func (o Observer[E]) Start(ctx context.Context, operation string) context.Context {
	if o.Started == nil {
		return ctx
	}
	return o.Started(ctx, operation)
}

// End tells how an operation ended.
func (o Observer[E]) End(ctx context.Context, event E) {
	if o.Ended != nil {
		o.Ended(ctx, event)
	}
}
