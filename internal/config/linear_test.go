package config

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// written returns a configuration of that many rules in each format, realistic
// ones, with bad ones among them where every is not 0.
func written(rules, every int) map[string]string {
	var y, t, j, flow strings.Builder
	y.WriteString("auth: {issuer: 'https://a.example.com', audience: a}\nrules:\n")
	t.WriteString("[auth]\nissuer = \"https://a.example.com\"\naudience = \"a\"\n")
	j.WriteString("{\n  \"auth\": {\"issuer\": \"https://a.example.com\", \"audience\": \"a\"},\n  \"rules\": [\n")
	flow.WriteString(`{"auth": {"issuer": "https://a.example.com", "audience": "a"}, "rules": [`)
	for i := range rules {
		access, comma := "token", ","
		if every > 0 && i%every == 0 {
			access = "nobody"
		}
		if i == rules-1 {
			comma = ""
		}
		path := fmt.Sprintf("/team-%d/products/*/orders-%d/**", i%97, i)
		fmt.Fprintf(&y, "  - name: team-orders-write-%d\n    match:\n      paths: [%q]\n      methods: [GET, POST, PUT, DELETE]\n      hosts: [api.example.com, www.example.com]\n"+
			"    access: %s\n    audience: orders-api-%d\n    scopes: [\"orders:read\", \"orders:write-%d\"]\n", i, path, access, i, i)
		fmt.Fprintf(&t, "[[rules]]\nname = \"team-orders-write-%d\"\naccess = %q\naudience = \"orders-api-%d\"\nscopes = [\"orders:read\", \"orders:write-%d\"]\n"+
			"[rules.match]\npaths = [%q]\nmethods = [\"GET\", \"POST\", \"PUT\", \"DELETE\"]\nhosts = [\"api.example.com\", \"www.example.com\"]\n", i, access, i, i, path)
		rule := fmt.Sprintf(`{"name": "team-orders-write-%d", "match": {"paths": [%q], "methods": ["GET", "POST", "PUT", "DELETE"], "hosts": ["api.example.com", "www.example.com"]},`+
			` "access": %q, "audience": "orders-api-%d", "scopes": ["orders:read", "orders:write-%d"]}%s`, i, path, access, i, i, comma)
		flow.WriteString(rule)
		j.WriteString("    " + strings.ReplaceAll(strings.ReplaceAll(rule, ", \"", ",\n      \""), "{\"", "{\n      \"") + "\n")
	}
	j.WriteString("  ]\n}\n")
	flow.WriteString("]}")
	return map[string]string{
		"block.yaml": y.String(), "tables.toml": t.String(), "lines.json": j.String(), "line.json": flow.String(),
		"line.yaml": flow.String(),
	}
}

// cpu is what the process has used so far.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cost parses content, and returns the CPU time of it.
func cost(t *testing.T, name, content string, mistakes int) time.Duration {
	t.Helper()
	before := cpu(t)
	_, err := Parse(name, []byte(content), env)
	text := ""
	if err != nil {
		text = err.Error()
	}
	took := cpu(t) - before
	if got := strings.Count(text, `got "nobody"`); got != mistakes || mistakes == 0 && err != nil {
		t.Fatalf("%s: got %d mistakes, want %d: %.200s", name, got, mistakes, text)
	}
	return took
}

// Ten thousand rules take less than 2 s of CPU in any format, and four times
// the rules about four times as long (docs/contract.md §2); bad ones too.
func TestLoadingCostsGrowLinearly(t *testing.T) {
	const times = 4
	rules := 10_000
	if raceDetector {
		rules = 1_000
	}
	for _, every := range []int{0, 1} {
		few, many := written(rules/times, every), written(rules, every)
		for name, content := range many {
			t.Run(fmt.Sprintf("%s, one mistake in %d", name, every), func(t *testing.T) {
				if len(content) > maxBytes {
					t.Fatalf("%d bytes are more than a file may have", len(content))
				}
				short := min(cost(t, name, few[name], every*rules/times), cost(t, name, few[name], every*rules/times))
				long := cost(t, name, content, every*rules)
				t.Logf("%d KiB: %s, a quarter of it: %s", len(content)>>10, long, short)
				if long > 2*times*short {
					t.Errorf("%d rules took %s, %d took %s", rules, long, rules/times, short)
				}
				if long > 2*time.Second && !raceDetector {
					t.Errorf("%d rules took %s, want less than 2 s", rules, long)
				}
			})
		}
	}
}
