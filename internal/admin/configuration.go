package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/field"
)

const (
	redacted = "[redacted]"
	// maxListed is how many members of a list are shown: of ten thousand rules nobody
	// reads more.
	maxListed = 200
)

// Configuration is the one in use, with every key and without secrets.
type Configuration struct {
	Since    time.Time `json:"since,omitzero"`
	Warnings []string  `json:"warnings"`
	Keys     object    `json:"keys"`
}

// object has its members in the order of the file.
type object []member

type member struct {
	name  string
	value any // object, []any, string, bool or a number
}

// MarshalJSON keeps the order.
func (o object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (p *Pages) configuration() Configuration {
	cfg, since := p.o.Service.InUse()
	if cfg == nil {
		return Configuration{Warnings: []string{}, Keys: object{}}
	}
	c := Configuration{Since: since.UTC().Truncate(time.Second), Warnings: []string{}}
	for _, warning := range cfg.Warnings() {
		c.Warnings = append(c.Warnings, printable(warning))
	}
	c.Keys, _ = shower{cfg}.show(reflect.ValueOf(*cfg)).(object)
	return c
}

// shadowRules names the rules that refuse nobody yet.
func (c Configuration) shadowRules() []string {
	rules, _ := c.Keys.get("rules").([]any)
	var names []string
	for _, r := range rules {
		if rule, ok := r.(object); ok && rule.get("enforce") == false {
			names = append(names, fmt.Sprint(rule.get("name")))
		}
	}
	return names
}

// shower makes of a configuration what may be shown of it.
type shower struct{ cfg *config.Config }

func (s shower) show(v reflect.Value) any {
	if secret, ok := v.Interface().(interface{ Reveal() string }); ok {
		if secret.Reveal() == "" {
			return ""
		}
		return redacted
	}
	if text, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer { // durations, sizes
		return text.String()
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return s.show(v.Elem())
	case reflect.Struct:
		return s.showStruct(v)
	case reflect.Slice:
		return s.showList(v)
	case reflect.Map:
		return s.showMap(v)
	case reflect.String:
		return s.text(v.String())
	}
	return v.Interface()
}

func (s shower) showStruct(v reflect.Value) any {
	shown := object{}
	for _, k := range field.Keys(v.Type()) {
		value := s.show(v.FieldByIndex(k.Index))
		if value == nil || k.Name == "issuers" && len(k.Index) == 1 && v.FieldByIndex(k.Index).Len() == 0 {
			continue
		}
		shown = append(shown, member{k.Name, value})
	}
	return shown
}

func (s shower) showList(v reflect.Value) any {
	shown := []any{}
	for i := range min(v.Len(), maxListed) {
		shown = append(shown, s.show(v.Index(i)))
	}
	if more := v.Len() - maxListed; more > 0 {
		shown = append(shown, fmt.Sprintf("… and %d more", more))
	}
	return shown
}

func (s shower) showMap(v reflect.Value) any {
	values := map[string]any{}
	for _, name := range v.MapKeys() {
		values[s.text(name.String())] = s.show(v.MapIndex(name))
	}
	shown := object{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		shown = append(shown, member{name, values[name]})
	}
	return shown
}

// text hides what came from the environment, and the query of a URL.
func (s shower) text(text string) string {
	text = s.cfg.Unexpanded(text)
	if strings.Contains(text, "://") && !strings.ContainsAny(text, " {") {
		return withoutQuery(text)
	}
	return printable(text)
}

// YAML returns the keys as a file has them.
func (c Configuration) YAML() string {
	var out strings.Builder
	writeObject(&out, c.Keys, "")
	return out.String()
}

func writeObject(out *strings.Builder, o object, indent string) {
	for i, m := range o {
		if i > 0 {
			out.WriteString(indent)
		}
		writeMember(out, m, indent)
	}
}

func writeMember(out *strings.Builder, m member, indent string) {
	name := m.name
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" || name == "" {
		name = scalar(name)
	}
	out.WriteString(name + ":")
	switch value := m.value.(type) {
	case object:
		if len(value) == 0 {
			out.WriteString(" {}\n")
			return
		}
		out.WriteString("\n" + indent + "  ")
		writeObject(out, value, indent+"  ")
	case []any:
		writeList(out, value, indent)
	default:
		out.WriteString(" " + scalar(value) + "\n")
	}
}

func writeList(out *strings.Builder, list []any, indent string) {
	if !slices.ContainsFunc(list, func(v any) bool { _, is := v.(object); return is }) {
		var values []string
		for _, v := range list {
			values = append(values, scalar(v))
		}
		out.WriteString(" [" + strings.Join(values, ", ") + "]\n")
		return
	}
	out.WriteString("\n")
	for _, v := range list {
		out.WriteString(indent + "  - ")
		if o, ok := v.(object); ok {
			writeObject(out, o, indent+"    ")
		} else {
			out.WriteString(scalar(v) + "\n")
		}
	}
}

// scalar is a value as YAML and JSON both read it.
func scalar(v any) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return redacted
	}
	return strings.TrimSuffix(out.String(), "\n")
}
