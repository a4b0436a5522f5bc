package validation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/validation"
)

// moody is an authorization server that fails for some tokens, by their
// beginning, and answers for all others.
type moody struct {
	*httptest.Server

	mu    sync.Mutex
	calls map[string]int
}

func newMoody(t *testing.T) *moody {
	m := &moody{calls: map[string]int{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/introspect" {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": m.URL, "introspection_endpoint": m.URL + "/introspect"})
		return
	}
	token := r.PostFormValue("token")
	m.mu.Lock()
	m.calls[token]++
	m.mu.Unlock()
	kind, _, _ := strings.Cut(token, "-")
	switch {
	case kind == "500":
		w.WriteHeader(http.StatusInternalServerError)
	case kind == "429":
		w.Header().Set("Retry-After", "15")
		w.WriteHeader(http.StatusTooManyRequests)
	case kind == "reset":
		panic(http.ErrAbortHandler)
	case kind == "huge":
		_, _ = fmt.Fprintf(w, `{"active":true,"x":%q}`, strings.Repeat("x", 64<<10))
	case kind == "slow":
		<-r.Context().Done()
	case strings.HasPrefix(token, "probe"):
		_, _ = fmt.Fprint(w, `{"active":false}`)
	default:
		_, _ = fmt.Fprintf(w, `{"active":true,"sub":%q}`, token)
	}
}

func (m *moody) asked(token string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[token]
}

// TestOddTokensHarmNobody: a server that fails for one client's tokens, in any
// way, is asked about those of others all the same, and is not asked about the
// same one again and again (CONTRACT.md §4).
func TestOddTokensHarmNobody(t *testing.T) {
	for _, kind := range []string{"500", "429", "reset", "huge"} {
		t.Run(kind, func(t *testing.T) {
			m := newMoody(t)
			issuer := against(t, m.URL, func(c *validation.Config) {
				c.Cache = validation.CacheConfig{MaxEntries: 100, MaxBytes: 1 << 20, TTL: time.Minute, NegativeTTL: 5 * time.Second}
			})
			for n := range 100 {
				if _, err := issuer.Validate(t.Context(), fmt.Sprintf("%s-%d", kind, n)); !errors.Is(err, validation.ErrUnavailable) {
					t.Fatalf("got %v, want ErrUnavailable", err)
				}
				if n%10 == 5 {
					if token, err := issuer.Validate(t.Context(), fmt.Sprintf("good-%d", n)); err != nil || token.Subject == "" {
						t.Errorf("good token %d: got %v", n, err)
					}
				}
			}
			same := kind + "-same"
			for range 10 {
				if _, err := issuer.Validate(t.Context(), same); !errors.Is(err, validation.ErrUnavailable) {
					t.Fatalf("got %v, want ErrUnavailable", err)
				}
			}
			if calls := m.asked(same); calls != 1 {
				t.Errorf("asked %d times about the same token, want once in negative_ttl", calls)
			}
		})
	}
}
