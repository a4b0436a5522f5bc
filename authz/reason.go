package authz

import "net/http"

// Reason is why a request passed or did not. The list is closed: metric label,
// log attribute and `explain` use the same words (docs/contract.md §4). The zero
// value is [Internal], which denies.
type Reason uint8

// The reasons.
const (
	Internal Reason = iota // ours to mend
	Allowed
	Public
	Metadata // a protected-resource document
	NoToken
	BadRequest
	MalformedToken
	UnsupportedAlgorithm
	WrongType
	UnknownKey
	BadSignature
	WrongIssuer
	WrongAudience
	Expired
	NotYetValid
	Inactive
	Revoked
	WrongBinding
	InvalidProof // RFC 9449
	UseNonce     // RFC 9449 §8
	InsufficientScope
	InsufficientAuthentication // RFC 9470
	ExchangeRefused            // no token for the upstream
	Forbidden
	Unavailable
	Misconfigured

	reasons // how many
)

// The error codes of RFC 6750 §3.1, RFC 9470 §3, and RFC 9449 §7.1 and §8.
const (
	errInvalidRequest             = "invalid_request"
	errInvalidToken               = "invalid_token"
	errInsufficientScope          = "insufficient_scope"
	errInsufficientAuthentication = "insufficient_user_authentication"
	errInvalidProof               = "invalid_dpop_proof"
	errUseNonce                   = "use_dpop_nonce"
)

// answer is what a client is told: fixed texts, nothing of the request.
type answer struct {
	word        string
	status      int
	challenge   bool   // a WWW-Authenticate goes with it
	code        string // error of the challenge
	bodyCode    string // error of the body, where there is no code
	description string
}

// answers returns the one table from reasons to responses.
func answers() [reasons]answer {
	invalid := func(word, description string) answer {
		return answer{
			word: word, status: http.StatusUnauthorized,
			challenge: true, code: errInvalidToken, description: description,
		}
	}
	return [reasons]answer{
		Internal: {
			word: "internal", status: http.StatusInternalServerError,
			bodyCode: "server_error", description: "The request could not be authorized",
		},
		Allowed:  {word: "allowed", status: http.StatusOK},
		Public:   {word: "public", status: http.StatusOK},
		Metadata: {word: "metadata", status: http.StatusOK},
		NoToken: {
			word: "no_token", status: http.StatusUnauthorized,
			challenge: true, bodyCode: "unauthorized", description: "An access token is required",
		},
		BadRequest: {
			word: "bad_request", status: http.StatusBadRequest,
			challenge: true, code: errInvalidRequest, description: "The request is malformed",
		},
		MalformedToken: invalid("malformed_token", "The access token is malformed"),
		UnsupportedAlgorithm: invalid("unsupported_algorithm",
			"The access token is signed with an algorithm that is not accepted"),
		WrongType:     invalid("wrong_type", "The token is not an access token"),
		UnknownKey:    invalid("unknown_key", "The access token is signed with an unknown key"),
		BadSignature:  invalid("bad_signature", "The signature of the access token is wrong"),
		WrongIssuer:   invalid("wrong_issuer", "The access token is from an issuer that is not accepted here"),
		WrongAudience: invalid("wrong_audience", "The access token is meant for another audience"),
		Expired:       invalid("expired", "The access token expired"),
		NotYetValid:   invalid("not_yet_valid", "The access token is not yet valid"),
		Inactive:      invalid("inactive", "The access token is not active"),
		Revoked:       invalid("revoked", "The access token was revoked"),
		WrongBinding: invalid("wrong_binding",
			"The access token is bound to a key or certificate in a way that is not accepted"),
		InvalidProof: {
			word: "invalid_proof", status: http.StatusUnauthorized,
			challenge: true, code: errInvalidProof, description: "The DPoP proof is missing or not acceptable",
		},
		UseNonce: {
			word: "use_nonce", status: http.StatusUnauthorized,
			challenge: true, code: errUseNonce, description: "The DPoP proof needs the nonce of this answer",
		},
		InsufficientScope: {
			word: "insufficient_scope", status: http.StatusForbidden,
			challenge: true, code: errInsufficientScope, description: "The access token lacks a scope that is needed",
		},
		InsufficientAuthentication: {
			word: "insufficient_user_authentication", status: http.StatusUnauthorized,
			challenge: true, code: errInsufficientAuthentication,
			description: "A different or more recent authentication is needed",
		},
		ExchangeRefused: {
			word: "exchange_refused", status: http.StatusForbidden,
			bodyCode: "access_denied", description: "The upstream's token is not given for this access token",
		},
		Forbidden: {
			word: "forbidden", status: http.StatusForbidden,
			bodyCode: "access_denied", description: "The request is not allowed",
		},
		Unavailable: {
			word: "unavailable", status: http.StatusServiceUnavailable,
			bodyCode: "temporarily_unavailable", description: "The request cannot be authorized at the moment",
		},
		Misconfigured: {
			word: "misconfigured", status: http.StatusInternalServerError,
			bodyCode: "server_error", description: "The request could not be authorized",
		},
	}
}

var table = answers() //nolint:gochecknoglobals // never changed

func (r Reason) answer() answer {
	if r >= reasons {
		return table[Internal]
	}
	return table[r]
}

// String returns the reason's word.
func (r Reason) String() string { return r.answer().word }

// Status returns the HTTP status of the response; 200 where the request passes.
func (r Reason) Status() int { return r.answer().status }

// Outcome is what becomes of a request. The zero value denies.
type Outcome uint8

// The outcomes.
const (
	Deny  Outcome = iota // the client gets the reason's status
	Allow                // the request goes on to the upstream
	Serve                // Bearergate itself answers, with a protected-resource document
)

// String returns the label that metrics use.
func (o Outcome) String() string { return [...]string{Deny: "deny", Allow: "allow", Serve: "serve"}[o] }

// Outcome says what the reason leads to; every place that tells allow, serve and
// deny apart asks here.
func (r Reason) Outcome() Outcome {
	switch r {
	case Allowed, Public:
		return Allow
	case Metadata:
		return Serve
	}
	return Deny
}

// Error returns the error code and its text, for the body of a deny.
func (r Reason) Error() (code, description string) {
	a := r.answer()
	if a.code != "" {
		return a.code, a.description
	}
	return a.bodyCode, a.description
}

// Reasons returns every reason.
func Reasons() []Reason {
	all := make([]Reason, reasons)
	for i := range all {
		all[i] = Reason(i) //nolint:gosec // there are few
	}
	return all
}
