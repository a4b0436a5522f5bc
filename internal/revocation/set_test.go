package revocation

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	here      = "https://auth.example.com"
	elsewhere = "https://other.example.com"
)

// noon is when the tests happen.
var noon = time.Date(2024, 11, 24, 12, 0, 0, 0, time.UTC)

// clock is a time that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// written is a log that keeps what it gets.
type written struct {
	mu      sync.Mutex
	away    bool
	entries [][]byte
}

func (w *written) Append(_ context.Context, entry []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, entry)
	return !w.away
}

func add(t *testing.T, s *Set, r Revocation) {
	t.Helper()
	if _, err := s.Add(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func jwt(signature string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"ES256"}`)) + "." + part([]byte(`{"sub":"alice"}`)) + "." + signature
}

// alice has everything that a revocation can name.
var alice = Subject{
	Issuer: here, Sub: "alice", SID: "s1", JTI: "j1", ClientID: "app", Email: "Alice@Example.com",
	Token: TokenDigest(jwt("c2ln")), IssuedAt: noon, Seen: noon.Add(time.Second),
}

func TestWhatIsCovered(t *testing.T) {
	with := func(change func(*Subject)) Subject {
		s := alice
		change(&s)
		return s
	}
	later := with(func(s *Subject) { s.IssuedAt = noon.Add(time.Minute) })
	noIAT := with(func(s *Subject) { s.IssuedAt = time.Time{} })
	for name, tc := range map[string]struct {
		r    Revocation
		t    Subject
		want Verdict
	}{
		"sub":                          {Revocation{Kind: KindSub, Value: "alice"}, alice, Revoked},
		"another sub":                  {Revocation{Kind: KindSub, Value: "bob"}, alice, Good},
		"sub, issued at the time":      {Revocation{Kind: KindSub, Value: "alice", Before: noon}, alice, Revoked},
		"sub, issued after":            {Revocation{Kind: KindSub, Value: "alice", Before: noon.Add(-time.Second)}, alice, Good},
		"sub, told later than issued":  {Revocation{Kind: KindSub, Value: "alice", Before: noon.Add(time.Second)}, later, Good},
		"sub, no iat, seen after":      {Revocation{Kind: KindSub, Value: "alice", Before: noon}, noIAT, Good},
		"sub, no iat, seen before":     {Revocation{Kind: KindSub, Value: "alice", Before: noon.Add(time.Second)}, noIAT, Revoked},
		"sub, no time at all":          {Revocation{Kind: KindSub, Value: "alice"}, Subject{Issuer: here, Sub: "alice"}, Revoked},
		"sub of another issuer":        {Revocation{Issuer: elsewhere, Kind: KindSub, Value: "alice"}, alice, Good},
		"sid":                          {Revocation{Kind: KindSID, Value: "s1"}, alice, Revoked},
		"sid, issued after":            {Revocation{Kind: KindSID, Value: "s1", Before: noon}, later, Good},
		"sid that is a sub":            {Revocation{Kind: KindSID, Value: "alice"}, alice, Good},
		"jti":                          {Revocation{Kind: KindJTI, Value: "j1"}, alice, Revoked},
		"jti, whenever it was issued":  {Revocation{Kind: KindJTI, Value: "j1", Before: noon.Add(-time.Hour)}, later, Revoked},
		"client":                       {Revocation{Kind: KindClientID, Value: "app"}, alice, Revoked},
		"client, issued after":         {Revocation{Kind: KindClientID, Value: "app", Before: noon}, later, Good},
		"token":                        {Revocation{Kind: KindToken, Value: jwt("c2ln")}, alice, Revoked},
		"token, whenever it is issued": {Revocation{Kind: KindToken, Value: jwt("c2ln"), Before: noon.Add(-time.Hour)}, later, Revoked},
		"token, another signature":     {Revocation{Kind: KindToken, Value: jwt("c2lo")}, alice, Revoked},
		"another token":                {Revocation{Kind: KindToken, Value: "opaque"}, alice, Good},
		"email":                        {Revocation{Kind: KindEmail, Value: "alice@example.com"}, alice, Revoked},
		"another email":                {Revocation{Kind: KindEmail, Value: "alice@example.org"}, alice, Good},
		"session of the user":          {Revocation{Kind: KindSession, Value: "s1", And: "alice"}, alice, Revoked},
		"session of another user":      {Revocation{Kind: KindSession, Value: "s1", And: "bob"}, alice, Good},
		"another session of the user":  {Revocation{Kind: KindSession, Value: "s2", And: "alice"}, alice, Good},
		"session of the address":       {Revocation{Kind: KindEmailSession, Value: "s1", And: "ALICE@example.com"}, alice, Revoked},
		"session of another address":   {Revocation{Kind: KindEmailSession, Value: "s1", And: "bob@example.com"}, alice, Good},

		"facts, learnt before": {Revocation{Kind: KindSub, Value: "alice", Facts: true, Before: noon.Add(time.Minute)}, alice, Outdated},
		"facts, learnt after":  {Revocation{Kind: KindSub, Value: "alice", Facts: true, Before: noon}, alice, Good},
		"facts of one token, learnt before": {
			Revocation{Kind: KindJTI, Value: "j1", Facts: true, Before: noon},
			with(func(s *Subject) { s.Learnt = noon }), Outdated,
		},
		"facts of one token, learnt after": {
			Revocation{Kind: KindJTI, Value: "j1", Facts: true, Before: noon},
			with(func(s *Subject) { s.Learnt = noon.Add(time.Millisecond) }), Good,
		},
	} {
		t.Run(name, func(t *testing.T) {
			clk := clock{now: noon.Add(time.Second)}
			s := NewSet(Options{Now: clk.Now})
			if tc.r.Issuer == "" {
				tc.r.Issuer = here
			}
			before := s.Generation()
			add(t, s, tc.r)
			if got := s.Judge(tc.t); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if s.Generation() == before {
				t.Error("the generation is the same: whoever keeps a verdict would not ask again")
			}
			other := NewSet(Options{Now: clk.Now})
			for entry := range s.Snapshot() {
				other.Take(entry, noon)
			}
			if got := other.Judge(tc.t); got != tc.want {
				t.Errorf("another replica: got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestRevokedComesBeforeOutdated(t *testing.T) {
	s := NewSet(Options{})
	add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: "alice", Facts: true})
	add(t, s, Revocation{Issuer: here, Kind: KindJTI, Value: "j1"})
	if got := s.Judge(alice); got != Revoked {
		t.Errorf("got %s, want revoked", got)
	}
}

func TestTokensAreToldApart(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{jwt("AAAA"), jwt("BBBB"), true},
		{jwt("AAAA"), jwt("AAAA=="), true},
		{jwt(""), strings.TrimSuffix(jwt(""), "."), false},
		{"v1.public.a", "v1.public.b", false}, // three parts make no JWT
		{"opaque", "opaque2", false},
		{"", ".", false},
	} {
		if same := TokenDigest(tc.a) == TokenDigest(tc.b); same != tc.same {
			t.Errorf("%s and %s: got the same %t, want %t", tc.a, tc.b, same, tc.same)
		}
	}
}

func TestPartsOfADigestDoNotRunTogether(t *testing.T) {
	seen := map[digest]string{}
	for _, parts := range [][3]string{
		{"ab", "c", ""}, {"a", "bc", ""}, {"abc", "", ""}, {"a", "b", "c"}, {"", "abc", ""}, {"a", "", "bc"},
	} {
		for kind := range Kind(kinds) {
			key := digestOf(kind, parts[0], parts[1], parts[2])
			name := fmt.Sprint(kind, parts)
			if other, ok := seen[key]; ok {
				t.Errorf("%s and %s are one", name, other)
			}
			seen[key] = name
		}
	}
}

func TestToldTwiceCountsOnce(t *testing.T) {
	var told []Event
	clk := clock{now: noon}
	s := NewSet(Options{Keep: hour, Now: clk.Now, Events: Observer{Ended: func(_ context.Context, e Event) {
		told = append(told, e)
	}}})
	r := Revocation{Issuer: here, Kind: KindSub, Value: "alice", Before: noon, Source: SourceAdmin}
	add(t, s, r)
	generation := s.Generation()
	clk.pass(hour / 2)
	r.Before = noon.Add(-hour) // the later time holds
	add(t, s, r)
	if s.Len() != 1 || s.Judge(alice) != Revoked || s.Generation() != generation {
		t.Errorf("got %d entries, %s, generation %d, want 1, revoked, %d", s.Len(), s.Judge(alice), s.Generation(), generation)
	}
	if want := []Event{{Operation: OperationRevocation, Issuer: here, Source: SourceAdmin}}; !slices.Equal(told, want) {
		t.Errorf("got %v told, want %v", told, want)
	}
	r.Before = noon.Add(clk.Now().Sub(noon))
	add(t, s, r)
	if s.Len() != 1 || s.Generation() == generation {
		t.Error("a later time is no change")
	}
	clk.pass(hour - 1)
	if got := s.Judge(alice); got != Revoked {
		t.Errorf("within the time since it was told last: got %s, want revoked", got)
	}
	clk.pass(1)
	if got := s.Judge(alice); got != Good || s.Len() != 0 {
		t.Errorf("after that: got %s and %d entries, want good and none", got, s.Len())
	}
}

const hour = time.Hour

func TestForgottenIsToldAnew(t *testing.T) {
	clk := clock{now: noon}
	s := NewSet(Options{Keep: hour, Now: clk.Now})
	r := Revocation{Issuer: here, Kind: KindJTI, Value: "j1", Before: noon}
	add(t, s, r)
	clk.pass(hour)
	if s.Judge(alice) != Good {
		t.Fatal("it is not forgotten")
	}
	before := s.Generation()
	add(t, s, r) // nothing has looked for what has expired in between
	if s.Judge(alice) != Revoked || s.Generation() == before || s.Len() != 1 {
		t.Error("it is not remembered again")
	}
}

func TestKeepCanBeChanged(t *testing.T) {
	clk := clock{now: noon}
	s := NewSet(Options{Now: clk.Now})
	if s.Keep() != 24*hour {
		t.Errorf("got %s, want a day", s.Keep())
	}
	add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: "alice"})
	clk.pass(2 * hour)
	s.SetKeep(hour)
	if s.Judge(alice) != Good || s.Len() != 0 {
		t.Error("remembered for longer than is kept now")
	}
}

func TestIncompleteIsRefused(t *testing.T) {
	s := NewSet(Options{})
	for _, r := range []Revocation{
		{},
		{Kind: KindSub, Value: "alice"},
		{Issuer: here, Value: "alice"},
		{Issuer: here, Kind: KindSub},
		{Issuer: here, Kind: kinds, Value: "alice"},
		{Issuer: here, Kind: kindEvent, Value: "alice"},
		{Issuer: here, Kind: KindSession, Value: "s1"},
		{Issuer: here, Kind: KindSession, And: "alice"},
		{Issuer: here, Kind: KindSub, Value: "alice", And: "s1"},
	} {
		if _, err := s.Add(t.Context(), r); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
	if s.Len() != 0 || s.Generation() != 0 {
		t.Error("something is remembered")
	}
}

func TestTheOldestGoFirst(t *testing.T) {
	var lines bytes.Buffer
	clk := clock{now: noon}
	s := NewSet(Options{maxEntries: 100, Now: clk.Now, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	for n := range 100 {
		clk.pass(1e6)
		add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: fmt.Sprint(n)})
	}
	if lines.Len() != 0 || s.Len() != 100 {
		t.Fatalf("got %d entries and %q, want 100 and no alarm", s.Len(), &lines)
	}
	clk.pass(1e6)
	add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: "0"}) // is the youngest now
	for n := range 10 {
		clk.pass(1e6)
		add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: fmt.Sprint("new", n)})
	}
	judge := func(sub string) Verdict { return s.Judge(Subject{Issuer: here, Sub: sub, IssuedAt: noon}) }
	for n := range 100 {
		want := Revoked
		if n >= 1 && n <= 10 {
			want = Good
		}
		if got := judge(fmt.Sprint(n)); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	if s.Len() != 100 || strings.Count(lines.String(), "level=ERROR") != 1 {
		t.Errorf("got %d entries and %q, want 100 and one alarm", s.Len(), &lines)
	}
	clk.pass(alarmEvery)
	add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: "more"})
	if !strings.Contains(lines.String(), "forgotten=10") {
		t.Errorf("got %q, want another alarm a minute later", &lines)
	}
}

func TestFactsDoNotPushOutRevocations(t *testing.T) {
	s := NewSet(Options{maxEntries: 10})
	add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: "alice"})
	for n := range 100 {
		add(t, s, Revocation{Issuer: here, Kind: KindSub, Value: fmt.Sprint(n), Facts: true})
		s.accept(t.Context(), kindEvent, here, fmt.Sprint(n))
	}
	if s.Judge(alice) != Revoked || s.Len() != 1 {
		t.Error("the revocation is gone, or not alone")
	}
}

func TestCounts(t *testing.T) {
	clk := clock{now: noon}
	s := NewSet(Options{Keep: hour, Now: clk.Now})
	for _, r := range []Revocation{
		{Issuer: here, Kind: KindSub, Value: "alice"}, {Issuer: here, Kind: KindSub, Value: "bob"},
		{Issuer: here, Kind: KindSub, Value: "bob"}, {Issuer: elsewhere, Kind: KindJTI, Value: "j"},
		{Issuer: here, Kind: KindSession, Value: "s", And: "alice"},
		{Issuer: here, Kind: KindEmailSession, Value: "s", And: "a@example.com"},
		{Issuer: here, Kind: KindSub, Value: "carol", Facts: true},
	} {
		add(t, s, r)
	}
	want := map[string]map[string]int{here: {"sub": 2, "session": 2}, elsewhere: {"jti": 1}}
	if diff := cmp.Diff(want, s.Counts()); diff != "" || s.Len() != 5 {
		t.Errorf("%d entries, (-want +got):\n%s", s.Len(), diff)
	}
	clk.pass(hour)
	if len(s.Counts()) != 0 || s.Len() != 0 {
		t.Errorf("got %v after they were forgotten, want none", s.Counts())
	}
}

func TestSharedWithOthers(t *testing.T) {
	log := &written{}
	s, other := NewSet(Options{Shared: log}), NewSet(Options{})
	shared, err := s.Add(t.Context(), Revocation{Issuer: here, Kind: KindSub, Value: "alice"})
	if !shared || err != nil {
		t.Errorf("got shared %t, %v, want shared", shared, err)
	}
	log.away = true
	if shared, _ = s.Add(t.Context(), Revocation{Issuer: here, Kind: KindSub, Value: "bob"}); shared {
		t.Error("got shared while the log is away")
	}
	var told []Event
	other.o.Events.Ended = func(_ context.Context, e Event) { told = append(told, e) }
	for range 2 {
		for _, entry := range log.entries {
			other.Take(entry, time.Now())
			s.Take(entry, time.Now()) // comes back
		}
	}
	want := Event{Operation: OperationRevocation, Issuer: here, Source: SourceShared}
	if !slices.Equal(told, []Event{want, want}) || other.Len() != 2 || s.Len() != 2 || s.Generation() != 2 {
		t.Errorf("got %v told, %d and %d entries, generation %d", told, other.Len(), s.Len(), s.Generation())
	}
	if bytes.Contains(slices.Concat(log.entries...), []byte("alice")) {
		t.Error("the log tells who is revoked")
	}
	if shared, _ := NewSet(Options{}).Add(t.Context(), Revocation{Issuer: here, Kind: KindSub, Value: "x"}); shared {
		t.Error("got shared without a log")
	}
}

func TestWaitsForOthers(t *testing.T) {
	if err := NewSet(Options{}).Ready(); err != nil {
		t.Errorf("got %v, want ready: there are no others", err)
	}
	var lines bytes.Buffer
	s := NewSet(Options{Waits: true, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	if s.Ready() == nil {
		t.Error("got ready before anything was read")
	}
	s.CaughtUp(false)
	if s.Ready() != nil || !strings.Contains(lines.String(), "level=ERROR") {
		t.Errorf("got %v and %q, want ready, with an alarm", s.Ready(), &lines)
	}
}

func TestAcceptedOnce(t *testing.T) {
	clk := clock{now: noon}
	log := &written{}
	s, other := NewSet(Options{Keep: 1e9, Shared: log, Now: clk.Now}), NewSet(Options{Now: clk.Now})
	r := Revocation{Issuer: here, Kind: KindSub, Value: "alice"}
	if !s.accept(t.Context(), kindEvent, here, "1", r) || s.accept(t.Context(), kindEvent, here, "1", r) {
		t.Error("want accepted once")
	}
	if !s.accept(t.Context(), kindLogout, here, "1") || !s.accept(t.Context(), kindEvent, elsewhere, "1") {
		t.Error("want other senders' accepted")
	}
	for _, entry := range log.entries {
		other.Take(entry, noon)
	}
	if other.Judge(alice) != Revoked || other.accept(t.Context(), kindEvent, here, "1") {
		t.Error("another replica does not know")
	}
	clk.pass(10 * 60e9) // longer than revocations are kept
	if s.accept(t.Context(), kindEvent, here, "1") {
		t.Error("forgotten within ten minutes")
	}
	clk.pass(10 * 60e9)
	if !s.accept(t.Context(), kindEvent, here, "1") {
		t.Error("remembered for longer than needed")
	}
}

func TestForeignEntries(t *testing.T) {
	s := NewSet(Options{})
	good := record{entry: entry{kind: KindSub, told: time.Now().UnixMilli()}, issuer: here}.marshal()
	change := func(at int, to byte) []byte {
		b := slices.Clone(good)
		b[at] = to
		return b
	}
	bad := [][]byte{
		nil, {}, {entryVersion}, good[:entryBytes-1], change(0, 0), change(0, 2), change(1, 0), change(1, byte(kinds)),
		change(1, 0x7f), change(1, factsBit), change(1, byte(kindEvent)|factsBit),
		append(slices.Clone(good), make([]byte, maxIssuerBytes)...), []byte(strings.Repeat("x", 100)),
	}
	for _, entry := range bad {
		s.Take(entry, time.Now())
	}
	if s.Foreign() != uint64(len(bad)) || s.Len() != 0 || s.Generation() != 0 {
		t.Errorf("got %d of %d foreign, %d taken", s.Foreign(), len(bad), s.Len())
	}
	s.Take(good, time.Now())
	if s.Len() != 1 {
		t.Error("the good one is not taken")
	}
}

func TestAClockThatRunsAheadKeepsNothingForLonger(t *testing.T) {
	clk := clock{now: noon}
	s := NewSet(Options{Keep: hour, Now: clk.Now})
	r := s.record(Revocation{Issuer: here, Kind: KindSub, Value: "alice"})
	r.told = noon.Add(1000 * hour).UnixMilli()
	s.Take(r.marshal(), noon)
	if s.Judge(alice) != Revoked {
		t.Fatal("not taken")
	}
	clk.pass(hour)
	if s.Judge(alice) != Good {
		t.Error("kept for longer")
	}
}

// naive is a Set without any of its machinery.
type naive struct {
	keep, most int64
	entries    map[string]*entry
}

func (n *naive) add(r Revocation, told int64) {
	n.forget(told)
	name := fmt.Sprint(r.Issuer, "|", r.Kind, "|", r.Value, "|", r.And, "|", r.Facts)
	e := n.entries[name]
	if e == nil {
		e = &entry{kind: r.Kind, before: r.Before.UnixMilli()}
		n.entries[name] = e
	}
	e.before, e.told = max(e.before, r.Before.UnixMilli()), max(e.told, told)
	count, oldest := int64(0), ""
	for name, other := range n.entries {
		if strings.HasSuffix(name, "true") != r.Facts {
			continue
		}
		if count++; oldest == "" || other.told < n.entries[oldest].told {
			oldest = name
		}
	}
	if count > n.most {
		delete(n.entries, oldest)
	}
}

func (n *naive) forget(now int64) {
	maps.DeleteFunc(n.entries, func(_ string, e *entry) bool { return now-e.told >= n.keep })
}

func (n *naive) judge(t Subject, now int64) Verdict {
	n.forget(now)
	verdict := Good
	for name, e := range n.entries {
		part := strings.Split(name, "|")
		if part[0] != t.Issuer {
			continue
		}
		value := map[Kind]string{
			KindSub: t.Sub, KindSID: t.SID, KindJTI: t.JTI, KindClientID: t.ClientID, KindSession: t.SID,
			KindEmail: strings.ToLower(t.Email),
		}[e.kind]
		if value == "" || value != part[2] || e.kind == KindSession && t.Sub != part[3] {
			continue
		}
		one := e.kind == KindJTI
		switch {
		case part[4] == "false" && (one || t.IssuedAt.UnixMilli() <= e.before):
			return Revoked
		case part[4] == "true" && t.Seen.UnixMilli() <= e.before:
			verdict = Outdated
		}
	}
	return verdict
}

// TestAgainstANaiveModel has two replicas, which learn from each other late and in
// another order, do what one list would.
func TestAgainstANaiveModel(t *testing.T) {
	for seed := range uint64(15) {
		random := rand.New(rand.NewPCG(seed, 1))
		clk := clock{now: noon}
		most := 5 + random.IntN(40)
		sets := [2]*Set{}
		logs := [2]*written{{}, {}}
		for i := range sets {
			sets[i] = NewSet(Options{Keep: 60e9, Now: clk.Now, Shared: logs[i], maxEntries: most})
		}
		model := &naive{60e3, int64(most), map[string]*entry{}}
		value := func() string { return string(rune('a' + random.IntN(12))) }
		for step := range 3000 {
			clk.pass(1e6)
			if random.IntN(200) == 0 {
				clk.pass(30e9)
			}
			now := clk.Now()
			if random.IntN(3) > 0 {
				r := Revocation{
					Issuer: []string{here, elsewhere}[random.IntN(2)], Value: value(), Facts: random.IntN(4) == 0,
					Kind:   []Kind{KindSub, KindSID, KindJTI, KindClientID, KindEmail, KindSession}[random.IntN(6)],
					Before: now.Add(-randomDuration(random, 40e9)),
				}
				if r.Kind == KindSession {
					r.And = value()
				}
				add(t, sets[random.IntN(2)], r)
				model.add(r, now.UnixMilli())
				random.Shuffle(len(logs[0].entries), func(i, j int) {
					logs[0].entries[i], logs[0].entries[j] = logs[0].entries[j], logs[0].entries[i]
				})
				for i := range sets {
					for _, entry := range logs[1-i].entries {
						sets[i].Take(entry, now)
					}
				}
				logs[0].entries, logs[1].entries = nil, nil
			}
			subject := Subject{
				Issuer: here, Sub: value(), SID: value(), JTI: value(), ClientID: value(), Email: strings.ToUpper(value()),
				IssuedAt: now.Add(-randomDuration(random, 60e9)), Seen: now.Add(-randomDuration(random, 60e9)),
			}
			want := model.judge(subject, now.UnixMilli())
			for i, s := range sets {
				if got := s.Judge(subject); got != want {
					t.Fatalf("seed %d, step %d, replica %d: got %s, want %s", seed, step, i, got, want)
				}
			}
		}
		revoked := 0
		for name := range model.entries {
			if strings.HasSuffix(name, "false") {
				revoked++
			}
		}
		if got := sets[0].Len(); got != revoked {
			t.Fatalf("seed %d: got %d entries, want %d", seed, got, revoked)
		}
		total := 0
		for _, counts := range sets[1].Counts() {
			for _, n := range counts {
				total += n
			}
		}
		if total != revoked {
			t.Fatalf("seed %d: got %d counted, want %d", seed, total, revoked)
		}
	}
}

func randomDuration(random *rand.Rand, most int64) time.Duration {
	return time.Duration(random.Int64N(most))
}

// TestAnyOrderComesToTheSame learns one list in two orders.
func TestAnyOrderComesToTheSame(t *testing.T) {
	clk := clock{now: noon}
	log := &written{}
	source := NewSet(Options{Now: clk.Now, Shared: log})
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		clk.pass(1e6)
		add(t, source, Revocation{
			Issuer: here, Kind: KindSub, Value: fmt.Sprint(random.IntN(50)), Before: clk.Now().Add(-randomDuration(random, 1e12)),
		})
	}
	state := func(s *Set) []string {
		var all []string
		for entry := range s.Snapshot() {
			all = append(all, string(entry))
		}
		slices.Sort(all)
		return all
	}
	want := state(source)
	for range 20 {
		random.Shuffle(len(log.entries), func(i, j int) {
			log.entries[i], log.entries[j] = log.entries[j], log.entries[i]
		})
		other := NewSet(Options{Now: clk.Now})
		for _, entry := range log.entries {
			other.Take(entry, noon)
		}
		if diff := cmp.Diff(want, state(other)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestUsedByManyAtOnce(t *testing.T) {
	s := NewSet(Options{Keep: time.Second, Shared: &written{}, maxEntries: 200})
	var work sync.WaitGroup
	for n := range 4 {
		work.Go(func() {
			for i := range 500 {
				name := fmt.Sprint(n, i)
				generation := s.Generation()
				_, _ = s.Add(t.Context(), Revocation{Issuer: here, Kind: KindSub, Value: name})
				if s.Generation() == generation {
					t.Error("the same generation")
				}
				s.accept(t.Context(), kindEvent, here, name)
			}
		})
		work.Go(func() {
			for range 500 {
				s.Judge(alice)
				_ = s.Ready()
			}
			_, _ = s.Counts(), s.Len()
			for entry := range s.Snapshot() {
				s.Take(entry, time.Now())
			}
			s.SetKeep(2 * time.Second)
		})
	}
	work.Wait()
}

func TestJudgingAllocatesNothing(t *testing.T) {
	s := full(t, 1000)
	subject := alice
	subject.Email = "alice@example.com"
	if n := testing.AllocsPerRun(100, func() { s.Judge(subject) }); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

// full has n revocations of all kinds.
func full(t testing.TB, n int) *Set {
	s := NewSet(Options{})
	for i := range n {
		kind := KindSub + Kind(i%int(kinds-1))
		r := Revocation{Issuer: here, Kind: kind, Value: fmt.Sprint("user-", i)}
		if kind.two() {
			r.And = "x"
		}
		if _, err := s.Add(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestAcceptedOnceHoweverManyComeAtOnce(t *testing.T) {
	s := NewSet(Options{})
	var work sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for range 16 {
		work.Go(func() {
			first := s.accept(t.Context(), kindEvent, here, "1", Revocation{Issuer: here, Kind: KindSub, Value: "alice"})
			if s.Judge(alice) != Revoked {
				t.Error("told that it was accepted before it is in force")
			}
			if first {
				mu.Lock()
				accepted++
				mu.Unlock()
			}
		})
	}
	work.Wait()
	if accepted != 1 {
		t.Errorf("got %d accepted, want one", accepted)
	}
}
