// Package explain walks one request through the Check server that `serve`
// runs, and shows each step, the decision and the exact response. It decides
// nothing, and the token is in nothing that it prints.
package explain

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/walk"
)

// Request is what a client would send through Envoy.
type Request struct {
	Method, Host, Path string
	Token              string // without the scheme; empty sends no Authorization
	Proof              string // of a DPoP token: it is sent with the scheme DPoP; empty: as a bearer token
	Certificate        string // of the client, in PEM, as Envoy verified it; empty: none
	Scheme             string // of the URL; empty: https
	Rule               string // as context_extensions would name it; empty matches

	Extensions map[string]string // other context_extensions

	Headers map[string]string // others, by their lower-case name; Token comes before an authorization here

	Issuers []string // that are configured; hints look for one like the token's
	Reveal  bool     // the token for the upstream is made up, and may stand in the response
}

// Walk is what happened to a request.
type Walk struct {
	Steps    []walk.Step     `json:"steps"`
	Reason   string          `json:"reason"`
	Allowed  bool            `json:"allowed"`        // or answered with a document
	Hint     string          `json:"hint,omitempty"` // the setting that would change it
	Response json.RawMessage `json:"response"`       // the CheckResponse, without the upstream's token
}

// Checker is met by the Check server of package envoy.
type Checker interface {
	Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error)
}

// Run sends the request through checks and returns its walk.
func Run(ctx context.Context, checks Checker, r Request) (*Walk, error) {
	ctx, recorder := walk.With(ctx)
	response, err := checks.Check(ctx, r.check())
	if err != nil {
		return nil, err
	}
	if !r.Reveal {
		redact(response, recorder.Concealed())
	}
	raw, err := protojson.Marshal(response)
	if err != nil {
		return nil, fmt.Errorf("response: %w", err)
	}
	var compact bytes.Buffer // protojson varies its spaces on purpose
	if err := json.Compact(&compact, raw); err != nil {
		return nil, fmt.Errorf("response: %w", err)
	}
	reason := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
	steps := recorder.Steps()
	return &Walk{
		Steps:    steps,
		Reason:   reason,
		Hint:     walked{steps, r.Token, r.Issuers}.hint(reason),
		Allowed:  response.GetOkResponse() != nil || reason == authz.Metadata.String(),
		Response: compact.Bytes(),
	}, nil
}

// redact takes the token for the upstream out of the response: whoever may explain a
// request must not get a token by it (docs/contract.md §10).
func redact(response *authv3.CheckResponse, header string) {
	for _, h := range response.GetOkResponse().GetHeaders() {
		if h.GetHeader().GetKey() != header {
			continue
		}
		scheme, _, bearer := strings.Cut(h.GetHeader().GetValue(), " ")
		h.Header.Value = redacted
		if bearer {
			h.Header.Value = scheme + " " + redacted
		}
	}
}

const redacted = "[redacted]"

func (r Request) check() *authv3.CheckRequest {
	headers := map[string]string{":method": r.Method, ":authority": r.Host, ":path": r.Path}
	maps.Copy(headers, r.Headers)
	if r.Token != "" {
		headers["authorization"] = "Bearer " + r.Token
	}
	if r.Proof != "" {
		headers["dpop"] = r.Proof
		if r.Token != "" {
			headers["authorization"] = "DPoP " + r.Token
		}
	}
	attributes := &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{
				Method: r.Method, Host: r.Host, Path: r.Path, Scheme: cmp.Or(r.Scheme, "https"), Headers: headers,
			},
		},
	}
	if r.Certificate != "" { // as Envoy writes it
		encoded := strings.ReplaceAll(url.QueryEscape(r.Certificate), "+", "%20")
		attributes.Source = &authv3.AttributeContext_Peer{Certificate: encoded}
	}
	attributes.ContextExtensions = maps.Clone(r.Extensions)
	if r.Rule != "" {
		if attributes.ContextExtensions == nil {
			attributes.ContextExtensions = map[string]string{}
		}
		attributes.ContextExtensions["bearergate.rule"] = r.Rule
	}
	return &authv3.CheckRequest{Attributes: attributes}
}

// WriteSteps writes steps as a table for people, each line after indent.
func WriteSteps(out io.Writer, indent string, steps []walk.Step) error {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, s := range steps {
		fmt.Fprintf(table, "%s%s\t%s %s\t%s\n", indent, s.Result, s.Package, s.Name, Printable(words(s)))
	}
	return table.Flush()
}

// Text writes the walk for people.
func (w *Walk) Text(out io.Writer) error {
	if err := WriteSteps(out, "", w.Steps); err != nil {
		return err
	}
	hint := ""
	if w.Hint != "" {
		hint = "hint: " + Printable(w.Hint) + "\n"
	}
	_, err := fmt.Fprintf(out, "\nreason: %s\n%sresponse: %s\n", w.Reason, hint, w.Response)
	return err
}

func words(s walk.Step) string {
	text := s.Detail
	if s.Got != "" {
		text = join(text, "got "+s.Got)
	}
	if s.Want != "" {
		text = join(text, "want "+s.Want)
	}
	return text
}

// Printable quotes what a terminal might take for orders: claims of a token that
// nobody has verified are among it.
func Printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

// JSON writes the walk for programs.
func (w *Walk) JSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(w)
}
