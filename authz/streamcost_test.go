package authz

import (
	"testing"
	"time"

	"github.com/bearergate/bearergate/validation"
)

// TestStreamUntilExpiryCostsItsTextAlone: nothing where it is off, the number in words
// where it is on.
func TestStreamUntilExpiryCostsItsTextAlone(t *testing.T) {
	token := &validation.Token{Subject: "alice", ClientID: "app", Expiry: time.Now().Add(time.Hour)}
	cost := func(on, elsewhere bool) float64 {
		p, err := newPolicy(Config{
			Realm: "r", DefaultAccess: "token", Headers: map[string]string{"x-auth-sub": "sub", "x-auth-client-id": "client_id"},
			Rules: []Rule{{Name: "r", StreamUntilExpiry: on}, {Name: "s", StreamUntilExpiry: elsewhere}},
		})
		if err != nil {
			t.Fatal(err)
		}
		p.now = time.Now
		e := &evaluation{policy: p, rule: p.rules[0], token: token}
		return testing.AllocsPerRun(100, func() {
			d := e.conclude(nil)
			e.endWithToken(&d)
		})
	}
	off := cost(false, false)
	if elsewhere, on := cost(false, true), cost(true, false); elsewhere != off || on != off+1 {
		t.Errorf("got %v allocations off, %v while another rule has it, and %v on, want one more for its text alone", off, elsewhere, on)
	}
}
