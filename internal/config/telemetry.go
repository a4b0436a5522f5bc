package config

import (
	"bytes"
	"fmt"
	"os"

	"github.com/bearergate/bearergate/internal/field"
)

// Telemetry is what others are told of decisions.
type Telemetry struct {
	DecisionLog DecisionLog `key:"decision_log" doc:"A line for each decision, for those who audit."`
}

// DecisionLog says where decisions are written, and which.
type DecisionLog struct {
	Output          string  `key:"output" doc:"Empty: nowhere. stderr, or a file, which SIGHUP opens anew."`
	Allows          float64 `key:"allows" default:"0" min:"0" max:"1" doc:"The share of allows that is written, by chance; all are counted."`
	DeniesPerSecond int     `key:"denies_per_second" default:"100" min:"1" doc:"How many denies at most are written; what is beyond is counted."`
	SubjectKeyFile  string  `key:"subject_key_file" doc:"Key of subject_hash, 32 bytes or more. Empty: a random one for each process."`
}

// leastSubjectKey is in bytes, the size of what HMAC-SHA256 makes (RFC 2104 §3). With a
// key that can be guessed, the hash of every address of a company can be, too.
const leastSubjectKey = 32

// SubjectKey returns the key that the content of a file is, without a final line break.
func SubjectKey(content []byte) ([]byte, error) {
	key := bytes.TrimRight(content, "\r\n")
	if len(key) < leastSubjectKey {
		return nil, fmt.Errorf("got a key of %d bytes, want at least %d", len(key), leastSubjectKey)
	}
	return bytes.Clone(key), nil
}

func (d DecisionLog) checkFiles() error {
	const path = "telemetry.decision_log.subject_key_file"
	if d.SubjectKeyFile == "" {
		return nil
	}
	content, err := os.ReadFile(d.SubjectKeyFile)
	if err != nil {
		return field.Under(path, err)
	}
	if _, err := SubjectKey(content); err != nil {
		return field.Errorf(path, "%s: %w", d.SubjectKeyFile, err)
	}
	return nil
}
