// Package admin serves the pages of the admin address: liveness, readiness,
// metrics and a status page. It reads what the rooms expose and changes
// nothing. It never shares a listener with the Check service.
package admin

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"sort"
	"strings"
)

// Options are what the pages show.
type Options struct {
	Issuers  func() map[string]error // nil: tokens of the issuer can be decided
	Pending  func() error            // what a new configuration waits for; nil: none waits
	Draining func() bool
	Metrics  http.Handler
	Version  string
}

// New returns the pages.
func New(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", o.ready)
	mux.Handle("GET /metrics", o.Metrics)
	mux.HandleFunc("GET /{$}", o.status)
	return mux
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, body)
}

func (o Options) ready(w http.ResponseWriter, _ *http.Request) {
	body, status := "", http.StatusOK
	if o.Draining() {
		body, status = "draining\n", http.StatusServiceUnavailable
	}
	issuers := o.rows()
	if len(issuers) == 0 {
		body, status = body+"no configuration in use yet\n", http.StatusServiceUnavailable
	}
	for _, i := range issuers {
		if i.Problem != "" {
			body, status = body+fmt.Sprintf("issuer %s: %s\n", i.Issuer, i.Problem), http.StatusServiceUnavailable
		}
	}
	if status == http.StatusOK {
		body = "ok\n"
	}
	text(w, status, body)
}

type row struct{ Issuer, Problem string }

func (o Options) rows() []row {
	var all []row
	for issuer, err := range o.Issuers() {
		r := row{Issuer: issuer}
		if err != nil {
			r.Problem = err.Error()
		}
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Issuer < all[j].Issuer })
	return all
}

const head = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Bearergate</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
td,th{text-align:left;padding:.25rem 1rem .25rem 0;vertical-align:top}
.no{color:#a00}
</style></head>
`

const links = `<a href="/livez">livez</a> · <a href="/readyz">readyz</a> · <a href="/metrics">metrics</a>`

// status writes its page by hand: html/template would keep the linker from
// dropping unused methods, and cost the binary a quarter of its size.
func (o Options) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Cache-Control", "no-store")
	state := "Serving."
	if o.Draining() {
		state = "Draining: no new work is taken."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s<body><h1>Bearergate %s</h1>\n<p>%s %s</p>\n", head, html.EscapeString(o.Version), state, links)
	if err := o.Pending(); err != nil {
		fmt.Fprintf(&b, "<p class=\"no\">A new configuration waits, and the one in use serves on: %s</p>\n",
			html.EscapeString(err.Error()))
	}
	b.WriteString("<table><tr><th>issuer</th><th>state</th></tr>\n")
	for _, r := range o.rows() {
		cell := "ready"
		if r.Problem != "" {
			cell = `<span class="no">not ready: ` + html.EscapeString(r.Problem) + "</span>"
		}
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td></tr>\n", html.EscapeString(r.Issuer), cell)
	}
	b.WriteString("</table></body></html>\n")
	_, _ = io.WriteString(w, b.String())
}
