package envoy

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const watchEvery = time.Second

// health is grpc.health.v1 of readiness as it is at the moment of asking.
type health struct {
	healthv1.UnimplementedHealthServer

	serving  func() bool
	stopping <-chan struct{} // ends every Watch, which would else hold up the stop
}

func known(service string) bool {
	return service == "" || service == authv3.Authorization_ServiceDesc.ServiceName
}

func (h *health) status() healthv1.HealthCheckResponse_ServingStatus {
	if h.serving() {
		return healthv1.HealthCheckResponse_SERVING
	}
	return healthv1.HealthCheckResponse_NOT_SERVING
}

// Check implements grpc.health.v1.
func (h *health) Check(_ context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if !known(r.GetService()) {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthv1.HealthCheckResponse{Status: h.status()}, nil
}

// Watch implements grpc.health.v1: the status now, and each change of it.
func (h *health) Watch(
	r *healthv1.HealthCheckRequest, stream grpc.ServerStreamingServer[healthv1.HealthCheckResponse],
) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := healthv1.HealthCheckResponse_UNKNOWN
	for {
		now := healthv1.HealthCheckResponse_SERVICE_UNKNOWN
		if known(r.GetService()) {
			now = h.status()
		}
		if now != last {
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-h.stopping:
			return status.Error(codes.Unavailable, "stopping")
		case <-tick.C:
		}
	}
}
