package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for written, want := range map[string]int64{
		"off": math.MaxInt64, "512MiB": 512 << 20, "1GiB": 1 << 30, "1024": 1024, "1024B": 1024, "64KiB": 64 << 10,
		"": 0, "0": 0, "-1": 0, "512MB": 0, "512M": 0, "Off": 0, "B": 0, "1 GiB": 0, "1e9": 0, "1BB": 0,
	} {
		got, err := Parse(written)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %d, %v, want %d", written, got, err, want)
		}
	}
}

func TestTheLimitIsWhatIsSaidFirst(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	environment := func(value string) func(string) (string, bool) {
		return func(name string) (string, bool) { return value, value != "" && name == "GOMEMLIMIT" }
	}
	for _, tc := range []struct {
		configured, environment string
		want                    int64
		from                    string
	}{
		{"1GiB", "2GiB", 1 << 30, "server.memory_limit"},
		{"", "2GiB", 2 << 30, "GOMEMLIMIT"},
		{"off", "2GiB", math.MaxInt64, "server.memory_limit"},
	} {
		limit, from, err := SetLimit(tc.configured, environment(tc.environment))
		if err != nil || limit != tc.want || from != tc.from || debug.SetMemoryLimit(-1) != tc.want {
			t.Errorf("%+v: got %d from %s, %v", tc, limit, from, err)
		}
	}
	if _, from, err := SetLimit("", environment("")); err != nil || from != "cgroup" {
		t.Errorf("got %s, %v, want the cgroup's", from, err)
	}
	if _, _, err := SetLimit("", environment("many")); err == nil {
		t.Error("a limit that is none was taken")
	}
}

func TestPercent(t *testing.T) {
	for live, want := range map[uint64]uint64{0: 400, 4 << 20: 400, 16 << 20: 200, 32 << 20: 100, 64 << 20: 50, 1 << 30: 50} {
		if got := percent(live); got != want {
			t.Errorf("%d MiB alive: got %d, want %d", live>>20, got, want)
		}
	}
}

// TestTheHeapGrowsByWhatIsAllowed lets a heap grow and shrink, and looks at what the
// runtime was told each time.
func TestTheHeapGrowsByWhatIsAllowed(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	stop := Pace()
	alive := make([]byte, 256<<20)
	settles(t, 45, 60)
	runtime.KeepAlive(alive)
	settles(t, 300, 3200)
	stop()
	if got := gogc(); got != 100 {
		t.Errorf("got %d after stop, want the 100 of before", got)
	}
	runtime.GC() // whoever is told of it, is told for the last time
	time.Sleep(50 * time.Millisecond)
	debug.SetGCPercent(77)
	runtime.GC()
	time.Sleep(50 * time.Millisecond)
	if got := gogc(); got != 77 {
		t.Errorf("got %d after stop, want 77 left as it is", got)
	}
}

func settles(t *testing.T, least, most uint64) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		if got := gogc(); got >= least && got <= most {
			return
		}
	}
	t.Errorf("got %d, want %d to %d", gogc(), least, most)
}

func gogc() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
