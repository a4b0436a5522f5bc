package lint

import (
	"fmt"
	"net"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// service is whom a filter asks.
type service struct {
	at      *node // grpc_service
	message *corev3.GrpcService
}

const protocolOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// checkServices looks at the clusters that filters ask, each once.
func (l *linter) checkServices() error {
	seen := map[string]bool{}
	for _, s := range l.services {
		if google := s.message.GetGoogleGrpc(); google != nil {
			if google.GetChannelCredentials() == nil && !isHere(hostOf(google.GetTargetUri())) {
				l.add("BG012", Warning, s.at.near("google_grpc"),
					"google_grpc without channel_credentials: tokens go in plain text")
			}
			continue
		}
		name := s.message.GetEnvoyGrpc().GetClusterName()
		if seen[name] {
			continue
		}
		seen[name] = true
		n := l.clusters[name]
		if n == nil {
			l.note(s.at.near("envoy_grpc", "cluster_name"), fmt.Sprintf("the cluster %s is not among the files", name))
			continue
		}
		if err := l.checkCluster(n, s); err != nil {
			return err
		}
	}
	return nil
}

func hostOf(target string) string {
	target = target[strings.LastIndexByte(target, '/')+1:]
	if host, _, err := net.SplitHostPort(target); err == nil {
		return host
	}
	return target
}

func (l *linter) checkCluster(n *node, s service) error {
	c := new(clusterv3.Cluster)
	if err := decode(n, c); err != nil {
		return err
	}
	l.checked.add("cluster")
	if ok, at, err := speaksHTTP2(n, c); err != nil {
		return err
	} else if !ok {
		l.add("BG012", Error, at, fmt.Sprintf("cluster %s does not speak HTTP/2", c.GetName()))
	}
	hosts, seen := endpoints(c)
	if c.GetEdsClusterConfig() != nil || c.GetType() == clusterv3.Cluster_EDS || !seen {
		return nil // the control plane looks after what it names
	}
	away := ""
	for _, host := range hosts {
		if !isHere(host) {
			away = host
		}
	}
	if away == "" {
		return nil
	}
	if c.GetTransportSocket() == nil && len(c.GetTransportSocketMatches()) == 0 {
		severity := Warning
		if isInner(away) {
			severity = Info
		}
		l.add("BG012", severity, n,
			fmt.Sprintf("tokens go to %s in plain text: right only where nobody else is on that network", away))
	} else if n.get("transport_socket") != nil && !verifies(n.get("transport_socket")) {
		l.add("BG012", Warning, n.get("transport_socket"),
			fmt.Sprintf("nobody verifies the certificate of %s: no validation_context", away))
	}
	if len(c.GetHealthChecks()) == 0 && c.GetOutlierDetection() == nil {
		severity := Warning
		if s.at.get("retry_policy") != nil || s.at.get("envoy_grpc", "retry_policy") != nil {
			severity = Info // another replica is asked
		}
		l.add("BG012", severity, n, fmt.Sprintf("cluster %s has no health_checks", c.GetName()))
	}
	return nil
}

// verifies says whether a TLS transport socket looks at whom it talks to. Others than
// TLS are not judged.
func verifies(socket *node) bool {
	config := socket.get("typed_config")
	if typeOf(config) != "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext" {
		return true
	}
	common := config.get("common_tls_context")
	for _, field := range []string{
		"validation_context", "validation_context_sds_secret_config", "combined_validation_context",
		"validation_context_certificate_provider_instance",
	} {
		if common.get(field) != nil {
			return true
		}
	}
	return false
}

// speaksHTTP2 looks for HTTP/2 where it is configured today, and where it was before.
func speaksHTTP2(n *node, c *clusterv3.Cluster) (ok bool, at *node, err error) {
	at = n
	options := n.get("typed_extension_protocol_options").member(protocolOptions)
	if options == nil {
		return c.GetHttp2ProtocolOptions() != nil, at, nil //nolint:staticcheck // old files have it, and Envoy takes it
	}
	o := new(upstreamv3.HttpProtocolOptions)
	if err := decode(options, o); err != nil {
		return false, options, err
	}
	explicit := o.GetExplicitHttpConfig()
	ok = explicit.GetHttp2ProtocolOptions() != nil || explicit.GetHttp3ProtocolOptions() != nil ||
		o.GetUseDownstreamProtocolConfig().GetHttp2ProtocolOptions() != nil && o.GetExplicitHttpConfig() == nil ||
		o.GetAutoConfig() != nil
	return ok, options, nil
}

// endpoints returns the hosts of a cluster; seen is false where they are not in it.
func endpoints(c *clusterv3.Cluster) (hosts []string, seen bool) {
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			address := e.GetEndpoint().GetAddress()
			switch {
			case address.GetSocketAddress() != nil:
				hosts, seen = append(hosts, address.GetSocketAddress().GetAddress()), true
			case address.GetPipe() != nil, address.GetEnvoyInternalAddress() != nil:
				seen = true
			}
		}
	}
	return hosts, seen
}

// isHere says whether nothing leaves this machine on the way to a host.
func isHere(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// isInner says whether a name is one that a container network or a cluster gives: its
// traffic may be closed to others, or encrypted by a mesh.
func isInner(host string) bool {
	if net.ParseIP(host) != nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".svc") || strings.Contains(host, ".svc.")
}
