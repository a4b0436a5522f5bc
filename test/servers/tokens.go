package servers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// logoutWait is how long a server may take to post a logout token.
const logoutWait = 10 * time.Second

// verifier of PKCE: nothing here is a secret.
const verifier = "a-verifier-that-is-long-enough-to-be-taken-by-all"

// Token is one that a server issued.
type Token struct {
	Grant string // the name of the grant
	Kind  string // access, id, refresh or logout
	Raw   string
}

// Session is a browser, and the tokens that it got for its client.
type Session struct {
	Tokens []Token

	server  *Server
	grant   Grant
	browser *http.Client
}

// tries is how often a login is begun anew: a server on a busy machine may end
// a connection without an answer, which is nothing to test.
const tries = 3

// Get asks for the tokens of one grant.
func (s *Server) Get(ctx context.Context, g Grant) (session *Session, err error) {
	for range tries {
		session, err = s.get(ctx, g)
		var broken *url.Error
		if !errors.As(err, &broken) {
			break
		}
	}
	return session, err
}

func (s *Server) get(ctx context.Context, g Grant) (*Session, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	session := &Session{server: s, grant: g, browser: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	form, err := session.form(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.Name, err)
	}
	answer, err := post(ctx, s.Token, g.Client, form)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.Name, err)
	}
	for _, kind := range []string{"access", "id", "refresh"} {
		var raw string
		if member, ok := answer[kind+"_token"]; ok && json.Unmarshal(member, &raw) == nil {
			session.Tokens = append(session.Tokens, Token{Grant: g.Name, Kind: kind, Raw: raw})
		}
	}
	return session, nil
}

// form is the request of the grant; a code is got for it first.
func (s *Session) form(ctx context.Context) (url.Values, error) {
	form := url.Values{"grant_type": {s.grant.Type}}
	for name, value := range s.grant.Parameters {
		form.Set(name, value)
	}
	if s.grant.Type != "authorization_code" {
		return form, nil
	}
	code, err := s.authorize(ctx)
	if err != nil {
		return nil, err
	}
	form.Set("code", code)
	form.Set("redirect_uri", s.server.RedirectURI)
	form.Set("code_verifier", verifier)
	return form, nil
}

// Introspect returns what the endpoint says to the resource server's client.
func (s *Server) Introspect(ctx context.Context, raw string) (json.RawMessage, error) {
	answer, err := post(ctx, s.Introspection, s.Gate, url.Values{"token": {raw}})
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// Revoke revokes a token in the name of the client that it was issued to.
func (s *Server) Revoke(ctx context.Context, c Client, raw string) error {
	_, err := post(ctx, s.Revocation, c, url.Values{"token": {raw}})
	return err
}

// post sends a form to an endpoint as a client.
func post(ctx context.Context, endpoint string, c Client, form url.Values) (map[string]json.RawMessage, error) {
	resp, err := send(ctx, endpoint, c, form, "")
	if err != nil {
		return nil, err
	}
	if resp.status != http.StatusOK {
		return nil, fmt.Errorf("%s: got status %d %.500s, want 200", endpoint, resp.status, resp.body)
	}
	var answer map[string]json.RawMessage
	_ = json.Unmarshal(resp.body, &answer) // a revocation has no body
	return answer, nil
}

// response is what an endpoint answers.
type response struct {
	status int
	body   []byte
	nonce  string // of DPoP
}

// send posts a form as a client, with a DPoP proof unless that is empty.
func send(ctx context.Context, endpoint string, c Client, form url.Values, proof string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return response{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if proof != "" {
		req.Header.Set("DPoP", proof)
	}
	if c.ID != "" {
		req.SetBasicAuth(c.ID, c.Secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, body, resp.Header.Get("DPoP-Nonce")}, err
}

// authorize walks from the authorization endpoint through the login form to
// the redirect URI, and returns the code in it.
func (s *Session) authorize(ctx context.Context) (string, error) {
	challenge := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {s.grant.Client.ID}, "redirect_uri": {s.server.RedirectURI},
		"state": {"a-state-of-some-length"}, "nonce": {"a-nonce-of-some-length"},
		"code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}
	for name, value := range s.grant.Parameters {
		query.Set(name, value)
	}
	end, err := s.walk(ctx, s.server.Authorization+"?"+query.Encode())
	if err != nil {
		return "", err
	}
	code := end.Query().Get("code")
	if code == "" {
		return "", fmt.Errorf("got %s, want a code", end)
	}
	return code, nil
}

// LogoutToken logs in and out, and returns what the server then posts to the
// client: a token of OpenID Connect Back-Channel Logout 1.0.
func (s *Server) LogoutToken(ctx context.Context) (Token, error) {
	listener, err := net.Listen("tcp", s.Logout)
	if err != nil {
		return Token{}, err
	}
	posted := make(chan string, 10)
	receiver := &http.Server{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			posted <- r.FormValue("logout_token")
		}),
		ReadHeaderTimeout: logoutWait,
	}
	go func() { _ = receiver.Serve(listener) }()
	defer receiver.Close()
	session, err := s.Get(ctx, s.Grants[0])
	if err != nil {
		return Token{}, err
	}
	if err := session.logOut(ctx); err != nil {
		return Token{}, err
	}
	select {
	case raw := <-posted:
		return Token{Grant: "back channel", Kind: "logout", Raw: raw}, nil
	case <-time.After(logoutWait):
		return Token{}, fmt.Errorf("got no logout token within %s", logoutWait)
	}
}

// logOut ends the session at the server.
func (s *Session) logOut(ctx context.Context) error {
	query := url.Values{"post_logout_redirect_uri": {s.server.RedirectURI}, "client_id": {s.grant.Client.ID}}
	for _, t := range s.Tokens {
		if t.Kind == "id" {
			query.Set("id_token_hint", t.Raw)
		}
	}
	_, err := s.walk(ctx, s.server.EndSession+"?"+query.Encode())
	return err
}

// walk follows redirects and submits forms until it comes to the redirect URI.
func (s *Session) walk(ctx context.Context, address string) (*url.URL, error) {
	next, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for range 20 {
		if strings.HasPrefix(next.URL.String(), s.server.RedirectURI) {
			return next.URL, nil
		}
		if next, err = s.step(next); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("got 20 pages, want the redirect URI")
}

// step sends one request, and returns the one that its answer asks for.
func (s *Session) step(req *http.Request) (*http.Request, error) {
	if target, err := s.accept(req); target != nil || err != nil {
		return target, err
	}
	req.Header.Set("Accept", "text/html")
	resp, err := s.browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		location, err := resp.Location()
		if err != nil {
			return nil, err
		}
		return http.NewRequestWithContext(req.Context(), http.MethodGet, location.String(), nil)
	}
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	action, form, ok := s.fill(string(page))
	if !ok || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: got status %d and no form: %.2000s", req.URL, resp.StatusCode, page)
	}
	target, err := req.URL.Parse(action)
	if err != nil {
		return nil, err
	}
	body := strings.NewReader(form.Encode())
	next, err := http.NewRequestWithContext(req.Context(), http.MethodPost, target.String(), body)
	if err != nil {
		return nil, err
	}
	next.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	next.Header.Set("Referer", req.URL.String()) // Django's CSRF check looks at it
	return next, nil
}

