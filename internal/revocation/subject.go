package revocation

import (
	"slices"
	"strings"

	"github.com/bearergate/bearergate/internal/strictjws"
)

// subjects reads whom an event is about (RFC 9493, Shared Signals Framework 1.0 §3). It
// never guesses: an event that is about somebody else, or about less than all of a
// user, must not be taken for one about all of him, or none.
type subjects struct {
	issuer   string   // whose users it is about, and nobody else's
	critical []string // members that must be understood
}

// read returns what is to be revoked, without the time.
func (s subjects) read(o strictjws.Object) (Revocation, error) {
	if format(o) == "complex" {
		return s.complex(o)
	}
	return s.simple(o)
}

// format returns the name of the kind of identifier. Before RFC 9493 was one, it was
// called subject_type, and had dashes (RFC 8417 and RFC 8935 have an example).
func format(o strictjws.Object) string {
	if value := o.Get("format"); value != "" {
		name, _ := value.Text()
		return name
	}
	name, _ := o.Get("subject_type").Text()
	return strings.ReplaceAll(name, "-", "_")
}

func (s subjects) simple(o strictjws.Object) (Revocation, error) {
	switch format(o) {
	case "iss_sub":
		return s.ofIssuer(o, KindSub, "sub")
	case "jwt_id":
		return s.ofIssuer(o, KindJTI, "jti")
	case "opaque":
		return s.of(o, KindSub, "id")
	case "email":
		return s.of(o, KindEmail, "email")
	}
	return Revocation{}, refused(codeRequest, "a subject of this format is not understood")
}

func (s subjects) of(o strictjws.Object, kind Kind, name string) (Revocation, error) {
	value, err := text(o, name)
	return Revocation{Issuer: s.issuer, Kind: kind, Value: value}, err
}

// ofIssuer is [subjects.of] of what names the issuer, which must be the one that the
// transmitter may speak for.
func (s subjects) ofIssuer(o strictjws.Object, kind Kind, name string) (Revocation, error) {
	issuer, err := text(o, "iss")
	if err != nil {
		return Revocation{}, err
	}
	if issuer != s.issuer {
		return Revocation{}, refused(codeDenied, "the subject is another issuer's")
	}
	return s.of(o, kind, name)
}

// allSessions is what Keycloak (26.7) names instead of a session when an administrator
// ends all that a user has. Taken for the name of one it would revoke nothing.
const allSessions = "ALL"

// complex reads a subject of several members, which all describe the same one: a user,
// a session, or a session of a user. Other members would narrow that down, and are not
// looked at: tokens do not tell of devices, so more is revoked, never less. Those that
// the transmitter calls critical must not be left out.
func (s subjects) complex(o strictjws.Object) (Revocation, error) {
	var user, session Revocation
	for _, m := range o.Members {
		var err error
		switch {
		case m.Name == "format" || m.Name == "subject_type":
		case m.Name == "user":
			user, err = s.user(m.Value)
		case m.Name == "session":
			session, err = s.session(m.Value)
		case slices.Contains(s.critical, m.Name):
			err = refused(codeRequest, "a critical member of the subject is not understood")
		}
		if err != nil {
			return Revocation{}, err
		}
	}
	switch {
	case session.Kind == 0 && user.Kind == 0:
		return Revocation{}, refused(codeRequest, "the subject has neither user nor session")
	case session.Kind == 0, user.Kind != 0 && session.Value == allSessions:
		return user, nil
	case user.Kind == 0:
		return session, nil
	}
	kind := KindSession
	if user.Kind == KindEmail {
		kind = KindEmailSession
	}
	return Revocation{Issuer: s.issuer, Kind: kind, Value: session.Value, And: user.Value}, nil
}

func (s subjects) user(value strictjws.Value) (Revocation, error) {
	o, err := object("user", value)
	if err != nil {
		return Revocation{}, err
	}
	user, err := s.simple(o)
	if err == nil && user.Kind != KindSub && user.Kind != KindEmail {
		err = refused(codeRequest, "a user of this format is not understood")
	}
	return user, err
}

// session wants the identifier that tokens have as sid.
func (s subjects) session(value strictjws.Value) (Revocation, error) {
	o, err := object("session", value)
	if err != nil {
		return Revocation{}, err
	}
	if format(o) != "opaque" {
		return Revocation{}, refused(codeRequest, "a session of this format is not understood")
	}
	return s.of(o, KindSID, "id")
}
