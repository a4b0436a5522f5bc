package kubernetes

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	begin = "<!-- values: generated from values.yaml by go test -update in test/kubernetes -->\n"
	end   = "<!-- end of values -->\n"
)

// TestReadme compares the tables of the chart's README with values.yaml.
func TestReadme(t *testing.T) {
	readme := read(t, chart+"/README.md")
	before, rest, ok := strings.Cut(readme, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("README.md has no place for the tables")
	}
	tables, err := describe(read(t, chart+"/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, chart+"/README.md", before+begin+tables+end+after)
}

// TestReadmeCommands renders what the chart's README shows, and the one of the
// repository, which is shorter.
func TestReadmeCommands(t *testing.T) {
	for name, page := range map[string]string{"chart": chart + "/README.md", "repository": "../../README.md"} {
		t.Run(name, func(t *testing.T) { renderShown(t, read(t, page)) })
	}
}

func renderShown(t *testing.T, page string) {
	_, rest, ok := strings.Cut(page, "```yaml\n# bearergate.yaml\n")
	config, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("README.md shows no bearergate.yaml")
	}
	file := t.TempDir() + "/bearergate.yaml"
	write(t, file, config)
	if _, errs, err := template("--set-file", "config="+file); err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	if out, errs, err := execute(binaries+"/bearergate", "validate", "--config", file); err != nil {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
}

func TestDescribe(t *testing.T) {
	for name, file := range map[string]string{
		"no description": "# @section A\na: 1\n",
		"no section":     "# -- b\na: 1\n",
		"deep":           "# @section A\n\na:\n  # other\n  b: 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := describe(file); err == nil {
				t.Errorf("got %q, want an error", got)
			}
		})
	}
}

// describe makes the tables of values.yaml: a row for each key with a default,
// and an error for one that nobody describes.
func describe(file string) (string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(file), &document); err != nil {
		return "", err
	}
	d := &description{lines: strings.Split(file, "\n")}
	if err := d.object("", document.Content[0]); err != nil {
		return "", err
	}
	return d.out.String() + "\n", nil
}

type description struct {
	lines   []string
	section string
	out     strings.Builder
}

func (d *description) object(path string, node *yaml.Node) error {
	for n := 0; n < len(node.Content); n += 2 {
		key, value := node.Content[n], node.Content[n+1]
		if err := d.key(strings.TrimPrefix(path+"."+key.Value, "."), key, value); err != nil {
			return err
		}
	}
	return nil
}

func (d *description) key(path string, key, value *yaml.Node) error {
	d.open(key)
	text, ok := described(key)
	if !ok && value.Kind == yaml.MappingNode && len(value.Content) > 0 {
		return d.object(path, value)
	}
	if !ok || d.section == "" {
		return fmt.Errorf("values.yaml:%d: %s: no description or no section", key.Line, path)
	}
	fmt.Fprintf(&d.out, "| `%s` | `%s` | %s |\n", path, d.written(key, value), text)
	return nil
}

// open begins a table where a section begins before the key.
func (d *description) open(key *yaml.Node) {
	section := d.section
	for _, line := range d.lines[:key.Line-1] {
		if name, ok := strings.CutPrefix(line, "# @section "); ok {
			section = name
		}
	}
	if section != d.section {
		d.section = section
		fmt.Fprintf(&d.out, "\n### %s\n\n| value | default | what it is |\n|---|---|---|\n", section)
	}
}

func described(key *yaml.Node) (string, bool) {
	lines := strings.Split(key.HeadComment, "\n")
	text, ok := strings.CutPrefix(lines[len(lines)-1], "# -- ")
	return strings.ReplaceAll(text, "|", `\|`), ok
}

// written is the default as the file has it, or on one line.
func (d *description) written(key, value *yaml.Node) string {
	_, text, _ := strings.Cut(d.lines[key.Line-1], ":")
	if text = strings.TrimSpace(text); text != "" {
		return text
	}
	flow := *value
	flow.Style = yaml.FlowStyle
	content, err := yaml.Marshal(&flow)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(content))
}
