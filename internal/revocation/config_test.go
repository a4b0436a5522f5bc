package revocation

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/field"
)

func good() Config {
	return Config{
		Keep: time.Hour, ReceiverAddress: ":8443", ReceiverTLS: TLS{"cert", "key"}, BackchannelLogout: []string{here},
		Events: []Transmitter{
			{Transmitter: here, Issuer: here, Audience: gate, Delivery: DeliveryPush, PushTokenFile: "token"},
			{
				Transmitter: elsewhere + "/ssf", Issuer: elsewhere, Audience: gate, Delivery: DeliveryPoll,
				PollEndpoint: elsewhere + "/poll?stream=1", PollTokenFile: "token",
			},
		},
	}
}

func strict() []Issuer {
	return []Issuer{{Issuer: here, ClientID: "app"}, {Issuer: elsewhere}}
}

func TestMistakesInTheConfiguration(t *testing.T) {
	if err := good().Validate(strict()); err != nil || len(good().Warnings()) != 0 {
		t.Fatalf("got %v and %v, want a good one", err, good().Warnings())
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string // part of the only mistake
	}{
		"keep too short":              {func(c *Config) { c.Keep = time.Second - 1 }, "keep: "},
		"no address for push":         {func(c *Config) { c.ReceiverAddress, c.BackchannelLogout = "", nil }, "receiver_address: missing"},
		"no address for logout":       {func(c *Config) { c.ReceiverAddress, c.Events = "", nil }, "receiver_address: missing"},
		"no address":                  {func(c *Config) { c.ReceiverAddress = "here" }, "receiver_address: got"},
		"certificate without key":     {func(c *Config) { c.ReceiverTLS.KeyFile = "" }, "receiver_tls: "},
		"key without certificate":     {func(c *Config) { c.ReceiverTLS.CertFile = "" }, "receiver_tls: "},
		"logout of a stranger":        {func(c *Config) { c.BackchannelLogout[0] = "https://x" }, "backchannel_logout[0]: "},
		"logout without client_id":    {func(c *Config) { c.BackchannelLogout[0] = elsewhere }, "client_id"},
		"logout twice":                {func(c *Config) { c.BackchannelLogout = []string{here, here} }, "backchannel_logout[1]: "},
		"events of a stranger":        {func(c *Config) { c.Events[0].Issuer = "https://x" }, "events[0].issuer: "},
		"transmitter by http":         {func(c *Config) { c.Events[0].Transmitter = "http://x" }, "events[0].transmitter: "},
		"transmitter on loopback":     {func(c *Config) { c.Events[0].Transmitter = "http://127.0.0.1" }, "insecure_http"},
		"transmitter with a query":    {func(c *Config) { c.Events[0].Transmitter += "?x" }, "events[0].transmitter: "},
		"no transmitter":              {func(c *Config) { c.Events[0].Transmitter = "" }, "events[0].transmitter: "},
		"transmitter twice":           {func(c *Config) { c.Events[1].Transmitter = c.Events[0].Transmitter }, "events[1].transmitter: "},
		"no audience":                 {func(c *Config) { c.Events[0].Audience = "" }, "events[0].audience: "},
		"another delivery":            {func(c *Config) { c.Events[0].Delivery = "pull" }, "events[0].delivery: "},
		"poll without endpoint":       {func(c *Config) { c.Events[1].PollEndpoint = "" }, "events[1].poll_endpoint: "},
		"poll by http":                {func(c *Config) { c.Events[1].PollEndpoint = "http://x" }, "events[1].poll_endpoint: "},
		"poll with a token for push":  {func(c *Config) { c.Events[1].PushTokenFile = "x" }, "events[1].push_token_file: "},
		"push with an endpoint":       {func(c *Config) { c.Events[0].PollEndpoint = elsewhere }, "events[0].poll_endpoint: "},
		"push with a token for polls": {func(c *Config) { c.Events[0].PollTokenFile = "x" }, "events[0].poll_token_file: "},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			all := field.List(c.Validate(strict()))
			if len(all) != 1 || !strings.Contains(all[0].Error(), tc.want) {
				t.Errorf("got %v, want one with %q", all, tc.want)
			}
		})
	}
	polls := good()
	polls.Events, polls.BackchannelLogout, polls.ReceiverAddress = polls.Events[1:], nil, ""
	if err := polls.Validate(strict()); err != nil {
		t.Errorf("polls need no listener: %v", err)
	}
	loopback := good()
	loopback.Events[0].Transmitter = "http://127.0.0.1:8080"
	if err := loopback.Validate([]Issuer{{Issuer: here, ClientID: "x", InsecureHTTP: true}, {Issuer: elsewhere}}); err != nil {
		t.Errorf("loopback of an issuer with insecure_http: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	c := good()
	c.Events[0].PushTokenFile, c.ReceiverTLS = "", TLS{}
	if got := c.Warnings(); len(got) != 2 || !strings.Contains(got[0], "push_token_file") || !strings.Contains(got[1], "receiver_tls") {
		t.Errorf("got %v", got)
	}
	c.ReceiverAddress = "127.0.0.1:8443"
	if got := c.Warnings(); len(got) != 1 {
		t.Errorf("on loopback: got %v", got)
	}
}

func TestKeysHaveDefaults(t *testing.T) {
	var c Config
	field.SetDefaults(reflect.ValueOf(&c).Elem())
	if c.Keep != 24*time.Hour {
		t.Errorf("got %s, want a day", c.Keep)
	}
	var names []string
	for _, k := range slices.Concat(field.Keys(reflect.TypeFor[Config]()), field.Keys(reflect.TypeFor[Transmitter]())) {
		if names = append(names, k.Name); k.Doc == "" {
			t.Errorf("%s has no description", k.Name)
		}
	}
	want := strings.Fields("keep receiver_address receiver_tls events backchannel_logout " +
		"transmitter issuer audience delivery push_token_file poll_endpoint poll_token_file")
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestCredentials(t *testing.T) {
	for content, want := range map[string]string{
		"token": "token", "token\n": "token", "token\r\n": "token", "Basic dXNlcg==": "Basic dXNlcg==",
		"": "", "\n": "", " token": "", "token ": "", "token\n\n": "", "to\tken": "", "tök": "", "Bearer token": "", "bearer token": "",
	} {
		got, err := parseCredential([]byte(content))
		if got.text != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", content, got.text, err, want)
		}
		if text := fmt.Sprintf("%v %+v %#v %s %q", got, got, got, got, got); want != "" && strings.Contains(text, want) {
			t.Errorf("%q prints as %s", content, text)
		}
	}
	c := good()
	c.Events = c.Events[:1]
	c.Events[0].PushTokenFile = file(t, "")
	_, err := NewReceiver(c, ReceiverOptions{Set: NewSet(Options{}), Issuers: issuers(), Log: slog.Default()})
	if err == nil || !strings.Contains(err.Error(), "events[0]") {
		t.Errorf("got %v, want the mistake in events[0]", err)
	}
}
