package admin

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

//go:embed page
var files embed.FS

// sections are the parts of the status page that change while it is looked at, by the
// names of their templates and the ids of their elements.
func sections() []string {
	return []string{
		"readiness", "issuers", "bindings", "decisions", "refusals", "caches", "fleet", "shadow", "configuration",
	}
}

// views makes pages of what there is to show. Everything in them is escaped for its
// place by html/template.
type views struct{ templates *template.Template }

func newViews() *views {
	functions := template.FuncMap{"ago": ago, "percent": percent, "chart": chartOf}
	return &views{template.Must(template.New("").Funcs(functions).ParseFS(files, "page/page.html"))}
}

func (v *views) render(name string, data any) (string, error) {
	var out bytes.Buffer
	err := v.templates.ExecuteTemplate(&out, name, data)
	return out.String(), err
}

// page answers with a page, or with none of it.
func (p *Pages) page(w http.ResponseWriter, status int, name string, data any) {
	html, err := p.views.render(name, data)
	if err != nil {
		p.o.Log.Error("status page", "error", err)
		text(w, http.StatusInternalServerError, "this page cannot be shown\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(html)) //nolint:gosec // escaped by html/template
}

func asset(name, kind string) http.HandlerFunc {
	content, err := files.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(content)
	}
}

// ago is a time as people say it: it changes seldom, and so does the page.
func ago(t time.Time) string {
	switch d := time.Since(t); {
	case d < time.Minute:
		return "less than a minute ago"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	default:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
}

func percent(rate *float64) string {
	if rate == nil {
		return "none looked for"
	}
	return fmt.Sprintf("%.1f %%", *rate*100)
}

// chart is the decisions as bars, one for each minute.
type chart struct {
	Most uint64 // in one minute
	Bars []bar
}

type bar struct {
	Class        string
	X, Y, Height int
}

// Where the bars stand in the picture.
const (
	chartTop, chartBottom = 18, 126
	barStep               = 42
	barOffset             = 11
)

func chartOf(c Counts) chart {
	var picture chart
	for _, m := range c.Minutes {
		picture.Most = max(picture.Most, m.Allowed+m.Denied+m.Failed)
	}
	if picture.Most == 0 {
		return picture
	}
	for i, m := range c.Minutes {
		y := chartBottom
		for _, part := range []struct {
			class string
			n     uint64
		}{{"allowed", m.Allowed}, {"denied", m.Denied}, {"failed", m.Failed}} {
			height := int(float64(part.n) / float64(picture.Most) * (chartBottom - chartTop))
			if part.n > 0 {
				height = max(height, 2) // a few among many are seen, too
			}
			if height == 0 {
				continue
			}
			y -= height
			picture.Bars = append(picture.Bars, bar{part.class, barOffset + i*barStep, y, height})
		}
	}
	return picture
}
