package config

import (
	"encoding/json"
	"io"
	"reflect"
	"strconv"
	"time"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/field"
)

// What strings look like that have a form. A variable may stand anywhere in any
// of them: nobody knows what it is before the file is loaded.
const (
	variablePattern = `\$\{[A-Za-z_][A-Za-z0-9_]*\}`
	durationPattern = `^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$|` + variablePattern
	sizePattern     = `^[0-9]+(KiB|MiB|GiB|TiB)?$|` + variablePattern
)

// schema is a JSON Schema of the draft 2020-12.
type schema struct {
	Dialect              string             `json:"$schema,omitempty"`
	Title                string             `json:"title,omitempty"`
	Description          string             `json:"description,omitempty"`
	Type                 any                `json:"type,omitempty"` // a string, or a list of them
	Default              any                `json:"default,omitempty"`
	WriteOnly            bool               `json:"writeOnly,omitempty"` // a secret
	Enum                 []string           `json:"enum,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	Minimum              *int64             `json:"minimum,omitempty"`
	Maximum              *int64             `json:"maximum,omitempty"`
	MinItems             int                `json:"minItems,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"` // false, or a schema
	Required             []string           `json:"required,omitempty"`
	AnyOf                []*schema          `json:"anyOf,omitempty"`
	OneOf                []*schema          `json:"oneOf,omitempty"`
}

// WriteSchema writes the JSON Schema of the file, for editors and CI.
func WriteSchema(w io.Writer) error {
	s := objectSchema(reflect.TypeFor[Config]())
	s.Dialect = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "Bearergate configuration"
	s.OneOf = []*schema{{Required: []string{"auth"}}, {Required: []string{"issuers"}}}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

func objectSchema(t reflect.Type) *schema {
	s := &schema{Type: "object", Properties: map[string]*schema{}, AdditionalProperties: false}
	defaults := reflect.New(t).Elem()
	field.SetDefaults(defaults)
	for _, k := range field.Keys(t) {
		p := valueSchema(k.Type, k)
		p.Description = description(k)
		if k.Required {
			s.Required = append(s.Required, k.Name)
		} else {
			p.Default = defaultOf(k, defaults.FieldByIndex(k.Index))
		}
		s.Properties[k.Name] = p
	}
	return s
}

// description is what the tags say in words, bounds included: JSON Schema
// cannot compare durations.
func description(k field.Key) string {
	if bounds := k.Bounds(); bounds != "" && k.Type.Kind() != reflect.Slice {
		return k.Doc + " Allowed: " + bounds + "."
	}
	return k.Doc
}

func valueSchema(t reflect.Type, k field.Key) *schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &schema{Type: "string", Pattern: durationPattern}
	case reflect.TypeFor[bytesize.Size]():
		return &schema{Type: []string{"string", "integer"}, Pattern: sizePattern, Minimum: new(int64)}
	}
	switch t.Kind() {
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int:
		return numberSchema("integer", k)
	case reflect.Float64:
		return numberSchema("number", k)
	case reflect.Slice:
		return listSchema(t, k)
	case reflect.Map:
		return &schema{Type: "object", AdditionalProperties: valueSchema(t.Elem(), field.Key{})}
	case reflect.Pointer:
		return valueSchema(t.Elem(), k)
	case reflect.Struct:
		return objectSchema(t)
	}
	return stringSchema(t, k)
}

func numberSchema(kind string, k field.Key) *schema {
	s := &schema{Type: kind}
	if least, err := strconv.ParseInt(k.Min, 10, 64); err == nil {
		s.Minimum = &least
	}
	if most, err := strconv.ParseInt(k.Max, 10, 64); err == nil {
		s.Maximum = &most
	}
	return s
}

func listSchema(t reflect.Type, k field.Key) *schema {
	s := &schema{Type: "array", Items: valueSchema(t.Elem(), field.Key{OneOf: k.OneOf})}
	if k.String {
		s.Type = []string{"array", "string"}
	}
	if k.Min != "" {
		s.MinItems = 1
	}
	return s
}

func stringSchema(t reflect.Type, k field.Key) *schema {
	_, secret := reflect.Zero(t).Interface().(interface{ Reveal() string })
	s := &schema{Type: "string", WriteOnly: secret}
	if len(k.OneOf) > 0 {
		allowed := k.OneOf
		if k.Empty {
			allowed = append([]string{""}, allowed...)
		}
		s.AnyOf = []*schema{{Enum: allowed}, {Pattern: variablePattern}}
	}
	return s
}

// defaultOf returns the default as it would be written; nil where there is none.
func defaultOf(k field.Key, v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if k.Type == reflect.TypeFor[*bool]() {
			return k.Default == "true"
		}
		return nil
	case reflect.Struct:
		return struct{}{}
	case reflect.Slice:
		if v.Len() == 0 {
			return []string{}
		}
	case reflect.Map:
		if v.Len() == 0 {
			return struct{}{}
		}
	case reflect.Int64: // durations and sizes
		return k.Default
	case reflect.String:
		return v.String()
	}
	return v.Interface()
}
