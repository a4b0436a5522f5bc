package admin

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	maxStreams   = 32
	maxStream    = 10 * time.Minute // then the browser connects anew
	tick         = 2 * time.Second
	writeTimeout = 5 * time.Second // who reads no faster is dropped
)

func (p *Pages) status(w http.ResponseWriter, _ *http.Request) {
	p.page(w, http.StatusOK, "status", p.state())
}

func (p *Pages) statusJSON(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(p.state())
}

// streams are the clients that look on, and what they are shown, which is made once for
// all of them.
type streams struct {
	room chan struct{}

	mu    sync.Mutex
	made  time.Time
	shown map[string]string
}

func newStreams() streams { return streams{room: make(chan struct{}, maxStreams)} }

// sections returns the parts of the page by name, at most half a tick old.
func (p *Pages) sections() (map[string]string, error) {
	p.streams.mu.Lock()
	defer p.streams.mu.Unlock()
	if p.streams.shown != nil && time.Since(p.streams.made) < tick/2 {
		return p.streams.shown, nil
	}
	state, all := p.state(), map[string]string{}
	for _, name := range sections() {
		html, err := p.views.render(name, state)
		if err != nil {
			return nil, err
		}
		all[name] = html
	}
	p.streams.made, p.streams.shown = time.Now(), all
	return all, nil
}

// events tells a page what has changed, until it is gone, too slow, or has looked on
// for long.
func (p *Pages) events(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams.room <- struct{}{}:
		defer func() { <-p.streams.room }()
	default:
		w.Header().Set("Retry-After", "10")
		text(w, http.StatusServiceUnavailable, "too many look on\n")
		return
	}
	control := http.NewResponseController(w)
	// The server's own deadlines are for short answers.
	if control.SetReadDeadline(time.Now().Add(maxStream+writeTimeout)) != nil {
		text(w, http.StatusInternalServerError, "this connection cannot stream\n")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	over, ticks := time.NewTimer(maxStream), time.NewTicker(tick)
	defer over.Stop()
	defer ticks.Stop()
	seen := map[string]string{}
	for {
		event, err := p.changes(seen)
		if err != nil || control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return
		}
		if _, err := w.Write(event); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-over.C:
			return
		case <-ticks.C:
		}
	}
}

// changes is the event that has what is not in seen yet, and remembers it there; or a
// comment, which shows whether anybody is still there.
func (p *Pages) changes(seen map[string]string) ([]byte, error) {
	all, err := p.sections()
	if err != nil {
		return nil, err
	}
	changed := map[string]string{}
	for name, html := range all {
		if before, ok := seen[name]; !ok || before != html {
			changed[name], seen[name] = html, html
		}
	}
	if len(changed) == 0 {
		return []byte(":\n\n"), nil
	}
	data, err := json.Marshal(changed) // no line breaks, which would end the event
	return append(append([]byte("retry: 3000\nevent: sections\ndata: "), data...), "\n\n"...), err
}
