package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bearergate/bearergate/validation"
)

// cpu is what this process has spent so far. No test runs beside these.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// raceFactor is about how much slower the race detector makes an evaluation.
const raceFactor = 8

// expensiveClaims are the largest that reach a policy, of every shape.
func expensiveClaims() map[string]any {
	var list, lists []any
	for i := range 8000 {
		list = append(list, fmt.Sprintf("g%d", i))
		lists = append(lists, []any{json.Number(fmt.Sprint(i))})
	}
	object := map[string]any{}
	for _, member := range list {
		object[member.(string)] = []any{member}
	}
	return map[string]any{
		"text": strings.Repeat("x", 64<<10), "list": list, "groups": list[:3000], "lists": []any{lists}, "same": []any{append([]any{}, lists...)}, "object": object,
		"pattern": strings.Repeat("x{1000}", 2<<10), "nested": "((((x{10}){10}){10}y)*)*", "evil": "(x+x+)+y", "short": strings.Repeat("x", 1000), "middle": strings.Repeat("x", 8000),
		"long_pattern": strings.Repeat("(x|y)*", 1500), "time": "2026-11-25T00:00:00Z", "zones": []any{"Europe/Berlin", "Asia/Tokyo"},
	}
}

// TestWhenIsBounded: whatever the claims, an evaluation ends soon, and one that
// would not holds for nobody.
func TestWhenIsBounded(t *testing.T) {
	const limit = 200 * time.Millisecond
	loop := func(body string) string { return "claims.list.all(a, claims.list.all(b, " + body + "))" }
	big := strings.Repeat("x{1000}", 9) + "Y"
	const costs = true
	token := &validation.Token{Claims: claimsOf(expensiveClaims())}
	for expression, tooMuch := range map[string]bool{
		`claims.text.matches("(x+x+)+y")`:                                           false,
		`claims.text.matches("` + big + `")`:                                        costs,
		`matches(claims.text, "[a-z]{1,500}Z")`:                                     costs,
		`claims.short.matches("(?i)(x?){500}x{500}Y{500}Z")`:                        costs,
		`claims.short.matches("` + big + `")`:                                       costs,
		`claims.text.matches(claims.pattern)`:                                       false, // an error: too long
		`claims.text.matches(claims.nested)`:                                        costs,
		`claims.middle.matches("[a-z]{1,150}Z")`:                                    false, // just affordable
		`claims.text.matches(claims.evil)`:                                          false,
		`claims.text.matches(claims.long_pattern)`:                                  costs,
		`claims.list.all(g, g.matches(claims.nested + "|" + g))`:                    costs,
		`claims.list.all(g, !claims.text.matches("(x+x+)+y"))`:                      costs,
		loop(`!a.matches("(x+x+)+y$" + b)`):                                         costs,
		loop(`!a.matches("z")`):                                                     costs,
		loop(`a != b + "x"`):                                                        costs,
		loop(`size(claims.text) > 0`):                                               costs,
		loop(`claims.text != "x"`):                                                  costs,
		loop(`claims.text.contains("")`):                                            costs,
		loop(`claims.text.startsWith("x")`):                                         costs,
		loop(`claims.text + a != b`):                                                costs,
		loop(`bytes(claims.text) != b"x"`):                                          costs,
		loop(`claims.lists == claims.same`):                                         costs,
		loop(`claims.object == claims.object`):                                      costs,
		loop(`!(claims.lists[0] in claims.lists[0])`):                               costs,
		loop(`a in claims.list`):                                                    costs,
		loop(`timestamp(claims.time).getHours("Europe/Berlin") >= 0`):               costs,
		loop(`claims.zones.all(z, timestamp(claims.time).getHours(z) >= 0)`):        costs,
		loop(`claims.object.exists(k, k == "g7999")`):                               costs,
		`claims.list.map(a, claims.list.map(b, a + b)).size() > 0`:                  costs,
		`[claims.list]` + strings.Repeat(".map(x, x + x)", 40) + `.all(x, x == x)`:  costs,
		`[claims.short]` + strings.Repeat(".map(x, x + x)", 40) + `.all(x, x == x)`: costs,
		`claims.text.matches("` + big + `") || true`:                                costs, // nothing makes good for it
	} {
		c, err := new(conditions).compile(expression)
		if err != nil {
			t.Errorf("%.60s: %v", expression, err)
			continue
		}
		before := cpu(t)
		holds, err := c.holds(t.Context(), &Request{}, "", "/", token)
		took := cpu(t) - before
		t.Logf("%8s %.60s: %v, %v", took.Round(time.Microsecond*100), expression, holds, err)
		if holds || errors.Is(err, errWhenCost) != tooMuch {
			t.Errorf("%.60s: got %v, %v; too much %v", expression, holds, err, tooMuch)
		}
		if took > limit*raceFactor {
			t.Errorf("%.60s: took %s of CPU", expression, took)
		}
	}
}

func TestWhenAffordsWhatIsUsual(t *testing.T) {
	token := &validation.Token{Claims: claimsOf(expensiveClaims())}
	for _, expression := range []string{
		`"g7999" in claims.list`, `claims.list.exists(g, g == "g3000")`, `claims.short.matches("^[a-z]{1,1000}$")`, `claims.list[0].matches("^g[0-9]+$")`,
		`claims.short.matches(claims.evil + "|^x+$")`, `claims.list.exists(g, g.matches("^g(20|3)00$"))`, `claims.text.matches("^x+$")`, `claims.text.size() > 1000`,
		`timestamp(claims.time).getHours("UTC") == 0`, `claims.object.g1 == ["g1"]`, `claims.groups.map(g, g).size() == 3000`, `claims.list.filter(g, g == "g1").size() == 1`,
	} {
		c, err := new(conditions).compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if ok, err := c.holds(t.Context(), &Request{}, "", "/", token); !ok {
			t.Errorf("%s: got %v, want it to hold", expression, err)
		}
	}
}

// TestConditionsShareOneEnvironment: one for each would take longer than all the
// rest of a long configuration.
func TestConditionsShareOneEnvironment(t *testing.T) {
	c := Config{Realm: "r", DefaultAccess: "token"}
	if p, err := newPolicy(c); err != nil || p.conditions.env != nil {
		t.Errorf("without a condition: got an environment, %v", err)
	}
	var cs conditions
	if _, err := cs.compile("true"); err != nil {
		t.Fatal(err)
	}
	env := cs.env
	if _, err := cs.compile("false"); err != nil || cs.env != env {
		t.Errorf("got another environment, %v", err)
	}
	first, err := cs.compile(`claims.tenant == "acme"`)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := cs.compile(`claims.tenant == "acme"`); err != nil || second != first {
		t.Errorf("got another program for the same condition, %v", err)
	}
	if _, err := cs.compile("claims."); err == nil {
		t.Error("a mistake was accepted")
	}
	if _, err := cs.compile("claims."); err == nil {
		t.Error("a mistake was accepted the second time")
	}
	for i := range 2_000 {
		c.Rules = append(c.Rules, Rule{
			Name: fmt.Sprint(i), Match: &Match{Paths: []string{fmt.Sprintf("/p%d", i)}},
			When: fmt.Sprintf(`claims.n == %d`, i),
		})
	}
	before := cpu(t)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if took := cpu(t) - before; took > 400*time.Millisecond*raceFactor { // a fifth of what 10,000 rules may take
		t.Errorf("2,000 conditions took %s of CPU", took)
	}
}
