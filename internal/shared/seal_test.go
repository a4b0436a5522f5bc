package shared

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newTestKey(t testing.TB) *key {
	t.Helper()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	k, err := newKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEntryOpensWhereItWasSealedOnly(t *testing.T) {
	k := newTestKey(t)
	what := id{kindValue, "introspection", [32]byte{1}}
	bound := []byte("issuer")
	content := []byte(`{"active":true}`)
	entry := k.seal(what, bound, content)
	if got, err := k.open(what, bound, entry); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("got %q, %v", got, err)
	}
	if bytes.Contains(entry, content[:4]) || bytes.Equal(entry, k.seal(what, bound, content)) {
		t.Error("sealed twice it looks the same, or is not sealed")
	}
	changed := func(change func([]byte)) []byte {
		e := bytes.Clone(entry)
		change(e)
		return e
	}
	for name, tc := range map[string]struct {
		k     *key
		what  id
		bound []byte
		entry []byte
	}{
		"another key of the fleet": {newTestKey(t), what, bound, entry},
		"another key":              {k, id{kindValue, "introspection", [32]byte{2}}, bound, entry},
		"another space":            {k, id{kindValue, "exchange", [32]byte{1}}, bound, entry},
		"another kind":             {k, id{kindLog, "introspection", [32]byte{1}}, bound, entry},
		"bound to another":         {k, what, []byte("issuer2"), entry},
		"bound to nothing":         {k, what, nil, entry},
		"another version":          {k, what, bound, changed(func(e []byte) { e[0]++ })},
		"another salt":             {k, what, bound, changed(func(e []byte) { e[1] ^= 1 })},
		"another byte":             {k, what, bound, changed(func(e []byte) { e[1+saltBytes] ^= 1 })},
		"another tag":              {k, what, bound, changed(func(e []byte) { e[len(e)-1] ^= 1 })},
		"cut":                      {k, what, bound, entry[:len(entry)-1]},
		"longer":                   {k, what, bound, append(bytes.Clone(entry), 0)},
		"no content":               {k, what, bound, entry[:1+saltBytes]},
		"no salt":                  {k, what, bound, entry[:1]},
		"nothing":                  {k, what, bound, nil},
		"plain":                    {k, what, bound, content},
	} {
		if got, err := tc.k.open(tc.what, tc.bound, tc.entry); !errors.Is(err, errUnreadable) || got != nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// What differs in one part must not look the same because the parts are put together.
func TestPartsDoNotRunIntoEachOther(t *testing.T) {
	seen := make(map[string]bool)
	var zero [32]byte
	for _, space := range []string{"", "a", "ab", string(zero[:])} {
		for _, bound := range []string{"", "a", "b", "ab", string(zero[:])} {
			for _, key := range [][32]byte{{}, {'a'}, {'b'}, {31: 'a'}} {
				text := string(id{kindValue, space, key}.associated([]byte(bound)))
				if seen[text] {
					t.Errorf("%q, %q, %q look like others", space, bound, key)
				}
				seen[text] = true
			}
		}
	}
}

func TestNames(t *testing.T) {
	k, other := newTestKey(t), newTestKey(t)
	what := id{kindValue, "introspection", [32]byte{1}}
	name := k.name("p:", what)
	if name != k.name("p:", what) || len(name) != len("p:{}")+32 || !strings.HasPrefix(name, "p:{") {
		t.Errorf("got %q", name)
	}
	for _, another := range []string{
		other.name("p:", what), k.name("q:", what), k.name("p:", id{kindClaim, "introspection", [32]byte{1}}),
		k.name("p:", id{kindValue, "exchange", [32]byte{1}}), k.name("p:", id{kindValue, "introspection", [32]byte{}}),
	} {
		if another == name {
			t.Errorf("got %q for two", name)
		}
	}
}

func TestValueOpensUntilItsEnd(t *testing.T) {
	k := newTestKey(t)
	what := id{kindValue, "s", [32]byte{}}
	now := time.Now()
	entry := k.sealValue(what, nil, []byte("v"), now.Add(time.Minute))
	for _, tc := range []struct {
		at   time.Time
		want bool
	}{
		{now, true}, {now.Add(59 * time.Second), true}, {now.Add(time.Minute), false}, {now.Add(time.Hour), false},
		{time.Unix(-1, 0), false},
	} {
		got, err := k.openValue(what, nil, entry, tc.at)
		if (err == nil && string(got) == "v") != tc.want {
			t.Errorf("at %s: got %q, %v, want %t", tc.at.Sub(now), got, err, tc.want)
		}
	}
	if _, err := k.openValue(what, nil, k.seal(what, nil, []byte("short")), now); err == nil {
		t.Error("a value without an end opens")
	}
}

func TestKeyFile(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		want    string
	}{
		"good":  {strings.Repeat("k", 32), ""},
		"short": {strings.Repeat("k", 31), "key of 31 bytes, want at least 32"},
		"empty": {"", "key of 0 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := openKeys(path, slog.New(slog.DiscardHandler))
		if tc.want == "" && (err != nil || len(keys.Value().all()) != 1) ||
			tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "kkk")) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

// Whatever somebody puts into the store opens for nobody, and stops nothing.
func FuzzOpen(f *testing.F) {
	secret := bytes.Repeat([]byte("k"), 32)
	k, err := newKey(secret)
	if err != nil {
		f.Fatal(err)
	}
	what := id{kindValue, "s", [32]byte{1}}
	now := time.Unix(1_700_000_000, 0)
	genuine := k.sealValue(what, []byte("b"), []byte("v"), now.Add(time.Minute))
	f.Add(genuine)
	f.Add([]byte{})
	f.Add([]byte{version})
	f.Add(genuine[:len(genuine)-1])
	f.Add(bytes.Repeat([]byte{version}, 100))
	f.Fuzz(func(t *testing.T, entry []byte) {
		value, err := k.openValue(what, []byte("b"), entry, now)
		if err == nil && !bytes.Equal(entry, genuine) {
			t.Errorf("%x opens: %q", entry, value)
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add("1700000000000-0")
	f.Add("-")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePosition(text)
		if err != nil {
			return
		}
		if again, err := parsePosition(p.String()); err != nil || again != p {
			t.Errorf("%q: got %v, then %v, %v", text, p, again, err)
		}
	})
}
