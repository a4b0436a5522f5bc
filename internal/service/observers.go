package service

import (
	"net/http"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/observe"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/shared"
	"github.com/bearergate/bearergate/validation"
)

// Observers are told what the rooms do; the zero Observers are told nothing. The
// service does not know what is made of it.
type Observers struct {
	Checks     envoy.Observer
	Discovery  discovery.Observer
	Validation validation.Observer

	// Proofs is told what became of each DPoP proof; nil: nobody is.
	Proofs func(result string)

	Revocations revocation.Observer
	Shared      observe.Observer[shared.Event]

	// Transport stands around that of the calls to the authorization servers; nil:
	// nothing does.
	Transport func(http.RoundTripper) http.RoundTripper
}

// together tells each of all.
func together(all []Observers) Observers {
	var told Observers
	for _, o := range all {
		told.Checks = observe.All(told.Checks, o.Checks)
		told.Discovery = observe.All(told.Discovery, o.Discovery)
		told.Validation = observe.All(told.Validation, o.Validation)
		told.Revocations = observe.All(told.Revocations, o.Revocations)
		told.Shared = observe.All(told.Shared, o.Shared)
		told.Proofs = both(told.Proofs, o.Proofs)
		if o.Transport != nil {
			told.Transport = o.Transport
		}
	}
	return told
}

// both tells one and the other, those of them that are there.
func both(one, other func(string)) func(string) {
	if one == nil || other == nil {
		if one == nil {
			one = other
		}
		return one
	}
	return func(result string) {
		one(result)
		other(result)
	}
}