var (
	formTag   = regexp.MustCompile(`(?s)<form([^>]*)>(.*?)</form>`)
	inputTag  = regexp.MustCompile(`(?s)<(?:input|button)\b([^>]*)>`)
	attribute = regexp.MustCompile(`(?s)([a-zA-Z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')`)
)

// fill fills in the first form that is posted, as the user would.
func (s *Session) fill(page string) (action string, form url.Values, ok bool) {
	for _, found := range formTag.FindAllStringSubmatch(page, -1) {
		tag := attributes(found[1])
		if !strings.EqualFold(tag["method"], "post") {
			continue
		}
		form = url.Values{}
		for _, input := range inputTag.FindAllStringSubmatch(page, -1) {
			field := attributes(input[1])
			if !strings.Contains(found[2], input[0]) && (field["form"] == "" || field["form"] != tag["id"]) {
				continue
			}
			switch name := field["name"]; {
			case name == "":
			case field["type"] == "submit" || field["type"] == "hidden":
				form.Add(name, field["value"])
			case field["type"] == "password":
				form.Set(name, s.server.User.Password)
			case name == "username" || name == "login":
				form.Set(name, s.server.User.Name)
			default:
				form.Add(name, field["value"])
			}
		}
		return tag["action"], form, true
	}
	return "", nil, false
}

func attributes(tag string) map[string]string {
	all := map[string]string{}
	for _, found := range attribute.FindAllStringSubmatch(tag, -1) {
		all[strings.ToLower(found[1])] = html.UnescapeString(found[2] + found[3])
	}
	return all
}

// accept does what a login application does for Hydra: it says who the user
// is, and that the user agrees. Its requests never leave this process.
func (s *Session) accept(req *http.Request) (*http.Request, error) {
	if s.server.Accept == "" {
		return nil, nil
	}
	for kind, body := range map[string]map[string]any{
		"login": {"subject": s.server.User.Name, "remember": true},
		"consent": {
			"grant_scope":                 strings.Fields(s.grant.Parameters["scope"]),
			"grant_access_token_audience": audience(s.grant),
		},
		"logout": {},
	} {
		challenge := req.URL.Query().Get(kind + "_challenge")
		if challenge == "" {
			continue
		}
		content, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		address := s.server.Accept + "/" + kind + "/accept?" + kind + "_challenge=" + url.QueryEscape(challenge)
		put, err := http.NewRequestWithContext(req.Context(), http.MethodPut, address, strings.NewReader(string(content)))
		if err != nil {
			return nil, err
		}
		put.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(put)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		var answer struct {
			RedirectTo string `json:"redirect_to"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.RedirectTo == "" {
			return nil, fmt.Errorf("%s: got status %d, want a JSON object with redirect_to", address, resp.StatusCode)
		}
		return http.NewRequestWithContext(req.Context(), http.MethodGet, answer.RedirectTo, nil)
	}
	return nil, nil
}

func audience(g Grant) []string {
	if a := g.Parameters["audience"]; a != "" {
		return []string{a}
	}
	return []string{}
}
