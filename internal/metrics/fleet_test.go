package metrics_test

import (
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/shared"
)

// TestFleet: series begin at zero where the section is there, and the store's are there
// only where a store is.
func TestFleet(t *testing.T) {
	m := metrics.New("1", "c")
	s := &state{issuers: map[string]error{"https://as": nil}}
	got := scrape(t, reader(m, s))
	for _, absent := range []string{"bearergate_shared_up", "bearergate_shared_lag_seconds"} {
		if value, there := got[absent]; there {
			t.Errorf("got %s %s without a store", absent, value)
		}
	}
	s.fleet = metrics.Fleet{
		Revokes: true, Revocations: 7, Streams: map[string]time.Duration{"https://t": 90 * time.Second},
		Store: true, Lag: 20 * time.Millisecond,
	}
	m.Revocations().End(t.Context(), revocation.Event{
		Operation: revocation.OperationRevocation, Issuer: "https://as", Source: revocation.SourceSSF,
	})
	m.Revocations().End(t.Context(), revocation.Event{
		Operation: revocation.OperationEvent, Transmitter: "https://t", Result: revocation.ResultRevoked,
	})
	m.Shared().End(t.Context(), shared.Event{Operation: shared.Get, Result: shared.Unreadable})
	got = scrape(t, reader(m, s))
	for series, want := range map[string]string{
		`bearergate_revocations_total{issuer="https://as",source="ssf"}`:     "1",
		`bearergate_revocations_total{issuer="https://as",source="recheck"}`: "0",
		`bearergate_revocation_entries`:                                      "7",
		`bearergate_events_total{result="revoked",transmitter="https://t"}`:  "1",
		`bearergate_events_total{result="refused",transmitter="https://t"}`:  "0",
		`bearergate_event_stream_age_seconds{transmitter="https://t"}`:       "90",
		`bearergate_shared_up`:          "0",
		`bearergate_shared_lag_seconds`: "0.02",
		`bearergate_shared_requests_total{operation="get",result="unreadable"}`: "1",
		`bearergate_shared_requests_total{operation="lock",result="hit"}`:       "0",
		`bearergate_cache_requests_total{cache="shared",result="hit"}`:          "0",
	} {
		if got[series] != want {
			t.Errorf("%s: got %q, want %s", series, got[series], want)
		}
	}
}
