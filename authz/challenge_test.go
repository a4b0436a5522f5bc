package authz

import (
	"testing"
	"time"
)

func TestChallenge(t *testing.T) { // B-03…B-07
	c := challenge{realm: "r", scopes: []string{"a", "b"}, acrValues: []string{"x", "y"}, maxAge: time.Minute}
	resource := c
	resource.resourceMetadata = "https://h/.well-known/oauth-protected-resource"
	for _, tc := range []struct {
		c      challenge
		reason Reason
		want   string
	}{
		{c, NoToken, `Bearer realm="r"`},
		{c, BadRequest, `Bearer realm="r", error="invalid_request", error_description="The request is malformed"`},
		{c, Expired, `Bearer realm="r", error="invalid_token", error_description="The access token expired"`},
		{c, InsufficientScope, `Bearer realm="r", error="insufficient_scope", error_description="The access token lacks a scope that is needed", scope="a b"`},
		{c, InsufficientAuthentication, `Bearer realm="r", error="insufficient_user_authentication", error_description="A different or more recent authentication is needed", acr_values="x y", max_age="60"`},
		{resource, NoToken, `Bearer realm="r", scope="a b", resource_metadata="https://h/.well-known/oauth-protected-resource"`},
	} {
		if got := tc.c.header(bearerScheme, tc.reason, tc.reason.answer().code); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.reason, got, tc.want)
		}
	}
}

func TestZeroDecisionDenies(t *testing.T) {
	var d Decision
	if d.Reason.Outcome() != Deny || d.Reason.String() != "internal" || Reason(200).Outcome() != Deny ||
		Reason(200).Status() != 500 {
		t.Errorf("got %v", d.Reason)
	}
}
