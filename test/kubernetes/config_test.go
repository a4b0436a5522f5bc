package kubernetes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const etc = "/etc/bearergate/"

var mounted = regexp.MustCompile(regexp.QuoteMeta(etc) + `[^\s"',}]+`)

// TestConfigurationIsAccepted hands each rendered configuration to the real
// binary, with the files at hand that the Deployment mounts, and no others.
func TestConfigurationIsAccepted(t *testing.T) {
	for _, name := range cases(t) {
		if name == "existing-config-map" {
			continue // its configuration is somebody else's
		}
		t.Run(name, func(t *testing.T) {
			all := objects(t, name)
			pod := find[appsv1.Deployment](t, all).Spec.Template.Spec
			config := configuration(t, all, pod)
			dir := t.TempDir()
			for _, file := range mounted.FindAllString(config, -1) {
				if !isMounted(pod, file) {
					t.Errorf("%s: no volume is mounted there", file)
				}
				write(t, filepath.Join(dir, file), content(t, file))
			}
			path := filepath.Join(dir, "bearergate.yaml")
			write(t, path, strings.ReplaceAll(config, etc, dir+etc))
			setEnv(t, pod)
			if out, errs, err := execute(filepath.Join(binaries, "bearergate"), "validate", "--config", path); err != nil {
				t.Errorf("%v\n%s%s", err, out, errs)
			}
		})
	}
}

// TestConfigurationIsVerbatim compares the mounted file with the value.
func TestConfigurationIsVerbatim(t *testing.T) {
	for name, config := range map[string]string{
		"comments":         "# first\n\nrealm: a # last\n",
		"no last newline":  "realm: a",
		"many newlines":    "realm: a\n\n\n",
		"templates":        "realm: '{{ .Release.Name }}'\n",
		"other characters": "realm: 'a\"b\\c $${D} é'\n",
		"leading space":    "  realm: a\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "bearergate.yaml")
			write(t, file, config)
			out, errs, err := template("--set-file", "config="+file)
			if err != nil {
				t.Fatalf("%v: %s", err, errs)
			}
			all, err := decode(out)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				if c, ok := o.(*corev1.ConfigMap); ok && c.Data["bearergate.yaml"] != config {
					t.Errorf("%s: got %q, want %q", c.Name, c.Data["bearergate.yaml"], config)
				}
			}
			configuration(t, all, find[appsv1.Deployment](t, all).Spec.Template.Spec)
		})
	}
}

// configuration returns the file that the container is started with.
func configuration(t *testing.T, all []any, pod corev1.PodSpec) string {
	t.Helper()
	want := "serve --config " + etc + "config/bearergate.yaml"
	if got := strings.Join(pod.Containers[0].Args[:3], " "); got != want {
		t.Fatalf("got arguments %q, want %q", got, want)
	}
	for _, v := range pod.Volumes {
		if v.Name != "config" {
			continue
		}
		for _, o := range all {
			if c, ok := o.(*corev1.ConfigMap); ok && c.Name == v.ConfigMap.Name {
				return c.Data["bearergate.yaml"]
			}
		}
	}
	t.Fatal("no configuration is mounted")
	return ""
}

// isMounted says whether a volume holds file, and picks it if it picks keys.
func isMounted(pod corev1.PodSpec, file string) bool {
	for _, m := range pod.Containers[0].VolumeMounts {
		key, ok := strings.CutPrefix(file, m.MountPath+"/")
		if !ok {
			continue
		}
		for _, v := range pod.Volumes {
			if v.Name == m.Name {
				return v.Secret == nil || picks(v.Secret.Items, key)
			}
		}
	}
	return false
}

func picks(items []corev1.KeyToPath, key string) bool {
	for _, i := range items {
		if i.Path == key {
			return true
		}
	}
	return len(items) == 0
}

// setEnv sets what the container gets besides the runtime's own variables.
func setEnv(t *testing.T, pod corev1.PodSpec) {
	for _, e := range pod.Containers[0].Env {
		if !strings.HasPrefix(e.Name, "GO") {
			t.Setenv(e.Name, e.Value)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// content is what a mounted file of that name would hold.
func content(t *testing.T, file string) string {
	t.Helper()
	certificate, key := pair(t, "gate-bearergate")
	switch filepath.Ext(file) {
	case ".crt":
		return certificate
	case ".key":
		return key
	case ".json":
		return `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	}
	return "a-secret-of-at-least-thirty-two-bytes\n"
}

// keyOfTests signs every certificate here: one pair, whichever file asks.
var keyOfTests, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

// pair returns a self-signed certificate and its key, as PEM.
func pair(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	from := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, from, from, keyOfTests.Public(), keyOfTests)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(keyOfTests)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, content []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", private)
}
