package binding

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// rfc8705 is the certificate of RFC 8705, appendix A.
const rfc8705 = "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsG" +
	"A1UEAwwEbXRsczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ/Au08/coZwxS7LfA4vOLS9WuneIXhb" +
	"GGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUaKlLR" +
	"50Q2DmFfQj1L+SY="

const rfc8705Thumbprint = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"

// rfc9440 is the client's certificate of RFC 9440, appendix A.
const rfc9440 = "MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVk" +
	"aWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgm" +
	"nMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjL" +
	"a38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCC" +
	"qGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk="

func der(t testing.TB, standard string) []byte {
	t.Helper()
	content, err := base64.StdEncoding.DecodeString(standard)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestExamplesOfTheRFCs(t *testing.T) {
	for name, encode := range map[string]func(string) string{
		// Envoy leaves unreserved characters and slashes, and escapes the rest.
		"as Envoy does": func(s string) string { return strings.ReplaceAll(url.PathEscape(s), "%2F", "/") },
		"every escape":  url.PathEscape,
		"no escape":     func(s string) string { return s },
	} {
		if got, err := ThumbprintOfPeer(encode(pemOf(der(t, rfc8705)))); err != nil || got != rfc8705Thumbprint {
			t.Errorf("%s: got %q, %v; want %s", name, got, err, rfc8705Thumbprint)
		}
	}
	if got, err := ThumbprintOfHeader(":" + rfc8705 + ":"); err != nil || got != rfc8705Thumbprint {
		t.Errorf("got %q, %v; want %s", got, err, rfc8705Thumbprint)
	}
	if got, err := ThumbprintOfHeader(":" + rfc9440 + ":"); err != nil || got != thumbprint(der(t, rfc9440)) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPeerCertificates(t *testing.T) {
	one, two := pemOf(der(t, rfc8705)), pemOf(der(t, rfc9440))
	plus := newCertificate(t, func(der []byte) bool {
		return strings.Contains(base64.StdEncoding.EncodeToString(der), "+")
	})
	for name, tc := range map[string]struct{ text, want string }{
		"the first of two":           {url.PathEscape(one + two), thumbprint(der(t, rfc8705))},
		"a plus that is not escaped": {strings.ReplaceAll(url.PathEscape(pemOf(plus)), "%2B", "+"), thumbprint(plus)},
		"escapes in lower case":      {strings.ToLower("%2D") + url.PathEscape(one)[1:], thumbprint(der(t, rfc8705))},
		"an expired one":             {url.PathEscape(two), thumbprint(der(t, rfc9440))}, // Envoy's business
	} {
		if got, err := ThumbprintOfPeer(tc.text); err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v; want %s", name, got, err, tc.want)
		}
	}
	for name, text := range map[string]string{
		"none":                    "",
		"a space":                 " ",
		"broken escape":           "%2",
		"escape of no hex":        strings.Replace(url.PathEscape(one), "%20", "%2G", 1),
		"pluses for spaces":       url.QueryEscape(one),
		"text before":             "x" + one,
		"a line before":           "\n" + one,
		"a private key":           strings.ReplaceAll(one, "CERTIFICATE", "PRIVATE KEY"),
		"a private key before":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("k")})) + one,
		"no end":                  strings.Replace(one, "END", "AND", 1),
		"another end":             strings.Replace(one, "END CERTIFICATE", "END PRIVATE KEY", 1),
		"no certificate":          pemOf([]byte("certificate")),
		"empty":                   pemOf(nil),
		"bytes after it":          pemOf(append(der(t, rfc8705), 0)),
		"two in one block":        pemOf(append(der(t, rfc8705), der(t, rfc9440)...)),
		"half":                    pemOf(der(t, rfc8705)[:200]),
		"DER":                     string(der(t, rfc8705)),
		"header of RFC 9440":      ":" + rfc9440 + ":",
		"more than 64 KiB":        url.PathEscape(one) + strings.Repeat("%0A", 22000),
		"Subject of XFCC":         `Hash=abc;Cert="` + url.PathEscape(one) + `"`,
		"broken, then a good one": pemOf([]byte("certificate")) + one,
		"no base64, then one":     strings.Replace(one, "MII", "M!I", 1) + two,
		"cut off, then one":       one[:100] + "\n" + two,
	} {
		if got, err := ThumbprintOfPeer(text); got != "" || !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestHeaderCertificates(t *testing.T) {
	want := thumbprint(der(t, rfc9440))
	for name, value := range map[string]string{
		"spaces around":   "  :" + rfc9440 + ": ",
		"without padding": ":" + strings.TrimRight(rfc9440, "=") + ":", // RFC 8941 §4.2.7
	} {
		if got, err := ThumbprintOfHeader(value); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %s", name, got, err, want)
		}
	}
	for name, value := range map[string]string{
		"none":                "",
		"empty":               "::",
		"a colon":             ":",
		"no colons":           rfc9440,
		"no colon at the end": ":" + rfc9440,
		"two fields":          ":" + rfc9440 + ":, :" + rfc9440 + ":",
		"two in one":          ":" + rfc9440 + "::" + rfc9440 + ":",
		"comma":               ":" + rfc9440 + ":,",
		"parameter":           ":" + rfc9440 + ":;a=1",
		"a string":            `"` + rfc9440 + `"`,
		"a tab before":        "\t:" + rfc9440 + ":",
		"space inside":        ":" + rfc9440[:8] + " " + rfc9440[8:] + ":",
		"line break inside":   ":" + rfc9440[:8] + "\n" + rfc9440[8:] + ":",
		"too much padding":    ":" + rfc9440 + "==:",
		"padding inside":      ":" + rfc9440[:8] + "=" + rfc9440[8:] + ":",
		"base64url":           ":" + base64.URLEncoding.EncodeToString(der(t, rfc9440)) + ":",
		"PEM":                 ":" + pemOf(der(t, rfc9440)) + ":",
		"URL-encoded":         url.QueryEscape(":" + rfc9440 + ":"),
		"bytes after it":      ":" + base64.StdEncoding.EncodeToString(append(der(t, rfc9440), 0)) + ":",
		"no certificate":      ":Y2VydGlmaWNhdGU=:",
		"more than 64 KiB":    ":" + rfc9440 + ":" + strings.Repeat(" ", 64<<10),
	} {
		if got, err := ThumbprintOfHeader(value); got != "" || !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// newCertificate makes some until one is as wanted.
func newCertificate(t *testing.T, wanted func([]byte) bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(1000) {
		template := &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now()}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		if wanted(der) {
			return der
		}
	}
	t.Fatal("no certificate is as wanted")
	return nil
}
