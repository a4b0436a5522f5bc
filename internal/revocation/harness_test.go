package revocation

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
)

type claims = map[string]any

const gate = "https://gate.example.com"

// transmitter is a server that publishes metadata and keys, as transmitters do.
type transmitter struct {
	url, path string // the issuer is both
	key       jose.JSONWebKey
	critical  any
	asked     []string
	mu        sync.Mutex
	down      bool
	issuer    string // other than it should be; empty: the right one
	appended  bool   // its metadata is below its path
}

func newKey(id string) jose.JSONWebKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return jose.JSONWebKey{Key: private, KeyID: id, Algorithm: "ES256", Use: "sig"}
}

func newTransmitter(t *testing.T, path string) *transmitter {
	tr := &transmitter{path: path, key: newKey("1")}
	server := httptest.NewServer(tr)
	t.Cleanup(server.Close)
	tr.url = server.URL
	return tr
}

func (tr *transmitter) name() string { return tr.url + tr.path }

func (tr *transmitter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.asked = append(tr.asked, r.URL.Path)
	place := "/.well-known/ssf-configuration" + strings.TrimSuffix(tr.path, "/")
	if tr.appended {
		place = strings.TrimSuffix(tr.path, "/") + "/.well-known/ssf-configuration"
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case tr.down:
		w.WriteHeader(http.StatusInternalServerError)
	case r.URL.Path == place:
		metadata := claims{"issuer": tr.name(), "jwks_uri": tr.url + "/keys", "spec_version": "1_0"}
		if tr.issuer != "" {
			metadata["issuer"] = tr.issuer
		}
		if tr.critical != nil {
			metadata["critical_subject_members"] = tr.critical
		}
		_ = json.NewEncoder(w).Encode(metadata)
	case r.URL.Path == "/keys":
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{tr.key.Public()}})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// set returns a security event token with these changes; nil takes a claim away.
func (tr *transmitter) set(changes ...claims) string {
	return devissuer.Sign(tr.key, claims{"typ": "secevent+jwt"}, tr.claims(changes...))
}

func (tr *transmitter) claims(changes ...claims) claims {
	return changed(claims{
		"iss": tr.name(), "aud": gate, "jti": "jti-1", "iat": time.Now().Unix(),
		"sub_id": claims{"format": "iss_sub", "iss": here, "sub": "alice"},
		"events": claims{caep + "session-revoked": claims{}},
	}, changes...)
}

func changed(all claims, changes ...claims) claims {
	for _, change := range changes {
		maps.Copy(all, change)
	}
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// rig is a receiver of one transmitter's events and one issuer's logout tokens.
type rig struct {
	*Receiver
	set    *Set
	as     *transmitter // sends events
	issuer jose.JSONWebKey
	lines  *lockedBuffer
	mu     sync.Mutex
	events []Event
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// oneKey is the keys of an issuer.
type oneKey struct {
	jose.JSONWebKey
	err error
}

func (k oneKey) Key(_ context.Context, keyID, _ string) (discovery.Key, error) {
	if k.err != nil {
		return discovery.Key{}, k.err
	}
	if keyID != k.KeyID {
		return discovery.Key{}, discovery.ErrUnknownKey
	}
	return discovery.Key{ID: keyID, Public: k.Public().Key}, nil
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const pushToken = "push-token-of-32-characters-or-so"

func issuers() []Issuer {
	intervals := discovery.Intervals{RefreshInterval: time.Minute, MinRefreshInterval: time.Second, MaxStale: time.Hour}
	one := Issuer{
		Issuer: here, ClientID: "app", InsecureHTTP: true, Algorithms: []string{"ES256", "RS256"},
		ClockSkew: 30 * time.Second, RequestTimeout: 2 * time.Second, Intervals: intervals,
	}
	two := one
	two.Issuer = elsewhere
	return []Issuer{one, two}
}

// newRig starts a receiver, and waits until it has the keys.
func newRig(t *testing.T, change ...func(*Config)) *rig {
	r := &rig{as: newTransmitter(t, ""), issuer: newKey("logout"), lines: &lockedBuffer{}}
	r.start(t, change...)
	return r
}

func (r *rig) start(t *testing.T, change ...func(*Config)) {
	c := Config{
		Keep: time.Hour, ReceiverAddress: "127.0.0.1:0", BackchannelLogout: []string{here},
		Events: []Transmitter{{
			Transmitter: r.as.name(), Issuer: here, Audience: gate, Delivery: DeliveryPush,
			PushTokenFile: file(t, pushToken+"\n"),
		}},
	}
	for _, f := range change {
		f(&c)
	}
	log := slog.New(slog.NewTextHandler(r.lines, nil))
	observer := Observer{Ended: func(_ context.Context, e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}}
	r.set = NewSet(Options{Log: log, Events: observer})
	var err error
	r.Receiver, err = NewReceiver(c, ReceiverOptions{
		Set: r.set, Issuers: issuers(), Log: log, Events: observer,
		Keys: func(string) Keys { return oneKey{JSONWebKey: r.issuer} },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	for r.as.up() && r.senders[0].source.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
}

func (tr *transmitter) up() bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return !tr.down && tr.issuer == ""
}

// results returns how security events ended.
func (r *rig) results() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, e := range r.events {
		if e.Operation == OperationEvent {
			all = append(all, e.Result)
		}
	}
	return all
}

// push sends a token as a transmitter does.
func (r *rig) push(raw string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, PathEvents, strings.NewReader(raw))
	req.Header.Set("Content-Type", "application/secevent+jwt")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+pushToken)
	for _, f := range change {
		f(req)
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

// want holds an answer to what RFC 8935 says: no code is 202 and nothing else.
func want(t *testing.T, w *httptest.ResponseRecorder, code string) {
	t.Helper()
	body, _ := io.ReadAll(w.Body)
	if cache := w.Header().Get("Cache-Control"); cache != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", cache)
	}
	if code == "" {
		if w.Code != http.StatusAccepted || len(body) != 0 {
			t.Errorf("got %d %s, want 202 without a body", w.Code, body)
		}
		return
	}
	var got struct{ Err, Description string }
	if err := json.Unmarshal(body, &got); err != nil || w.Code != http.StatusBadRequest {
		t.Fatalf("got %d %s, want 400 and an object", w.Code, body)
	}
	if got.Err != code || got.Description == "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %+v of type %s, want %s", got, w.Header().Get("Content-Type"), code)
	}
}
