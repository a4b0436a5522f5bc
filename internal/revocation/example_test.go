package revocation_test

import (
	"context"
	"fmt"
	"time"

	"github.com/bearergate/bearergate/internal/revocation"
)

// A user is logged out everywhere; what she gets afterwards is good.
func Example() {
	const issuer = "https://auth.example.com"
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	set := revocation.NewSet(revocation.Options{Keep: time.Hour})
	_, err := set.Add(context.Background(), revocation.Revocation{
		Issuer: issuer, Kind: revocation.KindSub, Value: "alice", Before: noon, Source: revocation.SourceAdmin,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, issued := range []time.Time{noon.Add(-time.Minute), noon.Add(time.Minute)} {
		fmt.Println(set.Judge(revocation.Subject{Issuer: issuer, Sub: "alice", IssuedAt: issued}))
	}
	fmt.Println(set.Counts())
	// Output:
	// revoked
	// good
	// map[https://auth.example.com:map[sub:1]]
}
