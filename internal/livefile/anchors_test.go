package livefile_test

import (
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/livefile"
)

func TestAnchors(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for name, tc := range map[string]struct {
		content string
		want    string // of the error; empty: none
	}{
		"one":                 {certificate, ""},
		"two, among words":    {"# ours\n" + certificate + "# theirs\n" + certificate, ""},
		"nothing":             {"", "no PEM certificate"},
		"no PEM":              {"certificate", "no PEM certificate"},
		"another kind of PEM": {strings.ReplaceAll(certificate, "CERTIFICATE", "PRIVATE KEY"), "no PEM certificate"},
		"broken":              {strings.Replace(certificate, "MII", "AAA", 1), "no PEM certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ca.crt")
			write(t, path, tc.content)
			anchors, err := livefile.OpenAnchors(path, slog.New(slog.DiscardHandler))
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want an error with %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want, err := livefile.ParseAnchors([]byte(certificate))
			if err != nil {
				t.Fatal(err)
			}
			if !anchors.Value().Equal(want) {
				t.Error("got other anchors than those of the file")
			}
		})
	}
}
