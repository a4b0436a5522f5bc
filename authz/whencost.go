package authz

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// One evaluation may spend maxWhenCost units, each at most about 500 ns of CPU:
// a quarter of the 200 ms that docs/contract.md §2 promises, for slower machines.
// Clients choose the claims, and with them how long an evaluation takes.
const (
	maxWhenCost = 100_000

	bytesPerUnit = 10  // of text that is compared, copied or converted
	matchPerUnit = 25  // steps of a match: pattern nodes times bytes of text
	zoneCost     = 100 // a time zone is read from a file

	maxPatternBytes = 10_000
	maxPatternNodes = 10_000
)

// prices charges calls by what they take. CEL's own prices take the length of a
// text for free, and a list of lists for its length.
type prices struct {
	low [16]uint64 // the numbers from 0, to point to: CEL asks for pointers, at each call
}

func newPrices() *prices {
	p := &prices{}
	for n := range p.low {
		p.low[n] = uint64(n) //nolint:gosec // never negative
	}
	return p
}

// CallCost implements interpreter.ActualCostEstimator.
func (p *prices) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	cost := priceOf(function, args, result)
	if cost < uint64(len(p.low)) {
		return &p.low[cost]
	}
	high := cost
	return &high
}

func priceOf(function string, args []ref.Val, result ref.Val) uint64 {
	cost := uint64(1)
	if function == chargeFunction {
		return uint64(result.(types.Int)) //nolint:gosec // never negative
	}
	deep := function == operators.Equals || function == operators.NotEquals || function == operators.In
	for _, arg := range args {
		switch v := arg.(type) {
		case types.String:
			cost += uint64(len(v) / bytesPerUnit)
		case types.Bytes:
			cost += uint64(len(v) / bytesPerUnit)
		default:
			if deep {
				cost += weight(v)
			}
		}
	}
	if function == operators.Add { // x + x takes no time, but all that walks it does
		cost += shorter(args)
	}
	if len(args) == 2 && strings.HasPrefix(function, "get") { // getHours("Europe/Berlin")
		cost += zoneCost
	}
	return cost
}

// shorter is the length of the shorter of two lists: macros add one member at a
// time to a long one.
func shorter(args []ref.Val) uint64 {
	length := int64(math.MaxInt64)
	for _, arg := range args {
		list, ok := arg.(traits.Lister)
		if !ok {
			return 0
		}
		if n, ok := list.Size().(types.Int); ok {
			length = min(length, int64(n))
		}
	}
	return uint64(length) //nolint:gosec // never negative
}

// weight is how much there is to compare in a value.
func weight(value ref.Val) uint64 {
	total := uint64(1)
	switch v := value.(type) {
	case types.String:
		total += uint64(len(v) / bytesPerUnit)
	case types.Bytes:
		total += uint64(len(v) / bytesPerUnit)
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			total += weight(it.Next())
		}
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			total += weight(key) + weight(v.Get(key))
		}
	}
	return total
}

// chargeFunction is the name under which a match is paid for.
const chargeFunction = "@charge"

type charge struct{}

func (charge) Function() string   { return chargeFunction }
func (charge) OverloadID() string { return chargeFunction }

// pay ends the evaluation, by a panic that CEL recovers, if that is too much.
func pay(frame *interpreter.ExecutionFrame, units int) {
	if tracker := frame.CostTracker(); tracker != nil {
		tracker.EvalZeroArity(nil, 0, charge{}, types.Int(units))
	}
}

// match is a call of `matches` that is paid for before it runs: CEL counts a
// call when it is over, and one alone may take a second.
type match struct {
	interpreter.InterpretableV2 // the call, for its place in the expression

	text, pattern interpreter.InterpretableV2
	compiled      *regexp.Regexp // nil: the pattern is no literal
	nodes         int
}

// boundMatches is a decorator of CEL's planner. What it returns is no call any
// more, so that no other decorator takes it for one.
func boundMatches(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || call.Function() != overloads.Matches || len(call.Args()) != 2 {
		return i, nil
	}
	m := &match{InterpretableV2: i, text: call.Args()[0], pattern: call.Args()[1]}
	literal, ok := m.pattern.(interpreter.InterpretableConst)
	if !ok {
		return m, nil
	}
	pattern, ok := literal.Value().(types.String)
	if !ok {
		return m, nil
	}
	var err error
	if m.nodes, err = patternNodes(string(pattern)); err != nil {
		return nil, err
	}
	m.compiled, err = regexp.Compile(string(pattern))
	return m, err
}

// Eval implements interpreter.Interpretable.
func (m *match) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, m.Exec)
}

// Exec implements interpreter.InterpretableV2.
func (m *match) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	value := m.text.Exec(frame)
	text, ok := value.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(value)
	}
	compiled, nodes := m.compiled, m.nodes
	if compiled == nil {
		value := m.pattern.Exec(frame)
		pattern, ok := value.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(value)
		}
		pay(frame, len(pattern))
		var err error
		if nodes, err = patternNodes(string(pattern)); err != nil {
			return types.WrapErr(err)
		}
		pay(frame, nodes)
		if compiled, err = regexp.Compile(string(pattern)); err != nil {
			return types.WrapErr(err)
		}
	}
	pay(frame, 1+nodes*(len(text)+1)/matchPerUnit)
	return types.Bool(compiled.MatchString(string(text)))
}

// patternNodes measures what a pattern compiles to, repetitions written out,
// without compiling it: a few bytes can stand for millions of instructions.
func patternNodes(pattern string) (int, error) {
	if len(pattern) > maxPatternBytes {
		return 0, fmt.Errorf("the pattern is longer than %d bytes", maxPatternBytes)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, errors.New("the pattern is no regular expression")
	}
	nodes := countNodes(parsed)
	if nodes > maxPatternNodes {
		return 0, fmt.Errorf("the pattern is too large: want at most %d characters, classes and operators, "+
			"repetitions written out", maxPatternNodes)
	}
	return nodes, nil
}

func countNodes(re *syntax.Regexp) int {
	total := 1
	switch re.Op {
	case syntax.OpLiteral:
		total = len(re.Rune)
	case syntax.OpRepeat:
		total = 0
	}
	for _, sub := range re.Sub {
		total = min(total+countNodes(sub), maxPatternNodes+1)
	}
	if re.Op == syntax.OpRepeat {
		if re.Min != re.Max { // a choice before each of them
			total++
		}
		total *= max(re.Min, re.Max, 1)
	}
	return min(total, maxPatternNodes+1)
}
