package revocation

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// TestExamplesOfTheSpecifications has the events that the specifications show, as they
// show them, but for iss and aud, which are ours, and iss of subjects, where it is that
// of the sender. What our profile refuses of them (Shared Signals Framework 1.0 §4.1) is
// said.
func TestExamplesOfTheSpecifications(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		code   string // of the refusal; empty: it is accepted
		result string
	}{
		"RFC 8417 and 8936, SCIM": {`{
			"jti":"4d3559ec67504aaba65d40b0363faad8","iat":1458496404,"iss":"https://scim.example.com",
			"aud":["https://scim.example.com/Feeds/98d52461fa5bbc879593b7754","https://scim.example.com/Feeds/5d7604516b1d08641d7676ee7"],
			"events":{"urn:ietf:params:scim:event:create":{"ref":"https://scim.example.com/Users/44f6142df96bd6ab61e7521d9",
			"attributes":["id","name","userName","password","emails"]}}}`, "", ResultIgnored},
		"RFC 8417 and 8936, two names of an event, and sub": {`{
			"jti":"3d0c3cf797584bd193bd0fb1bd4e7d30","iat":1458496025,"iss":"https://scim.example.com",
			"aud":["https://jhub.example.com/Feeds/98d52461fa5bbc879593b7754","https://jhub.example.com/Feeds/5d7604516b1d08641d7676ee7"],
			"sub":"https://scim.example.com/Users/44f6142df96bd6ab61e7521d9",
			"events":{"urn:ietf:params:scim:event:passwordReset":{"id":"44f6142df96bd6ab61e7521d9"},
			"https://example.com/scim/event/passwordResetExt":{"resetAttempts":5}}}`, codeRequest, ResultRefused},
		"the same without sub": {`{
			"jti":"3d0c3cf797584bd193bd0fb1bd4e7d30","iat":1458496025,"iss":"https://scim.example.com","aud":"x",
			"events":{"urn:ietf:params:scim:event:passwordReset":{"id":"44f6142df96bd6ab61e7521d9"},
			"https://example.com/scim/event/passwordResetExt":{"resetAttempts":5}}}`, "", ResultIgnored},
		"RFC 8417, logout, which is no event of ours": {`{
			"iss":"https://server.example.com","sub":"248289761001","aud":"s6BhdRkqt3","iat":1471566154,"jti":"bWJq","sid":"08a5019c-17e1-4977-8f42-65a12843ea02",
			"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`, codeRequest, ResultRefused},
		"RFC 8417 and 8935, RISC": {`{
			"iss":"https://idp.example.com/","jti":"756E69717565206964656E746966696572","iat":1508184845,"aud":"636C69656E745F6964",
			"events":{"https://schemas.openid.net/secevent/risc/event-type/account-disabled":{
			"subject":{"subject_type":"iss-sub","iss":"https://auth.example.com","sub":"7375626A656374"},"reason":"hijacking"}}}`, "", ResultRevoked},
		"SSF, account enabled": {`{
			"iss":"https://idp.example.com/","jti":"756E69717565206964656E746966696572","iat":1520364019,"txn":"8675309","aud":"636C69656E745F6964",
			"sub_id":{"format":"email","email":"foo@example.com"},
			"events":{"https://schemas.openid.net/secevent/risc/event-type/account-enabled":{}}}`, "", ResultIgnored},
		"SSF, phone number, which tokens do not have": {`{
			"iss":"https://idp.example.com/","jti":"756E69717565206964656E746966696572","iat":1520364019,"txn":"8675309","aud":"636C69656E745F6964",
			"sub_id":{"format":"phone_number","phone_number":"+1 206 555 0123"},
			"events":{"https://schemas.openid.net/secevent/risc/event-type/account-disabled":{"reason":"hijacking"}}}`, codeRequest, ResultRefused},
		"SSF, token claims change": {`{
			"iss":"https://idp.example.com/","jti":"756E69717565206964656E746966696572","iat":1520364019,"txn":"8675309","aud":"636C69656E745F6964",
			"sub_id":{"format":"email","email":"user@example.com"},
			"events":{"https://schemas.openid.net/secevent/caep/event-type/token-claims-change":{"claims":{"token":"some-token-value"}}}}`, "", ResultDropped},
		"SSF, own format": {`{
			"iss":"https://myservice.example3.com/","jti":"756E69717565206964656E746966696534","iat":15203800012,"txn":"8675309","aud":"636C69656E745F6324",
			"sub_id":{"format":"catalog_item","catalog_id":"c0384/winter/2354122"},
			"events":{"https://schemas.openid.net/secevent/caep/event-type/token-claims-change":{"event_timestamp":1600975810,"claims":{"role":"ro-admin"}}}}`, codeRequest, ResultRefused},
		"SSF, verification": {`{
			"jti":"123456","iss":"https://transmitter.example.com","aud":"receiver.example.com","iat":1493856000,
			"sub_id":{"format":"opaque","id":"f67e39a0a4d34d56b3aa1bc4cff0069f"},
			"events":{"https://schemas.openid.net/secevent/ssf/event-type/verification":{"state":"VGhpcyBpcyBhbiBleGFtcGxlIHN0YXRlIHZhbHVlLgo="}}}`, "", ResultAnswered},
		"SSF, stream updated": {`{
			"jti":"123456","iss":"https://transmitter.example.com","aud":"receiver.example.com","iat":1493856000,
			"sub_id":{"format":"opaque","id":"f67e39a0a4d34d56b3aa1bc4cff0069f"},
			"events":{"https://schemas.openid.net/secevent/ssf/event-type/stream-updated":{"status":"paused","reason":"Internal error"}}}`, "", ResultAnswered},
		"CAEP §3.1, simple": {`{
			"iss":"https://idp.example.com/123456789/","jti":"24c63fb56e5a2d77a6b512616ca9fa24","iat":1615305159,"aud":"https://sp.example.com/caep","txn":"8675309",
			"sub_id":{"format":"opaque","id":"dMTlD|1600802906337.16|16008.16"},
			"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{"event_timestamp":1615304991}}}`, "", ResultRevoked},
		"CAEP §3.1, session of a user": {`{
			"iss":"https://idp.example.com/123456789/","jti":"24c63fb56e5a2d77a6b512616ca9fa24","iat":1615305159,"aud":"https://sp.example.com/caep","txn":"8675309",
			"sub_id":{"format":"complex","session":{"format":"opaque","id":"dMTlD|1600802906337.16|16008.16"},
			"user":{"format":"iss_sub","iss":"https://auth.example.com","sub":"99beb27c-c1c2-4955-882a-e0dc4996fcbc"},"tenant":{"format":"opaque","id":"123456789"}},
			"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{"initiating_entity":"policy",
			"reason_admin":{"en":"Landspeed Policy Violation: C076E82F"},"reason_user":{"en":"Access attempt from multiple regions."},
			"event_timestamp":1615304991}}}`, "", ResultRevoked},
		"CAEP §3.1, user, device and tenant": {`{
			"iss":"https://idp.example.com/123456789/","jti":"24c63fb56e5a2d77a6b512616ca9fa24","iat":1615305159,"aud":"https://sp.example.com/caep","txn":"8675309",
			"sub_id":{"format":"complex","user":{"format":"iss_sub","iss":"https://auth.example.com","sub":"jane.smith@example.com"},
			"device":{"format":"iss_sub","iss":"https://auth.example.com","sub":"e9297990-14d2-42ec-a4a9-4036db86509a"},"tenant":{"format":"opaque","id":"123456789"}},
			"events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{"initiating_entity":"policy",
			"reason_user":{"en":"This device is no longer compliant.","it":"Questo dispositivo non è più conforme."},"event_timestamp":1615304991}}}`, "", ResultRevoked},
		"CAEP §3.2, one token": {`{
			"iss":"https://idp.example.com/987654321/","jti":"9afce1e4e642b165fcaacdd0e7aa4903","iat":1615305159,"aud":"https://sp.example2.net/caep","txn":"8675309",
			"sub_id":{"format":"jwt_id","iss":"https://auth.example.com","jti":"f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7"},
			"events":{"https://schemas.openid.net/secevent/caep/event-type/token-claims-change":{"event_timestamp":1615304991,"claims":{"role":"ro-admin"}}}}`, "", ResultDropped},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var all claims
			if err := json.Unmarshal([]byte(tc.text), &all); err != nil {
				t.Fatal(err)
			}
			maps.Copy(all, claims{"iss": r.as.name(), "aud": gate})
			want(t, r.push(devissuer.Sign(r.as.key, claims{"typ": "secevent+jwt"}, all)), tc.code)
			if got := r.results(); !slices.Equal(got, []string{tc.result}) {
				t.Errorf("got %v, want %s", got, tc.result)
			}
		})
	}
}
