package binding

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const lifetime = time.Minute

func replayOf(key, jti string, issued time.Time) Replay {
	return Replay{sha256.Sum256([]byte(key)), sha256.Sum256([]byte(key + jti)), issued, issued.Add(lifetime)}
}

// claim expects no error.
func claim(t *testing.T, m *Memory, r Replay, want bool) {
	t.Helper()
	got, err := m.Claim(t.Context(), r)
	if err != nil || got != want {
		t.Fatalf("got %t, %v; want %t", got, err, want)
	}
}

func refuse(t *testing.T, m *Memory, r Replay, want error) {
	t.Helper()
	if first, err := m.Claim(t.Context(), r); first || !errors.Is(err, want) {
		t.Fatalf("got %t, %v; want %v", first, err, want)
	}
}

// TestRememberedForAsLongAsItCouldPass asks again in every second: nothing is forgotten
// too early, and all of it soon after.
func TestRememberedForAsLongAsItCouldPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for start := range 20 { // wherever the generations begin
			m := NewMemory(1000, nil)
			r := replayOf("k", fmt.Sprint(start), time.Now())
			claim(t, m, r, true)
			for range 70 {
				claim(t, m, r, false) // also once it is too old for any check
				time.Sleep(time.Second)
			}
			time.Sleep(generationTime)
			if m.Len() != 0 {
				t.Errorf("%d are still remembered", m.Len())
			}
			time.Sleep(time.Duration(start) * 731 * time.Millisecond)
		}
	})
}

// TestFullIsNeverFirst: who fills the memory must not make proofs good for twice.
func TestFullIsNeverFirst(t *testing.T) { // P-10
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(1000, nil)
		for i := range 1000 {
			claim(t, m, replayOf(fmt.Sprint(i), "", time.Now()), true)
		}
		for i := range 100 {
			refuse(t, m, replayOf(fmt.Sprint(1000+i), "", time.Now()), errFull)
			claim(t, m, replayOf(fmt.Sprint(i), "", time.Now()), false)
		}
		if m.Len() != 1000 {
			t.Errorf("got %d", m.Len())
		}
		time.Sleep(lifetime + generationTime)
		claim(t, m, replayOf("another", "", time.Now()), true)
		if m.Len() != 1 {
			t.Errorf("got %d", m.Len())
		}
	})
}

// TestFewPlacesToLookAt: whoever spreads iat over all that may pass does not make it
// slow to tell whether a proof was used.
func TestFewPlacesToLookAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for maxAge, most := range map[time.Duration]int{time.Second: 7, time.Minute: 11, 10 * time.Minute: 10} {
			m := NewMemory(1_000_000, nil)
			for ahead := -maxAge; ahead <= maxAge+30*time.Second; ahead += time.Second {
				issued := time.Now().Add(ahead)
				r := replayOf("k", fmt.Sprint(ahead), issued)
				r.Until = issued.Add(maxAge + time.Nanosecond)
				claim(t, m, r, true)
			}
			if got := len(m.generations); got > most {
				t.Errorf("max_age %s: got %d generations, want at most %d", maxAge, got, most)
			}
		}
	})
}

// TestOneKeyFillsATenth, in whichever generations its proofs are.
func TestOneKeyFillsATenth(t *testing.T) { // P-10
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(1000, nil)
		for i := range 100 {
			claim(t, m, replayOf("greedy", fmt.Sprint(i), time.Now().Add(time.Duration(i%50)*time.Second)), true)
		}
		refuse(t, m, replayOf("greedy", "more", time.Now()), errFullOfKey)
		claim(t, m, replayOf("greedy", "1", time.Now()), false)
		claim(t, m, replayOf("modest", "1", time.Now()), true)
		time.Sleep(lifetime + generationTime) // of those that were issued first
		claim(t, m, replayOf("greedy", "more", time.Now()), true)
	})
}

// TestIdleMemory: after a pause of hours nothing is in the way of the next one.
func TestIdleMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(1000, nil)
		for range 3 {
			for i := range 100 {
				claim(t, m, replayOf("k", fmt.Sprint(i), time.Now()), true)
			}
			time.Sleep(5 * time.Hour)
		}
	})
}

func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(2000, nil)
		for i := range 1500 {
			claim(t, m, replayOf(fmt.Sprint(i), "", time.Now()), true)
		}
		m.Resize(1000)
		for i := range 1500 {
			claim(t, m, replayOf(fmt.Sprint(i), "", time.Now()), false)
		}
		refuse(t, m, replayOf("new", "", time.Now()), errFull)
		m.Resize(1501)
		claim(t, m, replayOf("new", "", time.Now()), true)
		refuse(t, m, replayOf("newer", "", time.Now()), errFull)
	})
}

// TestLongerWindow: a reload that raises max_age does not let a proof pass again that was
// too old before, and is not remembered any more.
func TestLongerWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(1000, nil)
		issued := time.Now()
		claim(t, m, replayOf("k", "j", issued), true)
		time.Sleep(2 * lifetime) // it is forgotten
		longer := func(r Replay) Replay { r.Until = r.Issued.Add(10 * lifetime); return r }
		claim(t, m, longer(replayOf("k", "j", issued)), false)
		claim(t, m, longer(replayOf("k", "fresh", time.Now())), true)
		claim(t, m, longer(replayOf("k", "j", issued)), false)
		claim(t, m, longer(replayOf("k", "recent", time.Now().Add(-lifetime/2))), true)
		time.Sleep(10 * lifetime)
		claim(t, m, longer(replayOf("k", "older", time.Now().Add(-9*lifetime))), true) // the window is open by then
	})
}

// TestConcurrentClaims: of each proof one is the first, while the bound changes.
func TestConcurrentClaims(t *testing.T) {
	m := NewMemory(100_000, nil)
	var first atomic.Int64
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			for i := range 200 {
				ok, err := m.Claim(context.Background(), replayOf(fmt.Sprint(i), "", time.Now()))
				if err != nil {
					t.Error(err)
				}
				if ok {
					first.Add(1)
				}
				m.Resize(100_000 + i)
			}
		})
	}
	wait.Wait()
	if first.Load() != 200 || m.Len() != 200 {
		t.Errorf("got %d, %d remembered; want 200", first.Load(), m.Len())
	}
}

// TestBytesOfAProof holds the package to the size that Memory says.
func TestBytesOfAProof(t *testing.T) {
	const proofs = 200_000
	for keys, most := range map[int]uint64{100: 60, proofs: 130} {
		m := NewMemory(10_000_000, nil)
		heap := heapAlloc()
		for i := range proofs {
			key := fmt.Sprint(i % keys)
			if ok, err := m.Claim(t.Context(), replayOf(key, fmt.Sprint(i), time.Now())); err != nil || !ok {
				t.Fatal(ok, err)
			}
		}
		got := (heapAlloc() - heap) / proofs
		runtime.KeepAlive(m)
		t.Logf("%d keys: %d bytes a proof", keys, got)
		if got > most {
			t.Errorf("%d keys: got %d bytes a proof, want at most %d", keys, got, most)
		}
	}
}

func heapAlloc() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func BenchmarkClaim(b *testing.B) {
	m := NewMemory(1<<30, nil)
	var n atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var r Replay
		for pb.Next() {
			i := n.Add(1)
			for at := range 8 {
				r.Proof[at], r.Key[at] = byte(i>>(8*at)), byte(i>>(8*at)>>3)
			}
			r.Issued = time.Now()
			r.Until = r.Issued.Add(lifetime)
			if ok, err := m.Claim(b.Context(), r); err != nil || !ok {
				b.Fatal(ok, err)
			}
		}
	})
}
