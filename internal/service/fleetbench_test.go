package service_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bearergate/bearergate/internal/revocation"
)

// BenchmarkShared is a warm check alone, with a store, and while others are revoked.
func BenchmarkShared(b *testing.B) {
	as := newIssuer(b)
	token := as.JWT(claims{"sub": "alice", "aud": "api", "client_id": "app", "scope": "orders:read orders:write"})
	request, err := proto.Marshal(check(token))
	if err != nil {
		b.Fatal(err)
	}
	store := startRedis(b)
	for _, bm := range []struct {
		name, more string
		revoked    int
	}{
		{"alone", "", 0}, {"store", sharing(b, store), 0}, {"revoked", sharing(b, store), 10_000},
	} {
		b.Run(bm.name, func(b *testing.B) {
			svc := newService(b, configuration(b, as.URL(), rules+bm.more))
			for n := range bm.revoked {
				_, err := svc.Revoke(b.Context(), revocation.Revocation{
					Issuer: as.URL(), Kind: revocation.KindSub, Value: time.Duration(n).String(), Source: revocation.SourceAdmin,
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			if got := reason(b, svc, token); got != "allowed" {
				b.Fatalf("got %s", got)
			}
			room := make([]byte, 0, 4<<10)
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				if _, err := svc.Checks().Answer(context.Background(), request, room[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
