package main

import (
	"fmt"
	"strings"

	"github.com/bearergate/bearergate/test/bench/load"
	"github.com/bearergate/bearergate/test/bench/mint"
)

// row is one line of the table: a load, and what the server is told for it.
type row struct {
	name, title string

	kind        string // of the tokens
	tokens      int    // 0: as many new ones as the time may need
	choice      load.Choice
	shape       load.Shape
	connections int
	inFlight    int

	settings  string // sections of the configuration
	transport transport
	special   special
	curve     bool // a point of the curve in the chart, and no bar
	long      bool // only when asked for
}

type transport int

const (
	tcp transport = iota
	overTLS
	unixSocket
)

// special is a row that is not measured as the others are.
type special int

const (
	ordinary special = iota
	memory           // every token once, whatever the time, and then what is resident
	stampede         // all requests at once with one new token, and how often introspection was called
)

// warm is a row of tokens that are in the cache.
func warm(name, title, kind string, tokens int) row {
	return row{
		name: name, title: title, kind: kind, tokens: tokens, choice: load.Uniform, connections: 2, inFlight: 32,
		settings: room(tokens),
	}
}

// fresh is a row of which no token was seen before.
func fresh(name, title, kind string) row {
	return row{
		name: name, title: title, kind: kind, choice: load.Once, connections: 2, inFlight: 32,
		settings: room(1_000_000),
	}
}

// room is a cache that keeps that many tokens until the end of the run. Up to
// the default it is the default that is measured.
func room(tokens int) string {
	if tokens <= 50_000 {
		return "cache: {ttl: 1h}\n"
	}
	return fmt.Sprintf("cache: {ttl: 1h, max_entries: %d, max_bytes: 16GiB}\n", tokens*2)
}

func (r row) with(change func(*row)) row {
	change(&r)
	return r
}

// rows are the table. A new one belongs here and nowhere else.
func rows() []row {
	jwt := func(name, title string, change func(*row)) row {
		return warm(name, title, mint.ES256, 1000).with(change)
	}
	all := []row{
		warm("warm-jwt", "1,000 warm JWTs", mint.ES256, 1000),
		warm("warm-opaque", "1,000 warm opaque tokens", mint.Opaque, 1000),
		fresh("new-rs256", "RS256, every token new", mint.RS256),
		fresh("new-es256", "ES256, every token new", mint.ES256),
		fresh("new-eddsa", "EdDSA, every token new", mint.EdDSA),
		{
			name: "memory", title: "after 100,000 new tokens", kind: mint.ES256, tokens: 100_000, choice: load.Once,
			connections: 2, inFlight: 32, settings: "cache: {ttl: 1h}\n", special: memory,
		},
		{
			name: "memory-million", title: "after 1,000,000 new tokens", kind: mint.ES256, tokens: 1_000_000,
			choice: load.Once, connections: 2, inFlight: 32, settings: room(1_000_000), special: memory, long: true,
		},
		{
			name: "stampede", title: "one new opaque token, 500 requests at once", kind: mint.Opaque, tokens: 20,
			connections: 2, inFlight: 500, settings: room(0), special: stampede,
		},
		jwt("one-in-flight", "one request in flight", func(r *row) { r.connections, r.inFlight = 1, 1 }),
		jwt("one-connection", "1 connection", func(r *row) { r.connections = 1 }),
		jwt("eight-connections", "8 connections", func(r *row) { r.connections = 8 }),
		jwt("zipf", "few tokens often (Zipf)", func(r *row) { r.choice = load.Zipf }),
		jwt("tls", "TLS", func(r *row) { r.transport = overTLS }),
		jwt("unix", "Unix socket", func(r *row) { r.transport = unixSocket }),
		jwt("few-headers", "only allowed_headers of the shipped chains", func(r *row) { r.shape.Few = true }),
		jwt("header-field", "headers without encode_raw_headers", func(r *row) { r.shape.Map = true }),
		jwt("when", "a rule with when", func(r *row) {
			r.settings += "rules: [{name: orders, match: {paths: [\"/orders/**\"]}, " +
				"when: 'claims.tenant == \"acme\" && request.method != \"DELETE\"'}]\n"
		}),
		jwt("decision-log", "a decision log of every allow", func(r *row) {
			r.settings += "telemetry: {decision_log: {output: stderr, allows: 1}}\n"
		}),
		jwt("dpop", "1,000 warm JWTs, a fresh DPoP proof (ES256) each", func(r *row) {
			r.kind = mint.Bound
			r.settings += "dpop: {}\n"
		}),
		jwt("rules-100", "100 rules, the last one matches", func(r *row) { r.settings += rules(100) }),
		jwt("rules-10000", "10,000 rules, the last one matches", func(r *row) { r.settings += rules(10_000) }),
	}
	for _, n := range []int{1, 100, 10_000, 100_000, 1_000_000} {
		r := warm(fmt.Sprintf("cached-%d", n), "cached tokens: "+grouped(n), mint.ES256, n)
		r.curve, r.long = true, n > 100_000
		all = append(all, r)
	}
	return all
}

// rules are n, of which the last one is about the requests.
func rules(n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n - 1 {
		fmt.Fprintf(&b, "  - {name: team-%d, match: {paths: [\"/teams/%d/**\"], methods: [GET, POST]}, ", i, i)
		fmt.Fprintf(&b, "scopes: [\"team:%d\"]}\n", i)
	}
	b.WriteString("  - {name: orders, match: {paths: [\"/orders/**\"], methods: [GET]}, scopes: [\"orders:read\"]}\n")
	return b.String()
}

func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
