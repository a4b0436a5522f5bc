// Package headername knows the names of the headers that the service itself sets, reads
// or removes: which it may have, and in how many spellings a name may reach an upstream.
// What a condition may read it does not decide.
package headername

import (
	"errors"
	"fmt"
	"strings"
)

// MaxSeparators bounds the dashes and underscores of a name: each one doubles the
// spellings that have to be removed.
const MaxSeparators = 5

// Dashed is the one spelling by which names are compared.
func Dashed(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// Spellings returns name with every mixture of dashes and underscores: Envoy
// may hide those with underscores from us, and upstreams may take them for the
// name itself (E-04, A-10). A name that is refused for having too many has its own only.
func Spellings(name string) []string {
	if strings.Count(Dashed(name), "-") > MaxSeparators {
		return []string{name}
	}
	all := []string{""}
	for i := range len(name) {
		c := name[i]
		if c != '-' && c != '_' {
			for j := range all {
				all[j] += string(c)
			}
			continue
		}
		for _, s := range all[:len(all):len(all)] {
			all = append(all, s+"_")
		}
		for j := range len(all) / 2 {
			all[j] += "-"
		}
	}
	return all
}

// Check refuses what would break or re-route a request, or has a meaning of its own: a
// header of ours is set or removed on every request.
func Check(name string) error {
	dashed := Dashed(name)
	for i := range len(dashed) {
		if c := dashed[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return errors.New("want letters, digits, dashes and underscores only")
		}
	}
	if strings.Count(dashed, "-") > MaxSeparators {
		return fmt.Errorf("want at most %d dashes and underscores together", MaxSeparators)
	}
	for _, prefix := range []string{"x-envoy-", "proxy-", "sec-", "access-control-", "content-", "if-", "accept"} {
		if strings.HasPrefix(dashed, prefix) {
			return fmt.Errorf("names that begin with %s are not allowed", prefix)
		}
	}
	switch dashed {
	case "":
		return errors.New("is empty")
	case "host", "authorization", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "via",
		"expect", "range", "cookie", "set-cookie", "forwarded", "date", "age", "cache-control", "pragma", "origin", "referer",
		"location", "http2-settings", "x-request-id", "x-real-ip", "x-original-url", "x-original-method", "x-rewrite-url",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix",
		"x-forwarded-path", "x-forwarded-uri", "x-forwarded-method", "x-forwarded-scheme", "x-forwarded-server",
		"x-forwarded-ssl", "x-forwarded-client-cert", "x-http-method-override", "x-method-override", "x-http-method",
		"traceparent", "tracestate", "www-authenticate", "dpop", "user-agent", "alt-svc", "grpc-timeout":
		return errors.New("is a header that would break or re-route the request")
	}
	return nil
}
