package e2e

import (
	"encoding/json"
	"net/http"
	"testing"
)

// tokenOf returns the access token that a token endpoint answers with, and wants
// it to be of that type.
func tokenOf(t *testing.T, client *http.Client, req *http.Request, tokenType string) string {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || answer.TokenType != tokenType {
		t.Fatalf("%s: got %d, a token of type %q %s %s; want type %s", req.URL, resp.StatusCode, answer.TokenType,
			answer.Error, answer.Description, tokenType)
	}
	return answer.AccessToken
}
