package shared_test

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkOnceHit(b *testing.B) {
	f := newFleet(b, startRedis(b).address)
	s := f.up()
	value := make([]byte, 500)
	for i := range 64 {
		_, _, err := s.Once(b.Context(), "s", keyOf(i), nil,
			func(context.Context) ([]byte, time.Duration, error) { return value, time.Hour, nil })
		if err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, own, err := s.Once(b.Context(), "s", keyOf(int(n.Add(1)%64)), nil, nil)
			if own || err != nil {
				b.Errorf("got own %t, %v", own, err)
			}
		}
	})
}

func BenchmarkOnceMade(b *testing.B) {
	f := newFleet(b, startRedis(b).address)
	s := f.up()
	value := make([]byte, 500)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			var key [32]byte
			_, _ = rand.Read(key[:])
			_, _, err := s.Once(b.Context(), "s", key, nil,
				func(context.Context) ([]byte, time.Duration, error) { return value, time.Minute, nil })
			if err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkClaim(b *testing.B) {
	f := newFleet(b, startRedis(b).address)
	s := f.up()
	until := time.Now().Add(time.Minute)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			var key [32]byte
			_, _ = rand.Read(key[:])
			if first, err := s.Claim(b.Context(), key, until); !first || err != nil {
				b.Errorf("got %t, %v", first, err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	f := newFleet(b, startRedis(b).address)
	s := f.up()
	entry := make([]byte, 150)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !s.Append(b.Context(), entry) {
				b.Error("not shared")
			}
		}
	})
}
