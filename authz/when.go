package authz

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/bearergate/bearergate/internal/headername"
	"github.com/bearergate/bearergate/validation"
)

const (
	hostVariable    = "request.host"
	headersVariable = "request.headers"
	pathVariable    = "request.path"
)

// What became of an evaluation, for logs: CEL's own words would put claims there.
var (
	errWhenFalse  = errors.New("when is false")
	errWhenFailed = errors.New("when: cannot be evaluated: a claim or header is missing, or of another type")
	errWhenCost   = errors.New("when: the evaluation costs too much")
)

// conditions compiles every `when` of a policy in one environment, which takes
// longer to make than an expression to compile, and each expression once.
type conditions struct {
	env    *cel.Env // nil: not needed so far
	known  map[string]*condition
	prices *prices
}

// condition is a compiled `when`. It may look at `claims`; at `request.method`,
// `request.host`, `request.path` and `request.headers`; and at `token.issuer`,
// `token.scopes` and `token.client_id`.
type condition struct {
	program cel.Program
	headers []string // that the expression names; no others are shown to it
	onHost  bool     // it reads request.host
	onPath  bool     // it reads request.path
	loops   bool     // it has a macro, and can be interrupted
}

func newEnvironment() (*cel.Env, error) {
	return cel.NewEnv(
		cel.CustomTypeAdapter(numbers{types.DefaultTypeAdapter}),
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("request.method", cel.StringType),
		cel.Variable(hostVariable, cel.StringType),
		cel.Variable(pathVariable, cel.StringType),
		cel.Variable(headersVariable, cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("token.issuer", cel.StringType),
		cel.Variable("token.scopes", cel.ListType(cel.StringType)),
		cel.Variable("token.client_id", cel.StringType),
		cel.ASTValidators(cel.ValidateRegexLiterals()),
	)
}

// compile type-checks an expression; errors give the column.
func (cs *conditions) compile(expression string) (*condition, error) {
	if cs.env == nil {
		env, err := newEnvironment()
		if err != nil {
			return nil, err
		}
		cs.env, cs.known, cs.prices = env, map[string]*condition{}, newPrices()
	}
	if c, ok := cs.known[expression]; ok {
		return c, nil
	}
	c, err := cs.compileNew(expression)
	if err == nil {
		cs.known[expression] = c
	}
	return c, err
}

func (cs *conditions) compileNew(expression string) (*condition, error) {
	checked, issues := cs.env.Compile(expression)
	if err := issues.Err(); err != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("column %d: %s", first.Location.Column()+1, first.Message)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("column 1: the expression is of type %s, want bool", checked.OutputType())
	}
	headers, err := namedHeaders(checked.NativeRep())
	if err != nil {
		return nil, err
	}
	program, err := cs.env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(100),
		cel.CostTracking(cs.prices), cel.CostLimit(maxWhenCost), cel.CustomDecoratorV2(boundMatches))
	if err != nil {
		return nil, err
	}
	c := &condition{program: program, headers: headers, loops: hasLoops(checked.NativeRep().Expr())}
	for _, reference := range checked.NativeRep().ReferenceMap() {
		c.onHost = c.onHost || reference.Name == hostVariable
		c.onPath = c.onPath || reference.Name == pathVariable
	}
	return c, nil
}

// hasLoops says whether there is a macro like exists, which CEL makes a loop of.
func hasLoops(e ast.Expr) bool {
	loops := false
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) { loops = loops || e.Kind() == ast.ComprehensionKind }))
	return loops
}

// namedHeaders returns the request headers that an expression names, each by a
// literal: this list is all that the expression gets to see. Headers that
// carry credentials, and those a client may write in a proxy's name,
// cannot be named.
func namedHeaders(a *ast.AST) ([]string, error) {
	var names []string
	var err error
	mentions, named := 0, 0
	isHeaders := func(e ast.Expr) bool {
		reference, ok := a.ReferenceMap()[e.ID()]
		return ok && reference.Name == headersVariable
	}
	add := func(name string) {
		named++
		if problem := checkReadable(name); problem != nil && err == nil {
			err = problem
		}
		names = append(names, name)
	}
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if isHeaders(e) {
			mentions++
			return
		}
		switch e.Kind() {
		case ast.SelectKind:
			if isHeaders(e.AsSelect().Operand()) {
				add(e.AsSelect().FieldName())
			}
		case ast.CallKind:
			args := e.AsCall().Args()
			if len(args) != 2 {
				return
			}
			of, name := args[0], args[1]
			switch e.AsCall().FunctionName() {
			case operators.Index:
			case operators.In:
				of, name = name, of
			default:
				return
			}
			if isHeaders(of) && name.Kind() == ast.LiteralKind {
				if literal, ok := name.AsLiteral().Value().(string); ok {
					add(literal)
				}
			}
		}
	}))
	if err == nil && mentions != named {
		err = fmt.Errorf(`%s: name each header by a literal, as in %s["mcp-name"]`, headersVariable, headersVariable)
	}
	return names, err
}

