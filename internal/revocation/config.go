package revocation

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/safehttp"
)

// The values of [Transmitter.Delivery].
const (
	DeliveryPush = "push" // RFC 8935
	DeliveryPoll = "poll" // RFC 8936
)

// Config is the section revocation, which switches revocation on.
type Config struct {
	Keep              time.Duration `key:"keep" default:"24h" min:"1s" doc:"How long a revocation is remembered: at least the longest lifetime of a token."`
	ReceiverAddress   string        `key:"receiver_address" doc:"Listener for pushed events and logout tokens, host:port; needed by these."`
	ReceiverTLS       TLS           `key:"receiver_tls" doc:"Certificate of that listener; empty: plain text, behind what terminates TLS."`
	Events            []Transmitter `key:"events" doc:"Transmitters of Shared Signals (SSF 1.0: CAEP, RISC), one entry each."`
	BackchannelLogout []string      `key:"backchannel_logout" doc:"Issuers whose OpenID Connect logout tokens are taken at POST /backchannel-logout. Their aud must be that issuer's client_id."`
}

// TLS is the certificate of the receiver, re-read when it changes.
type TLS struct {
	CertFile string `key:"cert_file" doc:"PEM certificate chain; re-read when it changes."`
	KeyFile  string `key:"key_file" doc:"PEM private key; re-read when it changes."`
}

// Transmitter is one that sends security events.
type Transmitter struct {
	Transmitter   string `key:"transmitter,required" doc:"The issuer of its events, compared byte for byte; its keys are found by /.well-known/ssf-configuration."`
	Issuer        string `key:"issuer,required" doc:"Whose tokens its events concern: a configured issuer."`
	Audience      string `key:"audience,required" doc:"What aud of its events must have."`
	Delivery      string `key:"delivery" default:"push" oneof:"push|poll" doc:"push: it sends (RFC 8935), POST /events on the receiver address. poll: it is asked (RFC 8936)."`
	PushTokenFile string `key:"push_token_file" doc:"File with the Authorization value that it sends, without Bearer; re-read when it changes. Empty: the signature alone says who sent."`
	PollEndpoint  string `key:"poll_endpoint" doc:"Where it is asked."`
	PollTokenFile string `key:"poll_token_file" doc:"File with the token that we send there; re-read when it changes."`
}

// Issuer is what of a configured issuer is needed here: transmitters are reached in
// the same trust as the issuer that they speak for.
type Issuer struct {
	Issuer, ClientID, CAFile  string
	InsecureHTTP              bool
	Algorithms                []string // of signatures
	ClockSkew, RequestTimeout time.Duration
	Intervals                 discovery.Intervals // of the transmitter's keys
}

// Validate reports every mistake at once, each a [*field.Error]. It wants to know all
// configured issuers.
func (c Config) Validate(issuers []Issuer) error {
	errs := []error{field.Check(c), c.ReceiverTLS.validate(), c.checkAddress()}
	for n, t := range c.Events {
		at := fmt.Sprintf("events[%d]", n)
		errs = append(errs, field.Under(at, t.validate(issuers)))
		same := func(o Transmitter) bool { return o.Transmitter == t.Transmitter }
		if slices.ContainsFunc(c.Events[:n], same) {
			errs = append(errs, field.Errorf(at+".transmitter", "%q is there already, want one entry each", t.Transmitter))
		}
	}
	for n, issuer := range c.BackchannelLogout {
		at := fmt.Sprintf("backchannel_logout[%d]", n)
		configured, ok := find(issuers, issuer)
		switch {
		case !ok:
			errs = append(errs, field.Errorf(at, "%q is not a configured issuer", issuer))
		case configured.ClientID == "":
			errs = append(errs, field.Errorf(at, "the issuer needs a client_id: the aud of its logout tokens must be it"))
		case slices.Contains(c.BackchannelLogout[:n], issuer):
			errs = append(errs, field.Errorf(at, "%q is there already", issuer))
		}
	}
	return errors.Join(errs...)
}

// Receives says whether something needs the receiver's listener.
func (c Config) Receives() bool {
	push := func(t Transmitter) bool { return t.Delivery == DeliveryPush }
	return len(c.BackchannelLogout) > 0 || slices.ContainsFunc(c.Events, push)
}

func (c Config) checkAddress() error {
	if c.ReceiverAddress == "" {
		if c.Receives() {
			return field.Errorf("receiver_address", "missing: push and backchannel_logout need a listener")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(c.ReceiverAddress)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return field.Errorf("receiver_address", "got %q, want host:port", c.ReceiverAddress)
	}
	return nil
}

func (t TLS) validate() error {
	if (t.CertFile == "") == (t.KeyFile == "") {
		return nil
	}
	return field.Errorf("receiver_tls", "cert_file and key_file are needed together")
}

func (t Transmitter) validate(issuers []Issuer) error {
	errs := []error{field.Check(t)}
	issuer, ok := find(issuers, t.Issuer)
	if !ok {
		errs = append(errs, field.Errorf("issuer", "%q is not a configured issuer", t.Issuer))
	}
	switch err := safehttp.CheckURL(t.Transmitter, issuer.InsecureHTTP); {
	case err != nil:
		errs = append(errs, field.Errorf("transmitter", "%w", err))
	case strings.Contains(t.Transmitter, "?"):
		errs = append(errs, field.Errorf("transmitter", "has a query, want none"))
	}
	if t.Audience == "" {
		errs = append(errs, field.Errorf("audience", "missing: the aud of its events must have it"))
	}
	return errors.Join(append(errs, t.checkDelivery(issuer))...)
}

func (t Transmitter) checkDelivery(issuer Issuer) error {
	if t.Delivery != DeliveryPoll {
		var errs []error
		if t.PollEndpoint != "" {
			errs = append(errs, field.Errorf("poll_endpoint", "given with delivery %s", t.Delivery))
		}
		if t.PollTokenFile != "" {
			errs = append(errs, field.Errorf("poll_token_file", "given with delivery %s", t.Delivery))
		}
		return errors.Join(errs...)
	}
	var errs []error
	if t.PushTokenFile != "" {
		errs = append(errs, field.Errorf("push_token_file", "given with delivery poll"))
	}
	if t.PollEndpoint == "" {
		errs = append(errs, field.Errorf("poll_endpoint", "missing: delivery poll needs it"))
	} else if err := safehttp.CheckURL(t.PollEndpoint, issuer.InsecureHTTP); err != nil {
		errs = append(errs, field.Errorf("poll_endpoint", "%w", err))
	}
	return errors.Join(errs...)
}

// Warnings says what is allowed and unwise.
func (c Config) Warnings() []string {
	var all []string
	for n, t := range c.Events {
		if t.Delivery == DeliveryPush && t.PushTokenFile == "" {
			all = append(all, fmt.Sprintf("revocation.events[%d] has no push_token_file: "+
				"anybody may send, and only signatures tell who did", n))
		}
	}
	if c.Receives() && c.ReceiverTLS.CertFile == "" && !loopback(c.ReceiverAddress) {
		all = append(all, "revocation.receiver_tls is not set: what is sent to the receiver travels in the clear, "+
			"unless something in front of it terminates TLS")
	}
	return all
}

func loopback(address string) bool {
	u := url.URL{Scheme: "http", Host: address}
	return safehttp.CheckURL(u.String(), true) == nil
}

func find(issuers []Issuer, name string) (Issuer, bool) {
	i := slices.IndexFunc(issuers, func(i Issuer) bool { return i.Issuer == name })
	if i < 0 {
		return Issuer{}, false
	}
	return issuers[i], true
}
