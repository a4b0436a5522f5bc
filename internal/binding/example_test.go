package binding_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bearergate/bearergate/internal/binding"
)

// The request of RFC 9449 §7.1, at the time when it was sent: the proof is accepted
// once.
func ExampleProofs_Accept() {
	sent := func() time.Time { return time.Unix(1562262618, 0) }
	proofs, err := binding.NewProofs(binding.DPoP{
		Algorithms: []string{"ES256"}, MaxAge: time.Minute, Nonce: binding.NonceOff, ReplayEntries: 1000,
	}, binding.Options{Replays: binding.NewMemory(1000, sent), Now: sent})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := binding.Proof{
		Field: "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs" +
			"cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2" +
			"In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm9" +
			"0ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFF" +
			"byJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
		Method: "GET",
		Scheme: "https",
		Host:   "resource.example.org",
		Path:   "/protectedresource?id=1",
		Token:  "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
		JKT:    "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
	}
	for range 2 {
		_, err = proofs.Accept(context.Background(), request)
		fmt.Println(err, errors.Is(err, binding.ErrProof))
	}
	// Output:
	// <nil> false
	// wrong DPoP proof: it was used before true
}
