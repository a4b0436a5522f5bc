package cluster

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// serveDNS answers for the names of Services, SERVICE.NAMESPACE.svc.cluster.local,
// by what the API server says at that moment. No other name exists.
func (s *apiServer) serveDNS(ctx context.Context, conn net.PacketConn) {
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var query dnsmessage.Message
		if query.Unpack(buffer[:n]) != nil || len(query.Questions) != 1 {
			continue
		}
		if answer, err := s.answer(ctx, query); err == nil {
			_, _ = conn.WriteTo(answer, from) // else it asks again
		}
	}
}

func (s *apiServer) answer(ctx context.Context, query dnsmessage.Message) ([]byte, error) {
	question := query.Questions[0]
	query.Response, query.Authoritative, query.Additionals = true, true, nil
	addresses := s.lookup(ctx, question.Name.String())
	if len(addresses) == 0 {
		query.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range addresses {
		if question.Type == dnsmessage.TypeA {
			query.Answers = append(query.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	return query.Pack()
}

// lookup returns the address of a Service, or those of its Pods where it is headless.
func (s *apiServer) lookup(ctx context.Context, name string) []netip.Addr {
	service, zone, _ := strings.Cut(strings.ToLower(name), ".")
	namespace, isService := strings.CutSuffix(zone, ".svc.cluster.local.")
	if !isService {
		return nil
	}
	content, err := s.get(ctx, "/api/v1/namespaces/"+namespace+"/services/"+service)
	if err != nil {
		return nil
	}
	var found struct{ Spec struct{ ClusterIP string } }
	if json.Unmarshal(content, &found) != nil {
		return nil
	}
	if address, err := netip.ParseAddr(found.Spec.ClusterIP); err == nil {
		return []netip.Addr{address}
	}
	return s.endpoints(ctx, namespace, service)
}

// endpoints returns the addresses of the ready Pods of a Service.
func (s *apiServer) endpoints(ctx context.Context, namespace, service string) []netip.Addr {
	selector := url.Values{"labelSelector": {"kubernetes.io/service-name=" + service}}.Encode()
	content, err := s.get(ctx, "/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices?"+selector)
	if err != nil {
		return nil
	}
	var slices struct {
		Items []struct {
			Endpoints []struct {
				Addresses  []netip.Addr
				Conditions struct{ Ready bool }
			}
		}
	}
	if json.Unmarshal(content, &slices) != nil {
		return nil
	}
	var ready []netip.Addr
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready {
				ready = append(ready, endpoint.Addresses...)
			}
		}
	}
	return ready
}
