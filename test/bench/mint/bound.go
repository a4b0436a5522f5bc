package mint

import (
	"sync"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// clients that prove their keys are as many as keep each of them, in any run, below
// the share of the server's memory that one may have.
const clients = 100

// bound are those clients, and which of them a token is for.
type bound struct {
	provers [clients]*devissuer.Prover

	mu     sync.RWMutex
	owners map[string]*devissuer.Prover
}

func newBound() *bound {
	b := &bound{owners: map[string]*devissuer.Prover{}}
	for n := range b.provers {
		b.provers[n] = devissuer.NewProverOf(ES256)
	}
	return b
}

func (i *Issuer) mintBound(n int) ([]string, error) {
	tokens := make([]string, n)
	for j := range tokens {
		owner := i.bound.provers[j%clients]
		claims := typical(i.URL(), j)
		claims["cnf"] = devissuer.BoundToKey(owner.Thumbprint())
		token, err := i.jwt(ES256, claims)
		if err != nil {
			return nil, err
		}
		tokens[j] = token
		i.bound.mu.Lock()
		i.bound.owners[token] = owner
		i.bound.mu.Unlock()
	}
	return tokens, nil
}

// Proof returns a new one for a GET of url by the client that the token is for.
func (i *Issuer) Proof(url, token string) string {
	i.bound.mu.RLock()
	owner := i.bound.owners[token]
	i.bound.mu.RUnlock()
	return owner.Proof("GET", url, token, nil)
}
