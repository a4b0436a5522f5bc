package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/validation"
)

// maxRevocationBytes has room for the longest token.
const maxRevocationBytes = 64 << 10

// revocable are the members of which one says what is revoked.
func revocable() map[string]revocation.Kind {
	return map[string]revocation.Kind{
		"sub": revocation.KindSub, "sid": revocation.KindSID, "jti": revocation.KindJTI,
		"client_id": revocation.KindClientID, "token": revocation.KindToken,
	}
}

// onlyWithToken lets those through who have the token, after Bearer: who revokes has
// users sent away, and nothing that a browser sends by itself may do that. Without a
// token that could be asked for nobody may, on loopback neither.
func (p *Pages) onlyWithToken(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, asked := p.o.Token.wanted()
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		switch {
		case !asked:
			wrong(w, http.StatusForbidden, "server.admin_token_file is not set: revocations need its token")
		case !strings.EqualFold(scheme, "Bearer") || !shown(r, want):
			w.Header().Set("WWW-Authenticate", `Bearer realm="bearergate"`)
			wrong(w, http.StatusUnauthorized, "the token of server.admin_token_file is needed: Authorization: Bearer TOKEN")
		default:
			next(w, r)
		}
	})
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// wrong says why nothing was done.
func wrong(w http.ResponseWriter, status int, why string) {
	answerJSON(w, status, map[string]string{"error": why})
}

// revocations says how many there are, and never of whom.
func (p *Pages) revocations(w http.ResponseWriter, _ *http.Request) {
	state := p.o.Service.Fleet()
	if state.Counts == nil {
		state.Counts = map[string]map[string]int{}
	}
	answerJSON(w, http.StatusOK, map[string]any{"entries": state.Entries, "issuers": state.Counts})
}

// revoke revokes what the body says.
func (p *Pages) revoke(w http.ResponseWriter, r *http.Request) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		wrong(w, http.StatusBadRequest, "want content type application/json")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRevocationBytes))
	if err != nil {
		wrong(w, http.StatusBadRequest, fmt.Sprintf("the body cannot be read, or has more than %d bytes", maxRevocationBytes))
		return
	}
	revoked, err := readRevocation(body)
	if err != nil {
		wrong(w, http.StatusBadRequest, err.Error())
		return
	}
	if skew, known := p.clockSkew(revoked.Issuer); known && revoked.Before.After(time.Now().Add(skew)) {
		wrong(w, http.StatusBadRequest, fmt.Sprintf("before is more than clock_skew (%s) from now", skew))
		return
	}
	told, err := p.o.Service.Revoke(r.Context(), revoked)
	switch {
	case errors.Is(err, service.ErrUnknownIssuer):
		wrong(w, http.StatusNotFound, "issuer "+err.Error())
	case errors.Is(err, service.ErrRevocationOff):
		wrong(w, http.StatusNotFound, err.Error())
	case err != nil:
		wrong(w, http.StatusBadRequest, err.Error())
	default:
		p.o.Log.Info("tokens are revoked", "issuer", revoked.Issuer, "by", revoked.Kind.String(), "shared", told)
		answerJSON(w, http.StatusAccepted, map[string]bool{"shared": told})
	}
}

// clockSkew is that of an issuer; false: nobody knows the issuer, which is what is wrong
// then.
func (p *Pages) clockSkew(issuer string) (skew time.Duration, known bool) {
	cfg, _ := p.o.Service.InUse()
	if cfg == nil {
		return 0, false
	}
	for _, i := range cfg.Issuers {
		if i.Validation.Issuer == issuer {
			return i.Validation.ClockSkew, true
		}
	}
	return 0, false
}

// readRevocation reads a body. Its errors are for whoever sent it, and quote no value:
// what is logged on the way may be a token.
func readRevocation(body []byte) (revocation.Revocation, error) {
	r := revocation.Revocation{Source: revocation.SourceAdmin}
	members, err := strictjws.ParseObject(body)
	if err != nil {
		return r, errors.New("the body is no JSON object, or has a member twice")
	}
	kinds := revocable()
	for _, m := range members.Members {
		kind, names := kinds[m.Name]
		text, ok := m.Value.Text()
		switch {
		case !names && m.Name != "issuer" && m.Name != "before":
			return r, fmt.Errorf("member %.40q is not known", m.Name)
		case !ok || text == "":
			return r, fmt.Errorf("%s is no text, or empty", m.Name)
		case names && r.Kind != 0:
			return r, fmt.Errorf("%s and %s are given, want one of them", r.Kind, m.Name)
		case names:
			r.Kind, r.Value = kind, text
		case m.Name == "issuer":
			r.Issuer = text
		default:
			if r.Before, err = time.Parse(time.RFC3339, text); err != nil || r.Before.IsZero() {
				return r, errors.New("before is no time of RFC 3339, such as 2026-11-24T12:00:00Z")
			}
		}
	}
	switch {
	case r.Issuer == "":
		return r, errors.New("issuer is missing")
	case r.Kind == 0:
		return r, errors.New("want one of sub, sid, jti, client_id and token")
	case len(r.Value) > validation.MaxTokenBytes:
		return r, fmt.Errorf("%s has more than %d bytes", r.Kind, validation.MaxTokenBytes)
	case r.Kind == revocation.KindToken && strings.ContainsFunc(r.Value, func(c rune) bool { return c <= ' ' || c > '~' }):
		return r, errors.New("token is not visible ASCII, as all tokens are")
	}
	return r, nil
}
