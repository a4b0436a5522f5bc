// Package admin serves what operators look at: liveness, readiness and metrics, which
// are for machines, and a status page with a form that explains a token, which are
// for people. It reads what the rooms expose and changes nothing, but that it takes
// revocations. It never shares a listener with the Check service.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
)

// Service is what the pages are about; *service.Service is one.
type Service interface {
	States() []service.IssuerState
	Entries() map[string]int            // of the caches, by name
	Proofs() int                        // that are remembered
	InUse() (*config.Config, time.Time) // nil: there is none yet
	Pending() error                     // what a new configuration waits for; nil: none waits

	Fleet() service.FleetState
	// Revoke has tokens refused; shared says whether other replicas know.
	Revoke(ctx context.Context, r revocation.Revocation) (shared bool, err error)
}

// Options are what the pages show, and to whom.
type Options struct {
	Service   Service
	Draining  func() bool
	Lookups   func() map[string]map[string]uint64 // in the caches, by cache and result
	Decisions *Decisions
	Checks    explain.Checker // that the form asks
	Metrics   http.Handler

	Version, Commit string

	Token    *Token // that people must know
	Loopback bool   // the listener is out of reach for other machines
	Log      *slog.Logger
}

// Pages are the pages of one service. They are safe for concurrent use.
type Pages struct {
	o        Options
	views    *views
	began    time.Time
	streams  streams
	explains chan struct{} // room for those under way
}

// New returns the pages.
func New(o Options) *Pages {
	return &Pages{
		o: o, views: newViews(), began: time.Now(),
		streams: newStreams(), explains: make(chan struct{}, maxExplains),
	}
}

// Probes serves what machines ask for, without credentials: nothing in it is more than
// the names of the issuers and how they are.
func (p *Pages) Probes() http.Handler {
	mux := http.NewServeMux()
	p.probes(mux)
	return mux
}

func (p *Pages) probes(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", p.ready)
	mux.Handle("GET /metrics", p.o.Metrics)
}

// Admin serves everything.
func (p *Pages) Admin() http.Handler {
	people := http.NewServeMux()
	people.HandleFunc("GET /{$}", p.status)
	people.HandleFunc("GET /status.json", p.statusJSON)
	people.HandleFunc("GET /events", p.events)
	people.HandleFunc("GET /explain", p.explainForm)
	people.HandleFunc("POST /explain", p.explainToken)
	for name, kind := range map[string]string{"style.css": "text/css", "live.js": "text/javascript"} {
		people.HandleFunc("GET /"+name, asset(name, kind+"; charset=utf-8"))
	}
	mux := http.NewServeMux()
	p.probes(mux)
	mux.Handle("GET /revocations", secured(p.onlyWithToken(p.revocations)))
	mux.Handle("POST /revocations", secured(p.onlyWithToken(p.revoke)))
	mux.Handle("/", secured(p.guard(people)))
	return mux
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, body)
}

func (p *Pages) ready(w http.ResponseWriter, _ *http.Request) {
	body, status := "ok\n", http.StatusOK
	if reasons := p.unready(p.o.Service.States()); len(reasons) > 0 {
		body, status = "", http.StatusServiceUnavailable
		for _, reason := range reasons {
			body += reason + "\n"
		}
	}
	text(w, status, body)
}

// unready says why no requests should come, or not all could be decided.
func (p *Pages) unready(issuers []service.IssuerState) []string {
	var reasons []string
	if p.o.Draining() {
		reasons = append(reasons, "draining")
	}
	if problem := p.o.Service.Fleet().Problem; problem != nil {
		reasons = append(reasons, problem.Error())
	}
	if len(issuers) == 0 {
		reasons = append(reasons, "no configuration in use yet")
	}
	for _, i := range issuers {
		if i.Problem != nil {
			reasons = append(reasons, fmt.Sprintf("issuer %s: %v", i.Issuer, i.Problem))
		}
	}
	return reasons
}
