package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// TestRevokeAtARunningService: by the command, and by a logout token that the receiver
// takes; and what went wrong is said.
func TestRevokeAtARunningService(t *testing.T) {
	as := issuer(t)
	const secret = "0123456789abcdef0123456789abcdef"
	grpcAddress, admin, receiver := free(t), free(t), free(t)
	dir := files(t, map[string]string{"admin": secret + "\n", "wrong": strings.Repeat("x", 32), "token": "an-opaque-token\n"})
	dir2 := files(t, map[string]string{"a.yaml": `
server: {grpc_address: '` + grpcAddress + `', admin_address: '` + admin + `', admin_token_file: '` + filepath.Join(dir, "admin") + `'}
auth: {issuer: '` + as.URL() + `', audience: api, insecure_http: true, client_id: gate}
revocation: {receiver_address: '` + receiver + `', backchannel_logout: ['` + as.URL() + `']}
`})
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int, 1)
	var out lines
	go func() {
		status <- Run(ctx, build, []string{"serve", "--config=" + filepath.Join(dir2, "a.yaml")}, &out, &out)
	}()
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + admin + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if got, _ := get("/readyz"); got == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %s", out.String())
		}
	}
	base := []string{"revoke", "--admin=http://" + admin, "--admin-token-file=" + filepath.Join(dir, "admin"), "--issuer=" + as.URL()}
	for name, tc := range map[string]struct {
		args   []string
		status int
		part   string
	}{
		"sub":           {append(base[:4:4], "--sub=alice"), 0, "revoked on this replica"},
		"token":         {append(base[:4:4], "--token-file="+filepath.Join(dir, "token")), 0, "revoked"},
		"before":        {append(base[:4:4], "--client-id=app", "--before=2026-01-01T00:00:00Z"), 0, "revoked"},
		"wrong time":    {append(base[:4:4], "--sub=a", "--before=yesterday"), 1, "RFC 3339"},
		"stranger":      {append(base[:3:3], "--sub=a", "--issuer=https://other.example.com"), 1, "not a configured issuer"},
		"without token": {[]string{base[0], base[1], base[3], "--sub=a"}, 1, "401"},
		"wrong token":   {[]string{base[0], base[1], base[3], "--sub=a", "--admin-token-file=" + filepath.Join(dir, "wrong")}, 1, "401"},
		"nobody there":  {[]string{base[0], base[3], "--sub=a", "--admin=http://" + free(t)}, 1, "refused"},
		"two":           {append(base[:4:4], "--sub=a", "--sid=b"), 2, "sub"},
		"none":          {base, 2, "sub"},
	} {
		var said bytes.Buffer
		if got := Run(ctx, build, tc.args, &said, &said); got != tc.status || !strings.Contains(said.String(), tc.part) {
			t.Errorf("%s: got status %d and %s, want %d and %q", name, got, &said, tc.status, tc.part)
		}
	}
	logout := devissuer.Sign(as.Key(), map[string]any{"typ": "logout+jwt"}, map[string]any{
		"iss": as.URL(), "aud": "gate", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "jti": "l1", "sub": "bob",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	resp, err := http.PostForm("http://"+receiver+"/backchannel-logout", url.Values{"logout_token": {logout}})
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %d %s from the receiver", resp.StatusCode, said)
	}
	_, metrics := get("/metrics")
	for _, want := range []string{
		`bearergate_revocations_total{issuer="` + as.URL() + `",source="admin"} 3`,
		`bearergate_revocations_total{issuer="` + as.URL() + `",source="logout"} 1`,
		`bearergate_revocation_entries 4`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("got no %s", want)
		}
	}
	if strings.Contains(metrics, "bearergate_shared_up ") {
		t.Error("got a store, want none")
	}
	cancel()
	if got := <-status; got != 0 {
		t.Errorf("serve: got %d: %s", got, out.String())
	}
	if strings.Contains(out.String(), "an-opaque-token") || strings.Contains(out.String(), logout) || strings.Contains(out.String(), secret) {
		t.Error("the log has a secret")
	}
}
