package validation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/singleflight"

	"github.com/bearergate/bearergate/internal/walk"
)

// ask has one call made for all who want to know of the same token; tokens that
// were good before go first. Whoever cannot wait leaves; the call goes on under
// its own deadline and fills the cache for the next try (I-24, E-08).
func (v *Validator) ask(ctx context.Context, d digest, token string, seenGood bool) (*Token, error) {
	token = strings.Clone(token) // the call may outlive the request that the token is a piece of
	answers := v.flights.DoChan(string(d[:]), func() (any, error) {
		if t, err := v.answered(d); t != nil || err != nil {
			return t, err
		}
		if !v.begin() {
			return nil, &UnavailableError{Err: errors.New("shutting down")}
		}
		defer v.calls.Done()
		a := v.find(context.WithoutCancel(ctx), d, token, seenGood)
		v.remember(d, a)
		return a.token, a.err
	})
	t, err := v.await(ctx, answers)
	step := walk.Step{Package: room, Name: "introspection", Result: walk.Noted, Detail: resultOf(err)}
	if step.Detail != resultActive {
		step.Result = walk.Failed
	}
	walk.From(ctx).Add(step)
	return t, err
}

// answered returns what a call for the same token has found out since the caller
// looked: who comes just after one flight has ended would else begin the next.
func (v *Validator) answered(d digest) (*Token, error) {
	if v.cache == nil {
		return nil, nil
	}
	now := v.now()
	if known, ok := v.cache.positive(d); ok && now.Before(v.cache.fresh(&known)) {
		return known.token(), nil
	}
	return nil, v.cache.negative(d, now)
}

// begin counts a call that Close waits for, unless it is too late.
func (v *Validator) begin() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.calls.Add(1)
	return true
}

// await waits for the answer, as long as somebody wants to know.
func (v *Validator) await(ctx context.Context, answers <-chan singleflight.Result) (*Token, error) {
	select {
	case <-ctx.Done():
		return nil, &UnavailableError{Err: fmt.Errorf("introspection takes longer than the gateway waits: %w", ctx.Err())}
	case <-v.closing:
		return nil, &UnavailableError{Err: errors.New("shutting down")}
	case answer := <-answers:
		if answer.Err != nil {
			return nil, answer.Err
		}
		return answer.Val.(*Token), nil
	}
}

// remember keeps what an answer said, and which token's answer is too large. An
// outage is never remembered.
func (v *Validator) remember(d digest, a answer) {
	var unavailable *UnavailableError
	switch {
	case v.cache == nil:
	case errors.As(a.err, &unavailable):
		if unavailable.ofToken {
			v.cache.postpone(d, a.err, a.at)
		}
	case a.err != nil:
		v.cache.refuse(d, a.err, a.at)
	default:
		v.cache.add(d, a.token, "", v.now())
	}
}
