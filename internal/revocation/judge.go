package revocation

import "time"

// Generation is another one after each entry that could change a verdict: whoever asks
// for it before [Set.Judge] may keep the verdict as long as it stays the same. That a
// revocation is forgotten does not change it.
func (s *Set) Generation() uint64 { return s.generation.Load() }

// Judge says what is known of a token: by one look-up for each of its claims that is
// revoked of anybody, however much is. It takes no lock while nothing is.
func (s *Set) Judge(t Subject) Verdict {
	present := s.present.Load()
	if present == 0 {
		return Good
	}
	keys, n := t.digests(present)
	issued, learnt := t.IssuedAt, t.Learnt
	if issued.IsZero() {
		issued = t.Seen
	}
	if learnt.IsZero() {
		learnt = t.Seen
	}
	now := s.now().UnixMilli()
	s.mu.RLock()
	defer s.mu.RUnlock()
	verdict := Good
	for _, key := range keys[:n] {
		if e := s.revoked.find(key); e != nil && s.alive(e, now) && e.covers(issued) {
			return Revoked
		}
		if e := s.facts.find(key); e != nil && s.alive(e, now) && learnt.UnixMilli() <= e.before {
			verdict = Outdated
		}
	}
	return verdict
}

// covers says whether a revocation is about a token that was issued then. A time that
// nobody knows is no excuse: the zero time is long ago.
func (e *entry) covers(issued time.Time) bool {
	return e.kind.timeless() || issued.UnixMilli() <= e.before
}

// digests returns those of what a token could be revoked by, of the kinds that there
// are.
func (t Subject) digests(present uint32) (keys [kinds]digest, n int) {
	add := func(kind Kind, value, and string) {
		if present&(1<<kind) != 0 && value != "" && (and != "" || !kind.two()) {
			keys[n] = digestOf(kind, t.Issuer, value, and)
			n++
		}
	}
	add(KindSub, t.Sub, "")
	add(KindSID, t.SID, "")
	add(KindJTI, t.JTI, "")
	add(KindClientID, t.ClientID, "")
	if t.Token != [32]byte{} {
		add(KindToken, string(t.Token[:]), "")
	}
	add(KindSession, t.SID, t.Sub)
	if t.Email != "" && present&(1<<KindEmail|1<<KindEmailSession) != 0 {
		address := email(t.Email)
		add(KindEmail, address, "")
		add(KindEmailSession, t.SID, address)
	}
	return keys, n
}
