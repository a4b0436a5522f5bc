package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/bearergate/bearergate/internal/strictjws"
)

// typeSET is the media type of security events, without "application/" (RFC 8417 §2.3).
const typeSET = "secevent+jwt"

// effect is what an event does.
type effect uint8

const (
	effectNone   effect = iota // it is acknowledged
	effectRevoke               // tokens of the subject are revoked
	effectDrop                 // cached facts about the subject are dropped
	effectAnswer               // it is about the stream, and wants an answer only
)

// Where the types of events begin.
const (
	ssf  = "https://schemas.openid.net/secevent/ssf/event-type/"
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
)

func effectOf(event string) effect {
	switch event {
	case caep + "session-revoked", caep + "credential-change",
		risc + "account-disabled", risc + "account-purged", risc + "sessions-revoked",
		risc + "account-credential-change-required":
		return effectRevoke
	case caep + "token-claims-change", caep + "assurance-level-change", caep + "device-compliance-change":
		return effectDrop
	case ssf + "verification", eventStreamUpdated:
		return effectAnswer
	}
	return effectNone
}

const eventStreamUpdated = ssf + "stream-updated"

// found is a security event token that is genuine.
type found struct {
	jti    string
	effect effect
	event  string       // its type; empty: none that is known here
	status string       // of stream-updated
	all    []Revocation // what it revokes or drops: one, or none
	issued time.Time    // iat
}

// setReader reads the tokens of one transmitter.
type setReader struct {
	Transmitter

	issuer   Issuer
	keys     Keys
	critical func() ([]string, error) // members of subjects
	now      func() time.Time
}

// read judges a token by RFC 8417 §2, and by what the Shared Signals Framework 1.0 §4
// wants besides. Until the signature is verified nobody knows who sent it; then all
// that is wrong is the transmitter's mistake.
func (s *setReader) read(ctx context.Context, raw string) (found, error) {
	jws, err := parse(raw, s.issuer.Algorithms)
	if err != nil {
		return found{}, err
	}
	if err := s.checkKind(jws); err != nil {
		return found{}, err
	}
	if err := verify(ctx, jws, s.keys); err != nil {
		return found{}, err
	}
	f, err := s.readClaims(jws.Claims)
	var wrong *refusal
	if errors.As(err, &wrong) {
		wrong.signed = true
	}
	return f, err
}

// checkKind tells events from the other tokens that the same keys sign, and looks at
// whose they are.
func (s *setReader) checkKind(jws *strictjws.JWS) error {
	if jws.Header.Type != typeSET {
		return refused(codeRequest, "typ is not "+typeSET)
	}
	if issuer, ok := jws.Claims.Get("iss").Text(); !ok || issuer != s.Transmitter.Transmitter {
		return refused(codeIssuer, "iss is not this transmitter")
	}
	for _, name := range [...]string{"sub", "exp"} { // Shared Signals Framework 1.0 §4.1.3
		if jws.Claims.Get(name) != "" {
			return refused(codeRequest, name+" must not be there")
		}
	}
	return nil
}

func (s *setReader) readClaims(claims strictjws.Object) (found, error) {
	if err := checkAudience(claims, s.Audience); err != nil {
		return found{}, err
	}
	var f found
	var err error
	if f.jti, err = text(claims, "jti"); err != nil {
		return found{}, err
	}
	if f.issued, err = date(claims, "iat"); err != nil {
		return found{}, err
	}
	events, err := object("events", claims.Get("events"))
	if err != nil {
		return found{}, err
	}
	payload, err := f.choose(events)
	if err != nil {
		return found{}, err
	}
	switch f.effect {
	case effectAnswer:
		f.status = streamStatus(payload)
	case effectRevoke, effectDrop:
		r, err := s.revocation(claims, payload, f)
		if err != nil {
			return found{}, err
		}
		f.all = []Revocation{r}
	case effectNone:
	}
	return f, nil
}

// streamStatus reads what a stream-updated event says. Keycloak (26.7) has an object there
// that has the status, among others.
func streamStatus(payload strictjws.Object) string {
	value := payload.Get("status")
	if o, err := object("status", value); err == nil {
		value = o.Get("status")
	}
	status, _ := value.Text()
	return status
}

// choose finds the event that something is done about. Several types may be there only
// if they are names of the very same event (Shared Signals Framework 1.0 §4.2.1), which
// nobody can tell of those that are not known. A token with none that is known is
// acknowledged, whatever it has.
func (f *found) choose(events strictjws.Object) (payload strictjws.Object, err error) {
	if len(events.Members) == 0 {
		return payload, refused(codeRequest, "there is no event")
	}
	for _, m := range events.Members {
		content, err := object("an event", m.Value)
		if err != nil {
			return payload, err
		}
		if does := effectOf(m.Name); does != effectNone {
			f.effect, f.event, payload = does, m.Name, content
		}
	}
	if f.effect != effectNone && len(events.Members) > 1 {
		return payload, refused(codeRequest, "more than one event")
	}
	return payload, nil
}

// revocation returns what an event revokes or drops.
func (s *setReader) revocation(claims, payload strictjws.Object, f found) (Revocation, error) {
	r, err := s.subject(claims, payload)
	if err != nil {
		return Revocation{}, err
	}
	r.Source = SourceSSF
	r.Before = f.issued
	if payload.Get("event_timestamp") != "" {
		if r.Before, err = date(payload, "event_timestamp"); err != nil {
			return Revocation{}, err
		}
	}
	now := s.now()
	// What has not happened yet cannot be told, unless clocks differ: else a mistake
	// (milliseconds, say) would lock a user out for good.
	if latest := now.Add(s.issuer.ClockSkew); r.Before.After(latest) {
		r.Before = latest
	}
	if f.effect == effectDrop {
		// What was learnt since the event may have come from a server that did not
		// know of it yet: asking once more costs little.
		r.Facts = true
		if r.Before.Before(now) {
			r.Before = now
		}
	}
	return r, nil
}

// subject finds whom an event is about: in sub_id of the token, or, as CAEP and RISC had
// it before, in subject of the event (Shared Signals Framework 1.0 §3.1.1). If both are
// there, they must be the same one.
func (s *setReader) subject(claims, payload strictjws.Object) (Revocation, error) {
	critical, err := s.critical()
	if err != nil {
		return Revocation{}, errors.Join(errNoKeys, err)
	}
	reader := subjects{s.Issuer, critical}
	var all []Revocation
	for _, value := range [...]strictjws.Value{claims.Get("sub_id"), payload.Get("subject")} {
		if value == "" {
			continue
		}
		o, err := object("the subject", value)
		if err != nil {
			return Revocation{}, err
		}
		r, err := reader.read(o)
		if err != nil {
			return Revocation{}, err
		}
		all = append(all, r)
	}
	switch {
	case len(all) == 0:
		return Revocation{}, refused(codeRequest, "there is no subject")
	case len(all) == 2 && all[0] != all[1]:
		return Revocation{}, refused(codeRequest, "sub_id and subject are not the same one")
	}
	return all[0], nil
}
