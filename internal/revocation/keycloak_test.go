package revocation

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/discovery"
)

// recording is what a real transmitter and authorization server sent, byte for byte.
type recording struct {
	Server   string `json:"server"`
	Now      int64  `json:"now"`
	Metadata struct {
		Issuer   string   `json:"issuer"`
		Critical []string `json:"critical_subject_members"`
	} `json:"metadata"`
	Keys    jose.JSONWebKeySet `json:"jwks"`
	Events  []sent             `json:"events"`
	Logouts []sent             `json:"logout_tokens"`
}

type sent struct {
	What string `json:"what"`
	Raw  string `json:"raw"`
}

// Key implements Keys.
func (r *recording) Key(_ context.Context, keyID, _ string) (discovery.Key, error) {
	for _, k := range r.Keys.Key(keyID) {
		return discovery.Key{Public: k.Key}, nil
	}
	return discovery.Key{}, discovery.ErrUnknownKey
}

func keycloak(t *testing.T) *recording {
	t.Helper()
	content, err := os.ReadFile("testdata/keycloak.json")
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

const keycloakUser = "beb91843-bb1f-4ffd-87c1-9f8f4e5af79f"

func TestEventsOfKeycloak(t *testing.T) {
	r := keycloak(t)
	reader := setReader{
		Transmitter: Transmitter{Transmitter: r.Metadata.Issuer, Issuer: r.Metadata.Issuer, Audience: "https://gate.example.com"},
		issuer:      Issuer{Issuer: r.Metadata.Issuer, Algorithms: []string{"RS256"}, ClockSkew: 30 * time.Second},
		keys:        r, critical: func() ([]string, error) { return r.Metadata.Critical, nil },
		now: func() time.Time { return time.Unix(r.Now, 0) },
	}
	want := map[string]struct {
		effect effect
		status string
		kind   Kind
		value  string
	}{
		"user logs out":           {effectRevoke, "", KindSession, "Im6xRCsyma6ZaN6eL7otOTam"},
		"admin ends all sessions": {effectRevoke, "", KindSub, keycloakUser}, // although a session is named: ALL
		"password reset":          {effectRevoke, "", KindSub, keycloakUser},
		"verification":            {effectAnswer, "", 0, ""},
		"status paused":           {effectAnswer, "paused", 0, ""},
		"status enabled":          {effectAnswer, "enabled", 0, ""},
	}
	var seen []string
	for _, e := range r.Events {
		seen = append(seen, e.What)
		got, err := reader.read(t.Context(), e.Raw)
		if err != nil {
			t.Errorf("%s: %v", e.What, err)
			continue
		}
		w := want[e.What]
		if got.effect != w.effect || got.status != w.status {
			t.Errorf("%s: got effect %d, status %q; want %d, %q", e.What, got.effect, got.status, w.effect, w.status)
		}
		if w.kind == 0 {
			continue
		}
		if len(got.all) != 1 || got.all[0].Kind != w.kind || got.all[0].Value != w.value {
			t.Errorf("%s: got %+v, want %s %s", e.What, got.all, w.kind, w.value)
		}
	}
	for what := range want {
		if !slices.Contains(seen, what) {
			t.Errorf("nothing recorded for %q", what)
		}
	}
}

func TestLogoutTokensOfKeycloak(t *testing.T) {
	r := keycloak(t)
	reader := logoutReader{
		issuer: Issuer{Issuer: r.Metadata.Issuer, ClientID: "app", Algorithms: []string{"RS256"}, ClockSkew: 30 * time.Second},
		keys:   func() Keys { return r }, now: func() time.Time { return time.Unix(r.Now, 0) },
	}
	if len(r.Logouts) == 0 {
		t.Fatal("nothing recorded")
	}
	for _, l := range r.Logouts {
		got, err := reader.read(t.Context(), l.Raw)
		if err != nil || got.revokes.Kind != KindSession || got.revokes.And != keycloakUser || got.revokes.Value == "" {
			t.Errorf("%s: got %+v, %v; want a session of %s", l.What, got.revokes, err, keycloakUser)
		}
	}
}
