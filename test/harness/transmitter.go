package harness

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// SessionRevoked is the type of the event of CAEP.
const SessionRevoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"

// Transmitter sends security events of an issuer, whose keys it signs with.
type Transmitter struct {
	URL string

	issuer *devissuer.Issuer

	mu      sync.Mutex
	sets    map[string]string // by jti, until they are acknowledged
	changed chan struct{}
	refused int
}

// NewTransmitter starts one for the tokens of that issuer.
func NewTransmitter(t testing.TB, issuer *devissuer.Issuer) *Transmitter {
	t.Helper()
	s := &Transmitter{issuer: issuer, sets: map[string]string{}, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/ssf-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"spec_version": "1_0", "issuer": s.URL, "jwks_uri": s.URL + "/jwks"})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		key := s.issuer.Key()
		writeJSON(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	})
	mux.HandleFunc("POST /poll", s.poll)
	server := httptest.NewServer(mux)
	// A poll that waits must not keep it from ending.
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.URL = server.URL
	return s
}

func writeJSON(w http.ResponseWriter, content any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(content)
}

// Event returns a signed event about a subject (RFC 9493), and its jti.
func (s *Transmitter) Event(event string, subject, change map[string]any) (raw, jti string) {
	now := time.Now()
	claims := map[string]any{
		"iss": s.URL, "aud": "https://gate.example.com", "jti": rand.Text(), "iat": now.Unix(), "sub_id": subject,
		"events": map[string]any{event: map[string]any{"event_timestamp": now.Unix()}},
	}
	maps.Copy(claims, change)
	jti, _ = claims["jti"].(string)
	return devissuer.Sign(s.issuer.Key(), map[string]any{"typ": "secevent+jwt"}, claims), jti
}

// Push sends an event to a receiver (RFC 8935), and returns the status.
func (s *Transmitter) Push(t testing.TB, receiver, authorization, raw string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+receiver+"/events", strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/secevent+jwt")
	req.Header.Set("Authorization", authorization)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Offer has an event ready for whoever polls (RFC 8936).
func (s *Transmitter) Offer(raw, jti string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets[jti] = raw
	close(s.changed)
	s.changed = make(chan struct{})
}

// Outstanding returns how many events nobody has acknowledged yet, and how many were
// refused.
func (s *Transmitter) Outstanding() (waiting, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sets), s.refused
}

// poll answers at once when there is something, and else waits for a while.
func (s *Transmitter) poll(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Most        int            `json:"maxEvents"`
		Immediately bool           `json:"returnImmediately"`
		Acks        []string       `json:"ack"`
		Errors      map[string]any `json:"setErrs"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.take(append(slices.Collect(maps.Keys(request.Errors)), request.Acks...), len(request.Errors))
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	for {
		ready, changed := s.ready()
		if len(ready) > 0 || request.Immediately {
			writeJSON(w, map[string]any{"sets": ready})
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			request.Immediately = true
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Transmitter) take(answered []string, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused += refused
	for _, jti := range answered {
		delete(s.sets, jti)
	}
}

func (s *Transmitter) ready() (map[string]string, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sets), s.changed
}

// LogoutToken is one of OpenID Connect Back-Channel Logout 1.0, for client.
func LogoutToken(issuer *devissuer.Issuer, client string, change map[string]any) string {
	claims := map[string]any{
		"iss": issuer.URL(), "aud": client, "jti": rand.Text(), "iat": time.Now().Unix(), "exp": time.Now().Unix() + 120,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	maps.Copy(claims, change)
	return devissuer.Sign(issuer.Key(), map[string]any{"typ": "logout+jwt"}, claims)
}
