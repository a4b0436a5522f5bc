package envoy

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/validation"
)

// decider is a policy of one decision.
type decider func(context.Context, *authz.Request) authz.Decision

func (f decider) Decide(ctx context.Context, r *authz.Request) authz.Decision { return f(ctx, r) }

func request(headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "h", Path: "/p?q", Headers: headers},
	}}}
}

func TestEveryReasonIsAnsweredRightly(t *testing.T) { // E-06
	for _, reason := range append(authz.Reasons(), authz.Reason(99)) {
		response := responded(t, authz.Decision{
			Reason: reason, Challenges: []string{"Bearer x"}, Set: []authz.HeaderValue{{Name: "x-auth-sub", Value: "mallory"}},
		})
		if reason.Outcome() == authz.Allow {
			if response.GetOkResponse() == nil || response.Status.Code != int32(codes.OK) {
				t.Errorf("%s: got %v", reason, response)
			}
			continue
		}
		if response.GetDeniedResponse() == nil || response.Status.Code == int32(codes.OK) || response.GetOkResponse() != nil {
			t.Errorf("%s: a deny that Envoy would take for an allow: %v", reason, response)
		}
		if got := int(response.GetDeniedResponse().Status.Code); got != reason.Status() {
			t.Errorf("%s: got status %d, want %d", reason, got, reason.Status())
		}
	}
}

// responded is what Envoy reads of the answer.
func responded(t testing.TB, d authz.Decision) *authv3.CheckResponse {
	t.Helper()
	answer, err := respond(&d, nil)
	if err != nil {
		t.Fatalf("%s: %v", d.Reason, err)
	}
	response := new(authv3.CheckResponse)
	if err := proto.Unmarshal(answer, response); err != nil {
		t.Fatalf("%s: %v", d.Reason, err)
	}
	return response
}

// TestShadowPasses, and Envoy, logs and access logs are told what would be.
func TestShadowPasses(t *testing.T) {
	d := authz.Decision{Reason: authz.NoToken, Rule: "r", Shadow: true, Remove: []string{"x-auth-sub"}}
	r := responded(t, d)
	if r.GetStatus().GetCode() != 0 || !slices.Equal(r.GetOkResponse().GetHeadersToRemove(), d.Remove) {
		t.Errorf("got %v, want it to pass", r)
	}
	want := map[string]any{"reason": "no_token", "rule": "r", "shadow": true}
	if diff := cmp.Diff(want, r.DynamicMetadata.AsMap()); diff != "" {
		t.Error(diff)
	}
	var logged bytes.Buffer
	s := NewServer(Observer{}, slog.New(slog.NewJSONHandler(&logged, nil)))
	s.Use(decider(func(context.Context, *authz.Request) authz.Decision { return d }))
	if _, err := s.Check(t.Context(), request(nil)); err != nil {
		t.Fatal(err)
	}
	if line := logged.String(); !strings.Contains(line, `"shadow":true`) || !strings.Contains(line, "would be denied") {
		t.Errorf("got %s", line)
	}
}

func TestZeroDecisionIsADeny(t *testing.T) {
	if r := responded(t, authz.Decision{}); r.Status.Code == 0 ||
		r.GetDeniedResponse().Status.Code != http.StatusInternalServerError {
		t.Errorf("got %v", r)
	}
}

func TestAllow(t *testing.T) {
	r := responded(t, authz.Decision{
		Reason: authz.Allowed, Set: []authz.HeaderValue{{Name: "x-auth-sub", Value: "alice"}},
		Remove: []string{"authorization"}, Rule: "r",
		Token: &validation.Token{Subject: "alice", Scopes: []string{"a", "b"}, ClientID: "app", Issuer: "https://as"},
	})
	h := r.GetOkResponse().Headers[0]
	if h.Append.GetValue() || h.Append == nil || h.AppendAction != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD { //nolint:staticcheck // E-01
		t.Errorf("got %v", h)
	}
	want := map[string]any{
		"sub": "alice", "scope": "a b", "client_id": "app", "iss": "https://as", "rule": "r", "reason": "allowed",
	}
	if diff := cmp.Diff(want, r.DynamicMetadata.AsMap()); diff != "" {
		t.Error(diff)
	}
}

