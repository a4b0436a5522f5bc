package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/walk"
)

const (
	maxExplains    = 4 // at a time
	maxFormBytes   = 64 << 10
	explainTimeout = 10 * time.Second
	leastHidden    = 8 // a shorter token would be found in every text

	// explainID is what a decision that the form asked for has as its request ID, in the
	// log and among the refusals.
	explainID = "status-page"
)

// form is what the page of the form shows: what was asked for, but for the token.
type form struct {
	Method, Host, Path string
	Walk               *shownWalk // nil: nothing was asked yet
	Wrong              string     // why nothing was explained
}

// shownWalk is a walk as a page shows it.
type shownWalk struct {
	Steps                  []walk.Step
	Reason, Hint, Response string
	Allowed                bool
}

func (p *Pages) explainForm(w http.ResponseWriter, _ *http.Request) {
	p.page(w, http.StatusOK, "explain", form{Method: http.MethodGet, Host: "localhost", Path: "/"})
}

// explainToken has the running service decide the request that the form describes. The
// token comes in the body, is handed on, and is nowhere in the answer.
func (p *Pages) explainToken(w http.ResponseWriter, r *http.Request) {
	select {
	case p.explains <- struct{}{}:
		defer func() { <-p.explains }()
	default:
		w.Header().Set("Retry-After", "1")
		text(w, http.StatusServiceUnavailable, "too many are explained at a time\n")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		p.page(w, http.StatusBadRequest, "explain", form{
			Method: http.MethodGet, Host: "localhost", Path: "/", Wrong: "The form cannot be read, or is too large.",
		})
		return
	}
	token := bare(r.PostForm.Get("token")) // never from the URL
	proof := strings.TrimSpace(r.PostForm.Get("proof"))
	secret := secrets{token, proof}
	shown := form{
		Method: secret.hide(r.PostForm.Get("method")), Host: secret.hide(r.PostForm.Get("host")),
		Path: secret.hide(r.PostForm.Get("path")),
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainTimeout)
	defer cancel()
	got, err := explain.Run(ctx, p.o.Checks, explain.Request{
		Method: r.PostForm.Get("method"), Host: r.PostForm.Get("host"), Path: r.PostForm.Get("path"), Token: token,
		Proof: proof, Certificate: strings.TrimSpace(r.PostForm.Get("certificate")),
		Headers: map[string]string{"x-request-id": explainID}, Issuers: p.issuers(),
	})
	if err != nil {
		shown.Wrong = "This is no request that can be decided."
		p.page(w, http.StatusBadRequest, "explain", shown)
		return
	}
	shown.Walk = secret.show(got)
	p.page(w, http.StatusOK, "explain", shown)
}

func (p *Pages) issuers() []string {
	var all []string
	for _, i := range p.o.Service.States() {
		all = append(all, i.Issuer)
	}
	return all
}

// bare is a token as people paste it, without what may stand around it.
func bare(pasted string) string {
	pasted = strings.TrimSpace(pasted)
	scheme, token, ok := strings.Cut(pasted, " ")
	if ok && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")) {
		return strings.TrimSpace(token)
	}
	return pasted
}

// secrets are what was posted and must not be shown: a token and a proof.
type secrets []string

// hide keeps them out of a text, wherever they were pasted.
func (all secrets) hide(text string) string {
	for _, secret := range all {
		if len(secret) >= leastHidden {
			text = strings.ReplaceAll(text, secret, redacted)
		}
	}
	return printable(text)
}

func (all secrets) show(w *explain.Walk) *shownWalk {
	shown := &shownWalk{
		Reason: w.Reason, Allowed: w.Allowed, Hint: all.hide(w.Hint), Response: all.hide(string(w.Response)),
	}
	for _, s := range w.Steps {
		s.Name, s.Detail = all.hide(s.Name), all.hide(s.Detail)
		s.Got, s.Want = all.hide(s.Got), all.hide(s.Want)
		shown.Steps = append(shown.Steps, s)
	}
	return shown
}
