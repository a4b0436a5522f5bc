package lru

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
)

// thing is kept.
type thing struct {
	size   int64
	marked bool
}

func (t thing) Size() int64  { return t.size }
func (t thing) Marked() bool { return t.marked }

func keyOf(n int) Key { return sha256.Sum256(fmt.Append(nil, n)) }

// keysOfShard returns keys that share the first shard's lock.
func keysOfShard(all Shards[thing], count int) []Key {
	var keys []Key
	for n := 0; len(keys) < count; n++ {
		if k := keyOf(n); all.Of(k) == all[0] {
			keys = append(keys, k)
		}
	}
	return keys
}

func TestNumberOfShards(t *testing.T) {
	for _, tc := range []struct {
		entries, want int
		bytes         int64
	}{
		{1, 1, 1}, {63, 1, 1 << 30}, {127, 1, 1 << 30}, {128, 2, 1 << 30}, {100_000, 32, 1 << 30},
		{100_000, 1, 1000}, {100_000, 5, 5 << 20}, {1 << 30, 32, 1 << 40},
	} {
		all := New[thing](tc.entries, tc.bytes)
		if len(all) != tc.want {
			t.Errorf("%d entries of %d bytes: got %d shards, want %d", tc.entries, tc.bytes, len(all), tc.want)
		}
	}
}

func TestKeepsAndForgets(t *testing.T) {
	all := New[thing](1000, 1<<30)
	for n := range 100 {
		all.Of(keyOf(n)).Add(keyOf(n), thing{int64(n), n%4 == 0})
	}
	for n := range 100 {
		if v, ok := all.Of(keyOf(n)).Get(keyOf(n)); !ok || v.size != int64(n) {
			t.Fatalf("%d: got %v, %t", n, v, ok)
		}
	}
	if _, ok := all.Of(keyOf(100)).Get(keyOf(100)); ok {
		t.Error("there is what nobody added")
	}
	all.Of(keyOf(99)).Remove(keyOf(99))
	all.Of(keyOf(99)).Remove(keyOf(99))
	if all.Len() != 99 || all.Bytes() != 98*99/2 {
		t.Errorf("got %d entries of %d bytes", all.Len(), all.Bytes())
	}
	all.Sweep(func(v thing) bool { return v.marked })
	marked := 0
	for _, s := range all {
		_, of := s.Count()
		marked += of
	}
	if all.Len() != 99-25 || marked != 0 {
		t.Errorf("got %d entries, %d marked; want 74 and none", all.Len(), marked)
	}
}

// TestLatestUsedStays: what nobody asks for goes first.
func TestLatestUsedStays(t *testing.T) {
	all := New[thing](3, 1<<30)
	for n := range 3 {
		all[0].Add(keyOf(n), thing{1, true})
	}
	all[0].Get(keyOf(0))
	all[0].Add(keyOf(3), thing{1, false})
	for n, want := range []bool{true, false, true, true} {
		if _, ok := all[0].Get(keyOf(n)); ok != want {
			t.Errorf("%d: got %t, want %t", n, ok, want)
		}
	}
	if entries, marked := all[0].Count(); entries != 3 || marked != 2 {
		t.Errorf("got %d entries, %d marked; want 3 and 2", entries, marked)
	}
}

// TestBytesAreBounded, and counted right when an entry takes the place of another.
func TestBytesAreBounded(t *testing.T) {
	all := New[thing](1000, 100)
	all[0].Add(keyOf(0), thing{60, false})
	all[0].Add(keyOf(0), thing{40, true})
	if all.Bytes() != 40 || all.Len() != 1 {
		t.Errorf("got %d bytes in %d entries, want 40 in one", all.Bytes(), all.Len())
	}
	all[0].Add(keyOf(1), thing{60, false})
	all[0].Add(keyOf(2), thing{1, false})
	if _, ok := all[0].Get(keyOf(0)); ok || all.Bytes() != 61 {
		t.Errorf("got %d bytes, want 61, without the oldest", all.Bytes())
	}
	all[0].Add(keyOf(2), thing{101, false}) // more than all: the entry of before is not true any more
	if _, ok := all[0].Get(keyOf(2)); ok || all.Bytes() != 60 {
		t.Errorf("got %d bytes, want 60", all.Bytes())
	}
	if _, ok := all[0].Get(keyOf(1)); !ok {
		t.Error("what is too large has pushed out another")
	}
}

func TestResize(t *testing.T) {
	all := New[thing](100_000, 32<<20)
	keys := keysOfShard(all, 10)
	for _, k := range keys {
		all[0].Add(k, thing{1000, false})
	}
	all.Resize(32*8, 1<<30)
	if all.Len() != 8 {
		t.Errorf("got %d entries, want 8", all.Len())
	}
	all.Resize(1<<20, 32*5000)
	if all.Len() != 5 || all.Bytes() != 5000 {
		t.Errorf("got %d entries of %d bytes, want 5 of 5000", all.Len(), all.Bytes())
	}
	if _, ok := all[0].Get(keys[9]); !ok {
		t.Error("the latest is gone")
	}
	all.Resize(1, 1<<30) // one each at least
	if all.Len() != 1 {
		t.Errorf("got %d entries, want 1", all.Len())
	}
}

func TestConcurrentUse(t *testing.T) {
	all := New[thing](256, 1<<30)
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for n := range 2000 {
				k := keyOf(n % 500)
				all.Of(k).Add(k, thing{int64(n % 7), n%2 == 0})
				all.Of(k).Get(k)
				switch n % 100 {
				case 0:
					all.Sweep(func(v thing) bool { return v.size == 3 })
				case 50:
					all.Resize(200+g, 1<<30)
				case 75:
					all.Of(k).Remove(k)
				}
			}
		})
	}
	wait.Wait()
	all.Sweep(func(thing) bool { return true })
	marked := 0
	for _, s := range all {
		_, of := s.Count()
		marked += of
	}
	if all.Len() != 0 || all.Bytes() != 0 || marked != 0 {
		t.Errorf("got %d entries of %d bytes, %d marked, want none", all.Len(), all.Bytes(), marked)
	}
}
