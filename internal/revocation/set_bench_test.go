package revocation

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkJudge judges a token with all claims, none of which is revoked, while ten or
// a million others are.
func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{0, 10, MaxEntries} {
		s := full(b, n)
		subject := alice
		subject.Email = "alice@example.com"
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s.Judge(subject) != Good {
					b.Fatal("revoked")
				}
			}
		})
	}
}

// BenchmarkAdd adds a revocation to a million, so that the oldest goes.
func BenchmarkAdd(b *testing.B) {
	s := full(b, MaxEntries)
	i := 0
	for b.Loop() {
		i++
		_, _ = s.Add(b.Context(), Revocation{Issuer: here, Kind: KindSub, Value: fmt.Sprint("more-", i)})
	}
}

// BenchmarkStart reads a million revocations from the log, as a replica that starts.
func BenchmarkStart(b *testing.B) {
	var entries [][]byte
	for entry := range full(b, MaxEntries).Snapshot() {
		entries = append(entries, entry)
	}
	for b.Loop() {
		before := heapBytes()
		s := NewSet(Options{})
		began := time.Now()
		for _, entry := range entries {
			s.Take(entry, began)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/start")
		b.ReportMetric(float64(heapBytes()-before)/float64(s.Len()), "bytes/entry")
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
