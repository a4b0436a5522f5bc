package telemetry

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

// TestExchangeIsAChild: the call for the upstream's token is a span of the Check, whose
// attribute cache is about the client's token.
func TestExchangeIsAChild(t *testing.T) {
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	cfg, err := config.Parse("a.yaml", []byte("auth: {issuer: '"+as.URL()+"', audience: api, insecure_http: true, "+
		"client_id: gate, client_secret: s3cret}\nrules: [{name: own, match: {paths: [/**]}, upstream_token: {}}]\n"),
		func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	traces, spans := recorded()
	svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", "test"), service.Observers{
		Checks: traces.Checks(), Discovery: traces.Discovery(), Validation: traces.Validation(), Transport: traces.Transport,
	})
	t.Cleanup(svc.Close)
	if err := svc.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	const check = " < " + envoy.OperationCheck
	headers := map[string]string{"authorization": "Bearer " + as.JWT(devissuer.Claims{"aud": "api"})}
	for _, want := range [][]string{
		{
			"cache jwt miss" + check, "jwt.verify verified" + check, "cache exchange miss" + check,
			"token_exchange success" + check, envoy.OperationCheck + " miss",
		},
		{"cache jwt hit" + check, "cache exchange hit" + check, envoy.OperationCheck + " hit"},
	} {
		spans.Reset()
		checkOnce(t.Context(), t, svc.Checks(), headers)
		if diff := cmp.Diff(want, tree(spans.Ended())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
