package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTestCommand(t *testing.T) {
	dir := files(t, map[string]string{
		"bearergate.yaml": "auth: {issuer: https://auth.example.com, audience: api, client_id: gate, " +
			"token_validation: both, client_secret: '${BEARERGATE_TEST_UNSET}', ca_file: /nowhere/ca.pem}\n" +
			"rules:\n- {name: open, match: {paths: [/open]}, access: public}\n",
		"good_test.yaml": "cases:\n- {name: open, request: {path: /open}, want: {reason: public, rule: open}}\n",
		"half_test.yaml": "cases:\n- {name: closed, want: {reason: no_token}}\n",
		"bad_test.yaml":  "cases:\n- {name: one, request: {path: /open}, want: {reason: allowed}}\n- {name: two, want: {reason: no_token}}\n",
		"typo_test.yaml": "cases:\n- {name: one, wants: {reason: public}}\n",
	})
	t.Chdir(dir)
	for name, tc := range map[string]struct {
		args           []string
		status         int
		stdout, stderr string // contained; empty: nothing
	}{
		"passed":           {[]string{"good_test.yaml"}, 0, "ok: 1 case passed\n", ""},
		"several files":    {[]string{"half_test.yaml", "good_test.yaml", "--require-coverage"}, 0, "ok: 2 cases passed\n", ""},
		"failed":           {[]string{"bad_test.yaml"}, 1, "reason: got public, want allowed", ""},
		"not reached":      {[]string{"half_test.yaml"}, 0, "no case reaches: open", ""},
		"coverage":         {[]string{"half_test.yaml", "--require-coverage"}, 1, "FAIL: no case reaches: open", ""},
		"run":              {[]string{"bad_test.yaml", "--run", "^tw"}, 0, "ok: 1 case passed\n", ""},
		"run, none":        {[]string{"bad_test.yaml", "--run=three"}, 0, "no case has such a name", ""},
		"run and coverage": {[]string{"bad_test.yaml", "--run=a", "--require-coverage"}, 2, "", "not together with --run"},
		"bad run":          {[]string{"bad_test.yaml", "--run=("}, 2, "", "--run: error parsing regexp"},
		"JSON":             {[]string{"bad_test.yaml", "--output=json"}, 1, `"failed": 1`, ""},
		"JUnit":            {[]string{"bad_test.yaml", "--output=junit"}, 1, `<testsuites name="bearergate test" tests="2" failures="1"`, ""},
		"bad output":       {[]string{"bad_test.yaml", "--output=xml"}, 2, "", `got "xml", want text, json or junit`},
		"invalid":          {[]string{"good_test.yaml", "typo_test.yaml"}, 1, "", "typo_test.yaml:2:15: cases[0].wants: unknown key, did you mean want?"},
		"no such file":     {[]string{"none_test.yaml"}, 1, "", "none_test.yaml: no such file"},
		"no configuration": {[]string{"good_test.yaml", "--config=none.yaml"}, 1, "", "none.yaml: no such file"},
		"no file":          {nil, 2, "", "requires at least 1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := Run(t.Context(), build, append([]string{"test"}, tc.args...), &stdout, &stderr); status != tc.status {
				t.Errorf("got status %d, want %d", status, tc.status)
			}
			for _, stream := range []struct{ got, want string }{{stdout.String(), tc.stdout}, {stderr.String(), tc.stderr}} {
				if !strings.Contains(stream.got, stream.want) || stream.want == "" && stream.got != "" {
					t.Errorf("got %q, want %q", stream.got, stream.want)
				}
			}
		})
	}
}

func TestColors(t *testing.T) {
	terminal, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // a character device, as terminals are
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	with := func(name, value string) func(string) (string, bool) {
		return func(n string) (string, bool) { return value, n == name }
	}
	for name, tc := range map[string]struct{ got, want bool }{
		"terminal":        {colorful(terminal, with("TERM", "xterm")), true},
		"NO_COLOR":        {colorful(terminal, with("NO_COLOR", "1")), false},
		"NO_COLOR, empty": {colorful(terminal, func(string) (string, bool) { return "", true }), true},
		"dumb":            {colorful(terminal, with("TERM", "dumb")), false},
		"file":            {colorful(file, with("TERM", "xterm")), false},
		"buffer":          {colorful(new(bytes.Buffer), with("TERM", "xterm")), false},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %t, want %t", name, tc.got, tc.want)
		}
	}
}