func checkReadable(name string) error {
	if name != strings.ToLower(name) || !isToken(name) {
		return fmt.Errorf("%s: got %q, want a header name in lower case", headersVariable, name)
	}
	dashed := headername.Dashed(name)
	for _, prefix := range []string{
		"authorization", "proxy-authorization", "cookie",
		"forwarded", "x-forwarded-", "x-real-ip", "x-envoy-", "x-original-",
	} {
		if strings.HasPrefix(dashed, prefix) {
			return fmt.Errorf("%s: %q must not decide: it holds a credential, or clients can forge it", headersVariable, name)
		}
	}
	return nil
}

// holds evaluates the condition. An error means that it does not hold.
func (c *condition) holds(ctx context.Context, r *Request, host, path string, t *validation.Token) (bool, error) {
	value, err := c.eval(ctx, &facts{
		method: r.Method, host: host, path: path, header: r.Header, headers: c.headers, token: t,
	})
	if err != nil {
		cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err)
		if ok && cancelled.Cause == interpreter.CostLimitExceeded {
			return false, errWhenCost
		}
		return false, errWhenFailed
	}
	if value != types.True {
		return false, errWhenFalse
	}
	return true, nil
}

// eval does not make what CEL needs to be interrupted where it never looks whether
// it is: between the turns of a loop.
func (c *condition) eval(ctx context.Context, f *facts) (ref.Val, error) {
	if c.loops {
		value, _, err := c.program.ContextEval(ctx, f)
		return value, err
	}
	value, _, err := c.program.Eval(f)
	return value, err
}

// facts are the variables of one evaluation. Each is made when it is read, in
// CEL's own types where that spares a conversion.
type facts struct {
	method, host, path string

	header  func(name string) (value string, ok bool)
	headers []string
	token   *validation.Token // nil: none
	claims  map[string]any    // of the token, once they were asked for
}

// Parent implements cel.Activation.
func (*facts) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (f *facts) ResolveName(name string) (any, bool) {
	switch name {
	case "request.method":
		return types.String(f.method), true
	case hostVariable:
		return types.String(f.host), true
	case pathVariable:
		return types.String(f.path), true
	case headersVariable:
		return f.named(), true
	}
	t := f.token
	if t == nil {
		t = &validation.Token{}
	}
	switch name {
	case "claims":
		if f.claims == nil {
			f.claims = t.Claims.Map()
		}
		return f.claims, true
	case "token.issuer":
		return types.String(t.Issuer), true
	case "token.scopes":
		return t.Scopes, true
	case "token.client_id":
		return types.String(t.ClientID), true
	}
	return nil, false
}

func (f *facts) named() map[string]string {
	headers := make(map[string]string, len(f.headers))
	if f.header == nil {
		return headers
	}
	for _, name := range f.headers {
		if value, ok := f.header(name); ok {
			headers[name] = value
		}
	}
	return headers
}

// numbers shows CEL the numbers of claims, which are kept as they were sent, as
// int where they are whole and fit, else as double.
type numbers struct{ types.Adapter }

// NativeToValue implements types.Adapter.
func (n numbers) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case ref.Val:
		return v
	case stdjson.Number:
		if i, err := v.Int64(); err == nil {
			return types.Int(i)
		}
		if f, err := v.Float64(); err == nil {
			return types.Double(f)
		}
		return types.NewErr("number out of range")
	case map[string]any:
		return types.NewStringInterfaceMap(n, v)
	case []any:
		return types.NewDynamicList(n, v)
	}
	return n.Adapter.NativeToValue(value)
}
