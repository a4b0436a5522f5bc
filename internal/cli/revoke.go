package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bearergate/bearergate/internal/config"
)

const (
	revokeTimeout = 10 * time.Second
	maxToldBytes  = 64 << 10
)

// wish is what the service is asked for.
type wish struct {
	Issuer   string `json:"issuer"`
	Sub      string `json:"sub,omitempty"`
	SID      string `json:"sid,omitempty"`
	JTI      string `json:"jti,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Token    string `json:"token,omitempty"`
	Before   string `json:"before,omitempty"`
}

// told is what the service answers.
type told struct {
	Error  string `json:"error"`
	Shared bool   `json:"shared"`
}

func (p program) revokeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke", Short: "Tell a running service that tokens are revoked", Args: cobra.NoArgs}
	var r wish
	f := cmd.Flags()
	f.StringVar(&r.Issuer, "issuer", "", "whose tokens, as it is configured")
	f.StringVar(&r.Sub, "sub", "", "all tokens of this user")
	f.StringVar(&r.SID, "sid", "", "all tokens of this session")
	f.StringVar(&r.JTI, "jti", "", "the token of this ID")
	f.StringVar(&r.ClientID, "client-id", "", "all tokens of this client")
	tokenFile := f.String("token-file", "", "the token in this file; - is stdin")
	f.StringVar(&r.Before, "before", "", "those issued until then, as RFC 3339 writes it (default now)")
	address := f.String("admin", "http://127.0.0.1:9192", "URL of the service's admin address")
	secretFile := f.String("admin-token-file", "", "file with the token of server.admin_token_file")
	_ = cmd.MarkFlagRequired("issuer")
	cmd.MarkFlagsOneRequired("sub", "sid", "jti", "client-id", "token-file")
	cmd.MarkFlagsMutuallyExclusive("sub", "sid", "jti", "client-id", "token-file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *tokenFile != "" {
			token, err := readTokenFile(*tokenFile, cmd.InOrStdin())
			if err != nil {
				return failed(err)
			}
			r.Token = token
		}
		return failed(p.revoke(cmd.Context(), *address, *secretFile, r))
	}
	return cmd
}

func readTokenFile(path string, stdin io.Reader) (string, error) {
	var content []byte
	var err error
	if path == "-" {
		content, err = io.ReadAll(io.LimitReader(stdin, maxToldBytes))
	} else {
		content, err = os.ReadFile(path) //nolint:gosec // the operator names the file
	}
	token := strings.TrimSpace(string(content))
	if err == nil && token == "" {
		err = errors.New("there is no token in it")
	}
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return token, nil
}

// revoke tells the service, and says how far the word has got.
func (p program) revoke(ctx context.Context, address, secretFile string, r wish) error {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(address, "/")+"/revocations",
		bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if secretFile != "" {
		content, err := os.ReadFile(secretFile) //nolint:gosec // the operator names the file
		if err != nil {
			return err
		}
		secret, err := config.AdminToken(content)
		if err != nil {
			return fmt.Errorf("%s: %w", secretFile, err)
		}
		req.Header.Set("Authorization", "Bearer "+secret.Reveal())
	}
	return p.send(req)
}

func (p program) send(req *http.Request) error {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer told
	content, _ := io.ReadAll(io.LimitReader(resp.Body, maxToldBytes))
	_ = json.Unmarshal(content, &answer) // where it is not ours, the status says enough
	switch {
	case resp.StatusCode != http.StatusAccepted:
		return fmt.Errorf("not revoked: got status %d %s", resp.StatusCode, answer.Error)
	case answer.Shared:
		fmt.Fprintln(p.stdout, "revoked on every replica that shares the store")
	default:
		fmt.Fprintln(p.stdout, "revoked on this replica; no other one knows: there is no shared store, or it is away")
	}
	return nil
}
