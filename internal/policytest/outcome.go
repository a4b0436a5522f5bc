package policytest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bearergate/bearergate/internal/explain"
)

// outcome is what became of a request, read from what Envoy is told.
type outcome struct {
	walk         *explain.Walk
	reason, rule string
	status       int // 200 where the request passes

	headers  map[string]string // to the upstream, or of the answer to the client
	removed  []string          // on the way to the upstream
	passes   bool
	metadata map[string]string
}

func newOutcome(walk *explain.Walk) (*outcome, error) {
	response := new(authv3.CheckResponse)
	if err := protojson.Unmarshal(walk.Response, response); err != nil {
		return nil, fmt.Errorf("response: %w", err)
	}
	o := &outcome{walk: walk, reason: walk.Reason, headers: map[string]string{}, metadata: map[string]string{}}
	for name, value := range response.GetDynamicMetadata().GetFields() {
		o.metadata[name] = value.GetStringValue()
	}
	o.rule = o.metadata["rule"]
	changed := response.GetDeniedResponse().GetHeaders()
	o.status = int(response.GetDeniedResponse().GetStatus().GetCode())
	if passed := response.GetOkResponse(); passed != nil {
		o.passes, o.status = true, http.StatusOK
		changed, o.removed = passed.GetHeaders(), passed.GetHeadersToRemove()
	}
	o.setHeaders(changed)
	return o, nil
}

// setHeaders joins fields of one name as RFC 9110 §5.3 does: there are two challenges
// where DPoP is on.
func (o *outcome) setHeaders(changed []*corev3.HeaderValueOption) {
	for _, h := range changed {
		name, value := h.GetHeader().GetKey(), h.GetHeader().GetValue()
		if before, ok := o.headers[name]; ok {
			value = before + ", " + value
		}
		o.headers[name] = value
	}
}

// Difference is one thing that is not as a case wants it, in words.
type Difference struct {
	What string `json:"what"`
	Got  string `json:"got"`
	Want string `json:"want"`
}

func (d Difference) String() string { return d.What + ": got " + d.Got + ", want " + d.Want }

// compare returns what of the outcome is not as wanted.
func (w want) compare(o *outcome) []Difference {
	all := []Difference{}
	differ := func(what, got, want string) {
		if got != want {
			all = append(all, Difference{what, got, want})
		}
	}
	differ("reason", o.reason, w.Reason)
	if w.Rule != nil {
		differ("rule", or(o.rule, absent), or(*w.Rule, absent))
	}
	if w.Status != 0 {
		differ("status", strconv.Itoa(o.status), strconv.Itoa(w.Status))
	}
	for _, name := range slices.Sorted(maps.Keys(w.Headers)) {
		differ("header "+name, o.header(name), o.wanted(w.Headers[name]))
	}
	if got, ok := o.headers["www-authenticate"]; !strings.Contains(got, w.Challenge) || !ok && w.Challenge != "" {
		differ("challenge", or(got, absent), "one with "+w.Challenge)
	}
	for _, name := range slices.Sorted(maps.Keys(w.Metadata)) {
		got := absent
		if value, ok := o.metadata[name]; ok {
			got = strconv.Quote(value)
		}
		differ("metadata "+name, got, quoted(w.Metadata[name], absent))
	}
	return all
}

const (
	removed   = "removed"
	untouched = "left as the client sent it"
	absent    = "none"
)

// header says what becomes of a header, in words that tell a value from none.
func (o *outcome) header(name string) string {
	value, set := o.headers[name]
	switch {
	case set:
		return strconv.Quote(value)
	case !o.passes:
		return absent
	case slices.Contains(o.removed, name):
		return removed
	}
	return untouched
}

func (o *outcome) wanted(value any) string {
	if o.passes {
		return quoted(value, removed)
	}
	return quoted(value, absent)
}

func quoted(value any, none string) string {
	if text, ok := value.(string); ok {
		return strconv.Quote(text)
	}
	return none
}
