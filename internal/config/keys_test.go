package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/validation"
)

// leaf is a key that holds no other keys, and where it stands: issuers are the
// objects that auth is.
type leaf struct {
	field.Key
	path []any // names, and 0 for the first of a list
}

func leaves(above []any, t reflect.Type) []leaf {
	var all []leaf
	for _, k := range field.Keys(t) {
		path := append(slices.Clone(above), any(k.Name))
		inner := k.Type
		if k.Name == "issuers" && inner == reflect.TypeFor[[]Issuer]() {
			continue
		}
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			if inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct {
				path = append(path, 0)
			}
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			all = append(all, leaves(path, inner)...)
			continue
		}
		all = append(all, leaf{k, path})
	}
	return all
}

func (l leaf) String() string {
	var out strings.Builder
	for _, step := range l.path {
		if name, ok := step.(string); ok {
			out.WriteString("." + name)
		} else {
			out.WriteString("[0]")
		}
	}
	return out.String()[1:]
}

// put returns a copy of the file with a value for the key.
func (l leaf) put(t *testing.T, file, value any) []byte {
	t.Helper()
	var changed any
	if err := json.Unmarshal(encode(t, file), &changed); err != nil {
		t.Fatal(err)
	}
	at := changed
	for _, step := range l.path[:len(l.path)-1] {
		if name, ok := step.(string); ok {
			at = at.(map[string]any)[name]
		} else {
			at = at.([]any)[0]
		}
		if at == nil {
			return encode(t, changed) // this file has no place for it
		}
	}
	at.(map[string]any)[l.Name] = value
	return encode(t, changed)
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// values returns what the key can be that is not its default.
func (l leaf) values(t *testing.T, special map[string]any) []any {
	t.Helper()
	if value, ok := special[l.String()]; ok {
		return []any{value}
	}
	switch kind := l.Type.Kind(); {
	case l.Type == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(l.Default)
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		return []any{(d + time.Second).String()}
	case l.Type == reflect.TypeFor[bytesize.Size]():
		return []any{"7MiB"}
	case l.Type == reflect.TypeFor[*bool](): // absent: true
		return []any{false}
	case kind == reflect.Bool:
		return []any{true}
	case kind == reflect.Int:
		return []any{12345}
	case kind == reflect.Float64:
		return []any{0.25}
	case kind == reflect.Slice && len(l.OneOf) > 0:
		return []any{l.OneOf[:1]}
	case kind == reflect.Slice:
		return []any{[]string{"x"}}
	case kind == reflect.String && len(l.OneOf) > 0:
		var all []any
		for _, value := range l.OneOf {
			all = append(all, value)
		}
		return all
	case kind == reflect.String:
		return []any{"x"}
	}
	t.Fatalf("%s: no value of a %s is known", l, l.Type)
	return nil
}

// rooms returns every field that the rooms have of a configuration, by room and
// name; lists of structs descend.
func rooms(c *Config) map[string]any {
	fields := map[string]any{"type": c.Issuers[0].Type}
	for name, room := range map[string]any{
		"envoy": c.Server.Envoy, "admin": struct{ AdminAddress, AdminTokenFile, ProbeAddress, MemoryLimit string }{
			c.Server.AdminAddress, c.Server.AdminTokenFile, c.Server.ProbeAddress, c.Server.MemoryLimit,
		}, "log": c.Log, "authz": c.Authz, "telemetry": c.Telemetry,
		"discovery": c.Issuers[0].Discovery, "validation": c.Issuers[0].Validation,
	} {
		flatten(fields, name, reflect.ValueOf(room))
	}
	if c.Shared != nil {
		flatten(fields, "shared", reflect.ValueOf(*c.Shared))
	}
	if c.Revocation != nil {
		flatten(fields, "revocation", reflect.ValueOf(*c.Revocation))
	}
	return fields
}

func flatten(fields map[string]any, path string, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		flatten(fields, path, v.Elem())
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			flatten(fields, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			flatten(fields, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	default:
		fields[path] = v.Interface()
	}
}

// pemFiles writes a key and a certificate, each twice: who names the other file
// has changed the configuration, and it is still valid.
func pemFiles(t *testing.T) (keys, certificates [2]string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for i := range 2 {
		keys[i] = write(fmt.Sprintf("key-%d.pem", i), "PRIVATE KEY", encoded)
		certificates[i] = write(fmt.Sprintf("cert-%d.pem", i), "CERTIFICATE", certificate)
	}
	return keys, certificates
}

// publicKeys is a JWKS; its key is that of RFC 8037, appendix A.2.
const publicKeys = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

// TestEveryKeyReachesItsRoom: each key of the file changes something in the
// rooms, and each field that a room has is changed by a key of the file. A value
// that nobody hands on, and one that ends in the field of another, fail.
func TestEveryKeyReachesItsRoom(t *testing.T) {
	keys, certificates := pemFiles(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(strings.Repeat("t", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, []byte(publicKeys), 0o600); err != nil {
		t.Fatal(err)
	}
	const issuer, resource = "https://a.example.com", "https://a.example.com/mcp"
	file := func(auth map[string]any) map[string]any {
		auth["issuer"], auth["audience"] = issuer, "a"
		return map[string]any{
			"auth": auth, "log": map[string]any{}, "cache": map[string]any{}, "jwks": map[string]any{},
			"telemetry": map[string]any{"decision_log": map[string]any{}},
			"dpop":      map[string]any{}, "mtls": map[string]any{},
			"server": map[string]any{"tls": map[string]any{
				"cert_file": certificates[0], "key_file": keys[0], "client_ca_file": certificates[0],
			}},
			"rules":     []any{map[string]any{"name": "r", "match": map[string]any{"methods": []string{"GET"}}}},
			"resources": []any{map[string]any{"resource": resource}},
		}
	}
	pathless := file(map[string]any{})
	delete(pathless, "resources")
	client := map[string]any{"client_id": "c", "client_secret": "s"}
	plain, exchanging := file(client), file(client)
	exchanging["rules"].([]any)[0].(map[string]any)["upstream_token"] = map[string]any{}
	fleet := func(strategy string, event map[string]any) map[string]any {
		f := file(map[string]any{"token_validation": strategy, "client_id": "c", "client_secret": "s"})
		f["shared"] = map[string]any{
			"address": "valkeys://a.example.com", "key_file": keys[0], "password_file": token,
			"cert_file": certificates[0], "key_pem_file": keys[0],
		}
		event["transmitter"], event["issuer"], event["audience"] = issuer, issuer, "gate"
		f["revocation"] = map[string]any{
			"receiver_address": "127.0.0.1:9195", "events": []any{event},
			"receiver_tls": map[string]any{"cert_file": certificates[0], "key_file": keys[0]},
		}
		return f
	}
	several := fleet("jwt", map[string]any{})
	delete(several, "auth")
	delete(several, "resources")
	several["issuers"] = []any{
		map[string]any{"issuer": issuer, "audience": "a"}, map[string]any{"issuer": "https://b.example.com", "audience": "a"},
	}
	files := []any{
		fleet("introspection", map[string]any{"delivery": "push"}),
		fleet("both", map[string]any{"delivery": "poll", "poll_endpoint": issuer + "/poll"}),
		several,
		file(map[string]any{}),
		pathless,
		exchanging,
		file(map[string]any{"token_validation": "both", "client_id": "c", "client_secret": "s", "client_auth_method": "bearer"}),
		file(map[string]any{
			"token_validation": "introspection", "client_id": "c", "client_auth_method": "tls_client_auth",
			"client_cert_file": certificates[0], "client_key_file": keys[0],
		}),
	}
	special := map[string]any{
		"server.grpc_address": "127.0.0.1:9199", "server.memory_limit": "100MiB", "server.admin_address": "127.0.0.1:9198",
		"server.probe_address": "127.0.0.1:9197", "server.admin_token_file": token,
		"server.tls.cert_file": certificates[1], "server.tls.key_file": keys[1], "server.tls.client_ca_file": certificates[1],
		"auth.issuer": "https://b.example.com", "auth.metadata_url": issuer + "/m", "auth.jwks_uri": issuer + "/j", "auth.jwks_file": jwks,
		"auth.introspection_endpoint": issuer + "/i", "auth.token_endpoint": issuer + "/t", "auth.ca_file": certificates[1],
		"auth.client_secret_file": keys[0], "auth.client_key_file": keys[1], "auth.client_cert_file": certificates[1],
		"telemetry.decision_log.subject_key_file": keys[0],
		"dpop.origins": []string{"https://a.example.com"}, "dpop.nonce_key_file": keys[0],
		"mtls.client_certificate_header": "client-cert",
		"headers":                        map[string]string{"x-other": "sub"}, "scope_implies": map[string][]string{"a": {"b"}},
		"rules[0].match.paths": []string{"/x"}, "rules[0].match.methods": []string{"PUT"}, "rules[0].issuers": []string{issuer},
		"rules[0].when": "true", "rules[0].resource": resource,
		"rules[0].upstream_token.resource": []string{resource},
		"shared.address":                   "valkeys://b.example.com", "shared.password_file": keys[0], "shared.key_file": keys[1],
		"shared.ca_file": certificates[1], "shared.cert_file": certificates[1], "shared.key_pem_file": keys[1],
		"revocation.receiver_address": "127.0.0.1:9194", "revocation.receiver_tls.cert_file": certificates[1],
		"revocation.receiver_tls.key_file": keys[1], "revocation.backchannel_logout": []string{issuer},
		"revocation.events[0].transmitter": "https://b.example.com", "revocation.events[0].issuer": "https://b.example.com",
		"revocation.events[0].push_token_file": token, "revocation.events[0].poll_token_file": token,
		"revocation.events[0].poll_endpoint": issuer + "/other",
		"resources[0].resource":              "https://b.example.com", "resources[0].issuers": []string{issuer},
	}
	untouched := map[string]bool{}
	for _, l := range leaves(nil, reflect.TypeFor[Config]()) {
		reached := len(l.OneOf) == 1 || // nothing to choose
			l.String() == "revocation.events[0].delivery" // each needs keys that the other must not have
		for _, file := range files {
			before := parseRooms(t, encode(t, file))
			if before == nil {
				t.Fatal("the file is not valid")
			}
			for name := range before {
				if _, known := untouched[name]; !known {
					untouched[name] = true
				}
			}
			for _, value := range l.values(t, special) {
				after := parseRooms(t, l.put(t, file, value))
				for name := range after {
					if !reflect.DeepEqual(before[name], after[name]) {
						reached, untouched[name] = true, false
					}
				}
				sameInEveryRoom(t, l, after)
			}
		}
		if !reached {
			t.Errorf("%s: changes nothing", l)
		}
	}
	delete(untouched, "type")
	delete(untouched, "revocation.Events[0].Delivery")
	maps.DeleteFunc(untouched, func(name string, _ bool) bool { return strings.HasPrefix(name, "authz.Issuers[1].") })
	delete(untouched, "discovery.WellKnown") // of transmitters, which package revocation sets
	without, with := parseRooms(t, encode(t, plain)), parseRooms(t, encode(t, exchanging))
	for name := range without { // that the object is there is a switch of its own
		if !reflect.DeepEqual(without[name], with[name]) {
			untouched[name] = false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(untouched)) {
		if untouched[name] {
			t.Errorf("%s: no key changes it", name)
		}
	}
}

// parseRooms returns nil for a file that is not valid: not every value fits
// every file.
func parseRooms(t *testing.T, content []byte) map[string]any {
	t.Helper()
	c, err := Parse("a.json", content, env)
	if err != nil {
		return nil
	}
	return rooms(c)
}

// sameInEveryRoom: what several rooms have of one name is one value, or not set.
func sameInEveryRoom(t *testing.T, l leaf, fields map[string]any) {
	t.Helper()
	for name, value := range fields {
		own, ok := strings.CutPrefix(name, "validation.")
		if !ok {
			continue
		}
		for _, room := range []string{"discovery.", "authz.Issuers[0]."} {
			if other, ok := fields[room+own]; ok && !reflect.ValueOf(other).IsZero() && !reflect.DeepEqual(other, value) {
				t.Errorf("%s: %s%s and %s differ", l, room, own, name)
			}
		}
	}
}

// TestEveryBoundIsHeld: what a tag forbids is refused, with the path of the key:
// no room forgets to look.
func TestEveryBoundIsHeld(t *testing.T) {
	file := map[string]any{
		"auth": map[string]any{"issuer": "https://a.example.com", "audience": "a"},
		"log":  map[string]any{}, "cache": map[string]any{}, "jwks": map[string]any{}, "server": map[string]any{},
		"telemetry": map[string]any{"decision_log": map[string]any{}},
		"dpop":      map[string]any{}, "mtls": map[string]any{},
		"shared": map[string]any{}, "revocation": map[string]any{"events": []any{map[string]any{}}},
		"rules": []any{map[string]any{"name": "r", "upstream_token": map[string]any{}}},
	}
	held := 0
	for _, l := range leaves(nil, reflect.TypeFor[Config]()) {
		for _, value := range l.forbidden(t) {
			held++
			_, err := Parse("a.json", l.put(t, file, value), env)
			if want := fmt.Sprintf(": %s: got ", l); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v: got %v, want it refused", l, value, err)
			}
		}
	}
	if held < 20 {
		t.Errorf("got %d bounds", held)
	}
}

// forbidden returns what lies right outside the bounds of the key.
func (l leaf) forbidden(t *testing.T) []any {
	t.Helper()
	var values []any
	for bound, beyond := range map[string]time.Duration{l.Min: -1, l.Max: 1, l.Above: 0} {
		if bound == "" || l.Type != reflect.TypeFor[time.Duration]() {
			continue
		}
		d, err := time.ParseDuration(bound)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, (d + beyond).String())
	}
	switch {
	case l.Type.Kind() == reflect.Float64:
		values = append(values, -0.001, 1.001)
	case len(l.OneOf) > 0 && l.Type.Kind() == reflect.Slice:
		values = append(values, []string{l.OneOf[0], "nonsense"})
		if l.Min != "" {
			values = append(values, []string{})
		}
	case len(l.OneOf) > 0:
		values = append(values, "nonsense")
	}
	return values
}

// TestKeysAreWhole: every key says what it is, its default is allowed, and no
// object has two of one name, however many rooms are inlined into it.
func TestKeysAreWhole(t *testing.T) {
	names := map[string]bool{}
	for _, l := range leaves(nil, reflect.TypeFor[Config]()) {
		if names[l.String()] {
			t.Errorf("%s: there are two of it", l)
		}
		names[l.String()] = true
		if !strings.HasSuffix(l.Doc, ".") {
			t.Errorf("%s: got description %q, want sentences", l, l.Doc)
		}
		if l.Type.Kind() == reflect.Int64 && l.Default == "" {
			t.Errorf("%s: no default", l)
		}
		if len(l.OneOf) > 0 && l.Default == "" && !l.Empty {
			t.Errorf("%s: one of %v, and no default", l, l.OneOf)
		}
	}
	c, err := load(t, "a.yaml", "auth: {issuer: https://a.example.com, audience: a}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Issuers[0].Validation.Algorithms, validation.Algorithms(); len(got) < 5 || !slices.Equal(got, want) {
		t.Errorf("got algorithms %v by default, want %v", got, want)
	}
}
