package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"caruban/contracts"
)

// jqTime bounds one mapping (DESIGN §9 "Limits").
const jqTime = 200 * time.Millisecond

var (
	errMapping = errors.New("mapping failed")
	errNothing = errors.New("mapping gave nothing")
)

// prelude offers the one way to a code table: tr(table; path), which knows the place.
const prelude = `def tr(t; p): code(t; path(p)); `

// unknownCode is what halts a mapping at a code that no table holds.
type unknownCode struct{ table, place string }

func (u unknownCode) Error() string { return "unknown code of table " + u.table + " at " + u.place }

// compile makes a program with $now, $with, $system and $header, code tables and unescape.
func compile(source string, tables map[string]map[string]string) (*gojq.Code, error) {
	query, err := gojq.Parse(prelude + source)
	if err != nil {
		return nil, fmt.Errorf("jq: %w", err)
	}
	if strings.Contains(source, "now") && usesNow(source) {
		return nil, errors.New("jq: now is not allowed, take $now: a replay must give the same")
	}
	halting, err := gojq.Parse("halt_error")
	if err != nil {
		return nil, fmt.Errorf("jq: %w", err)
	}
	halt, err := gojq.Compile(halting)
	if err != nil {
		return nil, fmt.Errorf("jq: %w", err)
	}
	code, err := gojq.Compile(query,
		gojq.WithVariables([]string{"$now", "$with", "$system", "$header"}),
		gojq.WithFunction("code", 2, 2, func(root any, args []any) any {
			table, _ := args[0].(string)
			path, _ := args[1].([]any)
			key := fmt.Sprint(at(root, path))
			if to, ok := tables[table][key]; ok {
				return to
			}
			v, _ := halt.Run(map[string]any{"table": table, "place": pointer(path)}).Next()
			return v
		}),
		gojq.WithFunction("unescape", 0, 0, func(v any, _ []any) any {
			s, ok := v.(string)
			if !ok {
				return v
			}
			return html.UnescapeString(s)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("jq: %w", err)
	}
	return code, nil
}

// usesNow finds the function now; $now and names that hold it are fine.
func usesNow(source string) bool {
	word := func(c byte) bool {
		return c == '_' || c == '$' || c == '.' || c == '"' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for rest, before := source, ""; ; {
		i := strings.Index(rest, "now")
		if i < 0 {
			return false
		}
		before += rest[:i]
		rest = rest[i+3:]
		left := before == "" || !word(before[len(before)-1])
		right := rest == "" || !word(rest[0]) && rest[0] != ':'
		if left && right {
			return true
		}
		before += "now"
	}
}

func at(v any, path []any) any {
	for _, p := range path {
		switch key := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			l, _ := v.([]any)
			if key < 0 || key >= len(l) {
				return nil
			}
			v = l[key]
		default:
			return nil
		}
	}
	return v
}

func pointer(path []any) string {
	var b strings.Builder
	for _, p := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(fmt.Sprint(p)))
	}
	return b.String()
}

// run gives every value of a program. An error never holds a value of the input.
func (e *Edge) run(ctx context.Context, source string, input any, header map[string]string) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, jqTime)
	defer cancel()
	with, head := map[string]any{}, map[string]any{}
	for k, v := range e.house.With {
		with[k] = v
	}
	for k, v := range header {
		head[k] = v
	}
	var out []any
	results := e.programs[source].RunWithContext(ctx, input, e.house.Now().UTC().Format(time.RFC3339), with, e.system, head)
	for {
		v, ok := results.Next()
		if !ok {
			return out, nil
		}
		if err, failed := v.(error); failed {
			var halt *gojq.HaltError
			if errors.As(err, &halt) {
				if where, ok := halt.Value().(map[string]any); ok {
					table, _ := where["table"].(string)
					place, _ := where["place"].(string)
					return nil, unknownCode{table, place}
				}
			}
			return nil, errMapping // the library's text prints values
		}
		out = append(out, v)
	}
}

// one gives the single value of a program.
func (e *Edge) one(ctx context.Context, source string, input any, header map[string]string) (any, error) {
	values, err := e.run(ctx, source, input, header)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 || values[0] == nil {
		return nil, errNothing
	}
	return values[0], nil
}

// decode reads exactly one JSON document and keeps numbers as written.
func decode(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errors.New("not JSON")
	}
	if d.More() {
		return nil, errors.New("more than one JSON document")
	}
	return v, nil
}

// problem says why a mapping could not be done, without a value.
func problem(err error) contracts.Problem {
	var code unknownCode
	if errors.As(err, &code) {
		return contracts.Problem{Class: contracts.InputError, Reason: "unknown_code", Place: code.place, Table: code.table}
	}
	return contracts.Problem{Class: contracts.InputError, Reason: "mapping"}
}
