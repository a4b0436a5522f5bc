package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/config"
)

// A reload changes level and format of loggers that are in use everywhere by then.
func TestLoggersFollowTheSettings(t *testing.T) {
	var settings logSettings
	settings.set(config.Log{Level: "warn", Format: "json"})
	var out bytes.Buffer
	log := settings.logger(&out).With("issuer", "a").WithGroup("g")
	for _, tc := range []struct {
		level, format string
		line          func(string, ...any)
		want          string // empty: nothing is written
	}{
		{"warn", "json", log.Info, ""},
		{"warn", "json", log.Warn, `"level":"WARN","msg":"m","issuer":"a","g":{"n":1}}`},
		{"debug", "json", log.Debug, `"level":"DEBUG"`},
		{"info", "text", log.Info, `level=INFO msg=m issuer=a g.n=1`},
		{"info", "text", log.Debug, ""},
		{"error", "text", log.Warn, ""},
	} {
		settings.set(config.Log{Level: tc.level, Format: tc.format})
		out.Reset()
		tc.line("m", slog.Int("n", 1))
		if got := out.String(); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s, %s: got %q, want %q in it", tc.level, tc.format, got, tc.want)
		}
	}
}
