package servers

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/test/harness"
)

// readDoc returns a file of the documentation.
func readDoc(t *testing.T, name ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{folder(), "..", "..", "docs"}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The configurations that ran against real servers are those that readers see.
func TestPageShowsTheConfigurationsThatRan(t *testing.T) {
	page := readDoc(t, "authorization-servers.md")
	for _, name := range Names() {
		_, file, _ := strings.Cut(readDoc(t, "authorization-servers", name+".yaml"), "\n") // the head is for editors
		if !strings.Contains(page, "```yaml\n"+file+"```\n") {
			t.Errorf("%s.yaml is not on the page as it is", name)
		}
		s := Server{name: name}
		if got, err := s.Configuration(); err != nil || !strings.Contains(got, "insecure_http: true") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

var (
	heading       = regexp.MustCompile(`(?m)^## (.*)$`)
	configuration = regexp.MustCompile("(?s)```yaml\n(auth:\n.*?)```")
	tableLink     = regexp.MustCompile(`(?m)^\| \[[^\]]*\]\(#([a-z0-9-]*)\)`)
)

// Every configuration of the page is valid: it would start.
func TestConfigurationsOfThePageAreValid(t *testing.T) {
	environment := []string{"ISSUER=https://auth.example.com", "HYDRA_ADMIN=https://admin.example.com", "CLIENT_ID=client", "CLIENT_SECRET=secret",
		"APP_CLIENT_ID=app"}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split(readDoc(t, "authorization-servers.md"), "\n## ")[1:] {
		title, _, _ := strings.Cut(section, "\n")
		for _, found := range configuration.FindAllStringSubmatch(section, -1) {
			t.Run(title, func(t *testing.T) {
				content := regexp.MustCompile(`ca_file: \S+`).ReplaceAllString(found[1], "ca_file: "+authority)
				file := filepath.Join(t.TempDir(), "bearergate.yaml")
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(harness.Binary(t), "validate", "--config", file)
				cmd.Env = environment
				if output, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, output)
				}
			})
		}
	}
}

// The table leads to every entry, and to nothing else.
func TestTableOfThePage(t *testing.T) {
	page := readDoc(t, "authorization-servers.md")
	var links []string
	for _, found := range tableLink.FindAllStringSubmatch(page, -1) {
		links = append(links, found[1])
	}
	var anchors []string
	for _, found := range heading.FindAllStringSubmatch(page, -1)[1:] { // the first one says what to do without an entry
		anchors = append(anchors, strings.NewReplacer(" ", "-", ",", "", ".", "").Replace(strings.ToLower(found[1])))
	}
	if got, want := strings.Join(links, "\n"), strings.Join(anchors, "\n"); got != want {
		t.Errorf("got links\n%s\nwant\n%s", got, want)
	}
}