func TestDecode(t *testing.T) { // E-05
	raw := func(pairs ...string) *authv3.CheckRequest {
		check := request(nil)
		check.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{}
		for i := 0; i < len(pairs); i += 2 {
			check.Attributes.Request.Http.HeaderMap.Headers = append(check.Attributes.Request.Http.HeaderMap.Headers,
				&corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
		}
		return check
	}
	for name, tc := range map[string]struct {
		check *authv3.CheckRequest
		want  []string
	}{
		"plain":       {request(map[string]string{"authorization": "a"}), []string{"a"}},
		"other case":  {request(map[string]string{"Authorization": "a"}), []string{"a"}},
		"raw":         {raw("authorization", "a"), []string{"a"}},
		"raw, twice":  {raw("authorization", "a", "authorization", "b"), []string{"a", "b"}},
		"none":        {request(nil), nil},
		"no headers":  {&authv3.CheckRequest{}, nil},
		"nil request": {nil, nil},
	} {
		if diff := cmp.Diff(tc.want, decode(tc.check).Authorization); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	r := decode(raw("x-request-id", strings.Repeat("x", 500), "mcp-name", "a", "mcp-name", "b"))
	if value, _ := r.Header("mcp-name"); value != "a,b" || len(r.ID) != maxRequestID || r.Path != "/p?q" ||
		r.Method != "GET" {
		t.Errorf("got %+v", r)
	}
}

func TestDecodeRoute(t *testing.T) {
	got := decodeRoute(map[string]string{
		keyRule: "r", keyScopes: " a  b ", keyAudience: "", keyIssuer: "i", "other": "x", "bearer": "y",
	})
	want := authz.Route{
		Rule: "r", HasRule: true, Scopes: []string{"a", "b"}, HasScopes: true, HasAudience: true, Issuer: "i",
		HasIssuer: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, key := range []string{"bearergate.", "bearergate.scope", "Bearergate.rule", "bearergate.rule "} {
		if decodeRoute(map[string]string{key: "x"}).Unknown != key {
			t.Errorf("%q was ignored", key)
		}
	}
}

func FuzzContextExtensions(f *testing.F) {
	f.Add("bearergate.scopes", "a b")
	f.Add("bearergate.rules", "x")
	f.Fuzz(func(t *testing.T, key, value string) {
		r := decodeRoute(map[string]string{key: value})
		ours := strings.HasPrefix(strings.ToLower(key), keyPrefix)
		understood := r.HasRule || r.HasScopes || r.HasAudience || r.HasIssuer || r.Unknown != ""
		if ours != understood {
			t.Errorf("%q: got %+v", key, r)
		}
	})
}

func TestPanicIsADeny(t *testing.T) {
	var logged bytes.Buffer
	s := NewServer(Observer{}, slog.New(slog.NewJSONHandler(&logged, nil)))
	s.Use(decider(func(context.Context, *authz.Request) authz.Decision { panic("s3cret") }))
	response, err := s.Check(t.Context(), request(nil))
	if err != nil || response.GetDeniedResponse().GetStatus().GetCode() != 500 || response.Status.Code == 0 {
		t.Errorf("got %v, %v", response, err)
	}
	if strings.Contains(logged.String(), "s3cret") || !strings.Contains(logged.String(), "internal") {
		t.Errorf("logged %s", &logged)
	}
}

func TestNoPolicyIsADeny(t *testing.T) {
	response, err := NewServer(Observer{}, slog.New(slog.DiscardHandler)).Check(t.Context(), nil)
	if err != nil || response.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Errorf("got %v, %v", response, err)
	}
}

func TestMarginBeforeTheDeadline(t *testing.T) { // E-08
	s := NewServer(Observer{}, slog.New(slog.DiscardHandler))
	s.Use(decider(func(ctx context.Context, _ *authz.Request) authz.Decision {
		<-ctx.Done()
		return denied(authz.Unavailable, ctx.Err())
	}))
	for deadline, want := range map[time.Duration]time.Duration{
		20 * time.Millisecond:  15 * time.Millisecond, // the least margin
		200 * time.Millisecond: 180 * time.Millisecond,
		10 * time.Second:       9950 * time.Millisecond, // the most
	} {
		t.Run(deadline.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				began := time.Now()
				_, err := s.Check(ctx, request(nil))
				if took := time.Since(began); err != nil || took != want {
					t.Errorf("answered after %s with error %v, want %s", took, err, want)
				}
			})
		})
	}
}

func TestLogLines(t *testing.T) { // docs/contract.md §8
	for reason, level := range map[authz.Reason]string{
		authz.Allowed: "DEBUG", authz.Metadata: "DEBUG", authz.NoToken: "INFO", authz.Unavailable: "WARN", authz.Internal: "ERROR", authz.Misconfigured: "ERROR",
	} {
		var logged bytes.Buffer
		s := NewServer(Observer{}, slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
		s.Use(decider(func(context.Context, *authz.Request) authz.Decision {
			return authz.Decision{Reason: reason, Issuer: "i", Rule: "r"}
		}))
		if _, err := s.Check(t.Context(), request(map[string]string{
			"authorization": "Bearer s3cret", "x-request-id": "id-1",
		})); err != nil {
			t.Fatal(err)
		}
		line := logged.String()
		for _, want := range []string{
			`"level":"` + level + `"`, `"reason":"` + reason.String() + `"`, `"issuer":"i"`, `"rule":"r"`,
			`"request_id":"id-1"`, `"duration_ms":`,
		} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: got %s, want %s", reason, line, want)
			}
		}
		if strings.Contains(line, "s3cret") || strings.Count(line, "\n") != 1 {
			t.Errorf("got %s", line)
		}
	}
}

func TestConfigMistakes(t *testing.T) {
	good := Config{GRPCAddress: ":0", ShutdownTimeout: time.Second}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		"server.grpc_address":               {GRPCAddress: "9191", ShutdownTimeout: 1},
		"want unix:// and an absolute path": {GRPCAddress: "unix://a.sock", ShutdownTimeout: 1},
		"server.drain_delay":                {GRPCAddress: ":0", ShutdownTimeout: 1, DrainDelay: -1},
		"server.reload_grace":               {GRPCAddress: ":0", ShutdownTimeout: 1, ReloadGrace: -1},
		"server.shutdown_timeout":           {GRPCAddress: ":0"},
		"server.tls.key_file: missing":      {GRPCAddress: ":0", ShutdownTimeout: 1, TLS: &TLSConfig{CertFile: "c"}},
		"needs client_ca_file":              {GRPCAddress: ":0", ShutdownTimeout: 1, TLS: &TLSConfig{CertFile: "c", KeyFile: "k", AllowedClientSANs: []string{"a"}}},
		"allowed_client_sans[0]: got":       {GRPCAddress: ":0", ShutdownTimeout: 1, TLS: &TLSConfig{CertFile: "c", KeyFile: "k", ClientCAFile: "a", AllowedClientSANs: []string{"*.a"}}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
