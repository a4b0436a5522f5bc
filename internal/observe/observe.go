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

// All returns an Observer that tells each of all: that an operation begins in their
// order, each with the context that those before it made, and how it ended in the
// reverse. Who was told nothing of the start may still be told of the end.
func All[E any](all ...Observer[E]) Observer[E] {
	var told Observer[E]
	for _, o := range all {
		told = Observer[E]{Started: startBoth(told.Started, o.Started), Ended: endBoth(o.Ended, told.Ended)}
	}
	return told
}

// started and ended are the functions of an Observer.
type (
	started      = func(ctx context.Context, operation string) context.Context
	ended[E any] = func(ctx context.Context, event E)
)

// startBoth costs nothing where only one wants to know.
func startBoth(first, second started) started {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	return func(ctx context.Context, operation string) context.Context {
		return second(first(ctx, operation), operation)
	}
}

func endBoth[E any](first, second ended[E]) ended[E] {
	if first == nil {
		return second
	}
	if second == nil {
		return first
	}
	return func(ctx context.Context, event E) {
		first(ctx, event)
		second(ctx, event)
	}
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
