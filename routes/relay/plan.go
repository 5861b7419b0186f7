// Package relay wakes the consumers of committed messages through the bus and runs their
// deliveries: planning, wake-ups, workers and the sweeper.
package relay

import (
	"time"

	"github.com/samber/lo"

	"caruban/contracts"
	"caruban/routes/ledger"
)

// Binding says which system serves a function, for which agency, and when. Units move and
// merge, so a binding has dates; a zero date is open.
type Binding struct {
	Function    string
	For         string // the agency for which it is wanted; empty: any
	System      string
	From, Until time.Time // UTC; Until is exclusive
}

// Subscription says that a system receives an event type, projected for its function.
type Subscription struct{ System, Type, Function string }

// Routing is everything that decides who gets a message. It is a value: reload replaces it.
type Routing struct {
	Bindings      []Binding
	Subscriptions []Subscription
	Managers      map[string][]string // message type → managers' consumer names
	Registry      contracts.Registry
}

// Plan is the one pure routing rule; commit, explain, rehearse and tests all call it.
func (r Routing) Plan(e contracts.Entry, now time.Time) ledger.Planned {
	p := ledger.Planned{Entry: e}
	if e.Problem != nil {
		p.Deliveries = []ledger.Plan{{Consumer: "edge:" + e.System, Lane: e.ID}}
		return p
	}
	for _, manager := range r.Managers[e.Type] {
		p.Deliveries = append(p.Deliveries, ledger.Plan{Consumer: manager, Lane: e.CaseRef})
	}
	contract, known := r.Registry.Contract(e.Type)
	if known && contract.Kind() == "command" {
		binding, bound := r.bound(contract.Function(), e.Target, now)
		if !bound {
			p.Ignored = "no_binding"
		} else {
			p.Deliveries = append(p.Deliveries, ledger.Plan{Consumer: binding.System, Function: contract.Function(), Lane: e.CaseRef})
		}
	}
	for _, s := range r.Subscriptions {
		if s.Type == e.Type {
			p.Deliveries = append(p.Deliveries, ledger.Plan{Consumer: s.System, Function: s.Function, Lane: e.CaseRef})
		}
	}
	p.Deliveries = lo.UniqBy(p.Deliveries, func(d ledger.Plan) string { return d.Consumer })
	if len(p.Deliveries) == 0 && p.Ignored == "" {
		p.Ignored = "no_consumer"
	}
	return p
}

// bound finds the valid binding of a function: one for the very agency before one for any.
func (r Routing) bound(function, agency string, now time.Time) (Binding, bool) {
	valid := lo.Filter(r.Bindings, func(b Binding, _ int) bool {
		return b.Function == function && (b.For == "" || b.For == agency) &&
			!now.Before(b.From) && (b.Until.IsZero() || now.Before(b.Until))
	})
	if b, ok := lo.Find(valid, func(b Binding) bool { return b.For != "" }); ok {
		return b, true
	}
	if len(valid) == 0 {
		return Binding{}, false
	}
	return valid[0], true
}
