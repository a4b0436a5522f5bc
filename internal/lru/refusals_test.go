package lru

import (
	"errors"
	"testing"
	"time"
)

func TestRefusals(t *testing.T) { // I-23
	entries, bytes := Split(1000, 1<<20)
	if entries != [2]int{900, 100} || bytes[0]+bytes[1] != 1<<20 || bytes[1] != (1<<20)/10 {
		t.Errorf("got %v entries and %v bytes, want a tenth of each for refusals", entries, bytes)
	}
	if entries, _ := Split(1, 1<<20); entries != [2]int{1, 1} {
		t.Errorf("got %v entries, want one of each", entries)
	}
	said, now := errors.New("no"), time.Unix(1000, 0)
	r := NewRefusals(entries[1], bytes[1])
	r.Add(Key{1}, said, now.Add(time.Second))
	if got := r.Find(Key{1}, now); !errors.Is(got, said) {
		t.Errorf("got %v, want %v", got, said)
	}
	if got := r.Find(Key{1}, now.Add(time.Second)); got != nil {
		t.Errorf("got %v after its time", got)
	}
	if got := r.Find(Key{2}, now); got != nil {
		t.Errorf("got %v about what nothing was said of", got)
	}
	r.Add(Key{2}, said, now.Add(time.Minute))
	if r.Sweep(now.Add(time.Second)); r.Len() != 1 || r.Bytes() == 0 {
		t.Errorf("got %d of %d bytes, want the one that still holds", r.Len(), r.Bytes())
	}
	if r.Remove(Key{2}); r.Len() != 0 || r.Bytes() != 0 {
		t.Errorf("got %d of %d bytes, want none", r.Len(), r.Bytes())
	}
	for n := range 1000 {
		r.Add(Key{byte(n), byte(n >> 8)}, said, now)
	}
	if r.Len() > entries[1] || r.Bytes() > bytes[1] {
		t.Errorf("got %d of %d bytes, want at most %d of %d", r.Len(), r.Bytes(), entries[1], bytes[1])
	}
}
