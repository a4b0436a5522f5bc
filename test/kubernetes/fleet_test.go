package kubernetes

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// TestReceiver: a Service of its own, for a port of its own, of the Pods that decide.
func TestReceiver(t *testing.T) {
	for name, want := range map[string]struct {
		port     int32
		protocol string
		listens  int32
	}{"fleet": {443, "https", 9194}, "fleet-plain": {80, "http", 8080}} {
		all := objects(t, name)
		d := find[appsv1.Deployment](t, all)
		var service *corev1.Service
		for _, o := range all {
			if s, ok := o.(*corev1.Service); ok && s.Name == "gate-bearergate-receiver" {
				service = s
			}
		}
		if service == nil {
			t.Fatalf("%s: no Service of the receiver", name)
		}
		if diff := cmp.Diff(d.Spec.Selector.MatchLabels, service.Spec.Selector); diff != "" {
			t.Errorf("%s: (-Pods +Service)\n%s", name, diff)
		}
		got := service.Spec.Ports
		if len(got) != 1 || got[0].Port != want.port || *got[0].AppProtocol != want.protocol {
			t.Errorf("%s: got ports %+v, want %d, %s", name, got, want.port, want.protocol)
		}
		var listens int32
		for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
			if p.Name == got[0].TargetPort.StrVal {
				listens = p.ContainerPort
			}
		}
		if listens != want.listens {
			t.Errorf("%s: the Service leads to port %d, want %d", name, listens, want.listens)
		}
	}
	for _, o := range objects(t, "minimal") {
		if s, ok := o.(*corev1.Service); ok && strings.HasSuffix(s.Name, "-receiver") {
			t.Errorf("got %s without a receiver", s.Name)
		}
	}
}

// TestPolicyOfStoreAndReceiver: the receiver is for those who are named, the store
// for the ports of its addresses.
func TestPolicyOfStoreAndReceiver(t *testing.T) {
	policy := find[networkingv1.NetworkPolicy](t, objects(t, "fleet"))
	var senders, stores []string
	for _, rule := range policy.Spec.Ingress {
		for _, p := range rule.Ports {
			if p.Port.StrVal == "receiver" {
				senders = append(senders, peers(t, rule.From))
			}
		}
	}
	for _, rule := range policy.Spec.Egress {
		for _, p := range rule.Ports {
			if p.Port.IntVal == 6379 || p.Port.IntVal == 6380 {
				stores = append(stores, p.Port.String()+" "+peers(t, rule.To))
			}
		}
	}
	if diff := cmp.Diff([]string{`[{"ipBlock":{"cidr":"192.0.2.0/24"}}]`}, senders); diff != "" {
		t.Error(diff)
	}
	const at = ` [{"podSelector":{"matchLabels":{"app":"valkey"}},` +
		`"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"cache"}}}]`
	if diff := cmp.Diff([]string{"6380" + at, "6379" + at}, stores); diff != "" {
		t.Error(diff)
	}
}

func peers(t *testing.T, all []networkingv1.NetworkPolicyPeer) string {
	t.Helper()
	content, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestStorePorts are read from addresses as Bearergate reads them.
func TestStorePorts(t *testing.T) {
	for address, want := range map[string][]int32{
		"redis://store":                    {6379},
		"rediss://store:6380":              {6380},
		"valkey://[fd00::1]:7000/":         {7000},
		"valkeys://[fd00::1]":              {6379},
		"[redis://a:7000, redis://b:7000]": {7000},
		"[redis://a:7000, redis://b:7001]": {7000, 7001},
		"unix:///run/store/redis.sock":     nil,
	} {
		if diff := cmp.Diff(want, storePorts(t, address)); diff != "" {
			t.Errorf("%s: %s", address, diff)
		}
	}
	got := storePorts(t, "redis://${STORE}", "networkPolicy.storePorts[0]=7002")
	if diff := cmp.Diff([]int32{7002}, got); diff != "" {
		t.Errorf("a variable: %s", diff)
	}
}

// storePorts are those to which the Pods may connect for the store.
func storePorts(t *testing.T, address string, sets ...string) []int32 {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bearergate.yaml")
	write(t, file, "shared:\n  address: "+address+"\n")
	sets = append(sets, "networkPolicy.enabled=true")
	out, errs, err := template("--set-file", "config="+file, "--set", strings.Join(sets, ","))
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	all, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	var ports []int32
	for _, rule := range find[networkingv1.NetworkPolicy](t, all).Spec.Egress {
		for _, p := range rule.Ports {
			if p.Port.IntVal != 53 && p.Port.IntVal != 443 {
				ports = append(ports, p.Port.IntVal)
			}
		}
	}
	return ports
}

// TestReceiverOfOneReplica is the other side of what is refused: it loses nothing.
func TestReceiverOfOneReplica(t *testing.T) {
	const receives = "revocation: {receiver_address: \":9194\"}"
	for config, set := range map[string]string{
		receives:                "replicaCount=1",
		receives + "\nrealm: a": "autoscaling.enabled=true,autoscaling.minReplicas=1,autoscaling.maxReplicas=1",
		receives + "\nshared: {address: 'redis://a', key_file: /etc/bearergate/shared/key/a}": "replicaCount=9,shared.keySecretName=a",
		"revocation: {keep: 1h}": "replicaCount=9", // each replica can be told by its own admin address
	} {
		render(t, config, "--set", set)
	}
}
