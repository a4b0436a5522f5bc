// Command record runs an authorization server, gets every kind of token from
// it, and prints what came as a fixture of validation/testdata/servers.
//
//	go run ./servers/record [-tokens FOLDER] NAME
//
// What Bearergate must say of each is filled in by kind (access tokens are ok,
// other kinds wrong_type, what the server calls inactive is inactive) and is to
// be read by a person before it is committed: an access token that cannot be
// told from an ID token, for instance, is wrong_type too.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bearergate/bearergate/test/servers"
)

type fixture struct {
	Server  string   `json:"server"`
	Source  string   `json:"source"`
	Now     int64    `json:"now"`
	Config  config   `json:"config"`
	JWTs    []jwt    `json:"jwts"`
	Answers []answer `json:"answers"`
}

type config struct {
	Issuer           string `json:"issuer"`
	ClientID         string `json:"client_id"`
	AccessTokenType  string `json:"access_token_type"`
	RequireTokenType bool   `json:"require_token_type"`
}

type jwt struct {
	Name   string          `json:"name"`
	Kind   string          `json:"kind"`
	Header json.RawMessage `json:"header"`
	Claims json.RawMessage `json:"claims"`
	Want   string          `json:"want"`
}

type answer struct {
	Name string          `json:"name"`
	Kind string          `json:"kind"`
	Body json.RawMessage `json:"body"`
	Want string          `json:"want"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	tokens := flag.String("tokens", "",
		"folder to write the raw tokens to, with the server's description; the server then runs on until SIGTERM")
	port := flag.Int("port", 18080, "port of the server")
	flag.Parse()
	err := record(ctx, flag.Arg(0), *port, *tokens)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type recorder struct {
	*servers.Server
	*fixture
	folder string
}

func record(ctx context.Context, name string, port int, folder string) error {
	s, err := servers.Start(ctx, name, port)
	if err != nil {
		return err
	}
	defer s.Stop()
	r := recorder{s, &fixture{Server: s.Name, Source: "recorded", JWTs: []jwt{}}, folder}
	r.Config = config{
		Issuer: s.Issuer, ClientID: s.Gate.ID, AccessTokenType: "compatible", RequireTokenType: s.RequireType,
	}
	for _, g := range s.Grants {
		if err := r.grant(ctx, g); err != nil {
			return err
		}
	}
	if s.Logout != "" {
		t, err := s.LogoutToken(ctx)
		if err != nil {
			return err
		}
		if err := r.add(ctx, t); err != nil {
			return err
		}
	}
	if err := r.print(); err != nil || folder == "" {
		return err
	}
	os.Stdout.Close()
	<-ctx.Done()
	return nil
}

func (r recorder) grant(ctx context.Context, g servers.Grant) error {
	session, err := r.Get(ctx, g)
	if err != nil {
		return err
	}
	for _, t := range session.Tokens {
		if err := r.add(ctx, t); err != nil {
			return err
		}
	}
	if r.Revocation == "" {
		return nil
	}
	// A second set, so that the files that were written stay alive.
	if session, err = r.Get(ctx, g); err != nil {
		return err
	}
	for _, t := range session.Tokens {
		if t.Kind != "access" {
			continue
		}
		if err := r.Revoke(ctx, g.Client, t.Raw); err != nil {
			fmt.Fprintf(os.Stderr, "%s: not revoked: %v\n", g.Name, err) // JWTs often cannot be
			continue
		}
		body, err := r.Introspect(ctx, t.Raw)
		if err != nil {
			return err
		}
		r.answered("revoked access token, "+g.Name, t.Kind, body)
	}
	return nil
}

// add records one token: what is in it, and what the server says of it.
func (r recorder) add(ctx context.Context, t servers.Token) error {
	name := t.Kind + " token, " + t.Grant
	if r.folder != "" {
		file := filepath.Join(r.folder, strings.NewReplacer(" ", "-", ",", "").Replace(name))
		if err := os.WriteFile(file, []byte(t.Raw), 0o600); err != nil {
			return err
		}
	}
	r.decode(name, t)
	body, err := r.Introspect(ctx, t.Raw)
	if err != nil {
		// An endpoint may refuse a token instead of calling it inactive.
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return nil
	}
	r.answered(name, t.Kind, body)
	return nil
}

func (r recorder) decode(name string, t servers.Token) {
	parts := strings.Split(t.Raw, ".")
	if len(parts) != 3 {
		return
	}
	header, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	claims, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	if err1 != nil || err2 != nil || !json.Valid(header) || !json.Valid(claims) {
		return
	}
	want := "wrong_type"
	if t.Kind == "access" {
		want = "ok"
	}
	r.JWTs = append(r.JWTs, jwt{Name: name, Kind: t.Kind, Header: header, Claims: claims, Want: want})
}

func (r recorder) answered(name, kind string, body json.RawMessage) {
	want := "wrong_type"
	switch {
	case !bytes.Contains(body, []byte(`"active":true`)):
		want = "inactive"
	case kind == "access":
		want = "ok"
	}
	r.Answers = append(r.Answers, answer{Name: name, Kind: kind, Body: body, Want: want})
}

// print writes the fixture with the origins that stand in documentation.
func (r recorder) print() error {
	r.Now = time.Now().Unix()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r.fixture); err != nil {
		return err
	}
	text := out.String()
	for origin, public := range r.Public {
		text = strings.ReplaceAll(text, origin, public)
	}
	_, err := io.WriteString(os.Stdout, text)
	return err
}
