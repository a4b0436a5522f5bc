//go:build panicking

package filter

// panicAt panics where the request's header x-panic says.
func panicAt(place string, all fields) {
	for _, f := range all {
		if f[0] == "x-panic" && f[1] == place {
			panic("a panic that was asked for")
		}
	}
}
