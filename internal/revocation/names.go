package revocation

import "math"

// names are numbers for the names of issuers, which are few.
type names struct {
	numbers map[string]uint16
	names   []string
}

// number returns that of a name. Names that nobody has numbers for are one, which has
// none: they are for people only.
func (n *names) number(name string) uint16 {
	if n.numbers == nil {
		n.numbers, n.names = map[string]uint16{"": 0}, []string{""}
	}
	number, ok := n.numbers[name]
	if !ok && len(n.names) < math.MaxUint16 {
		number = uint16(len(n.names)) //nolint:gosec // bounded above
		n.numbers[name] = number
		n.names = append(n.names, name)
	}
	return number
}

func (n *names) name(number uint16) string { return n.names[number] }
