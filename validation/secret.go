package validation

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a string that prints as [redacted] in every format, in logs and in
// marshalled configurations. [Secret.Reveal] is the only way to its content.
type Secret string

// Reveal returns the content, for the one place that sends it. It is a method of its
// own so that every use of a secret can be found by its name.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string { return redacted }

// GoString covers %#v.
func (s Secret) GoString() string { return redacted }

// Format covers every other verb: %x and %q would print the content.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText covers JSON, YAML and TOML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue covers log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
