package edge

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"caruban/adapters"
	"caruban/contracts"
)

// The waits between attempts; the ledger keeps them.
const (
	firstWait = 2 * time.Second
	longWait  = 5 * time.Minute
	faultWait = 10 * time.Minute // a configuration fault stops the queue; an operator resumes it
)

// Deliver makes one attempt and never waits: the ledger decides about the next one.
func (e *Edge) Deliver(ctx context.Context, d contracts.Delivery) contracts.Result {
	result := e.attempt(ctx, d)
	e.house.Metrics.Sent(e.system, d.Message.Type, result.Class)
	return e.paced(d, result)
}

func (e *Edge) attempt(ctx context.Context, d contracts.Delivery) contracts.Result {
	now := e.house.Now()
	if open, until, why := e.Gate(now); !open {
		return contracts.Result{Class: contracts.Closed, Reason: why, NotBefore: until}
	}
	out, ok := e.policy.Out[d.Message.Type]
	if !ok {
		return contracts.Result{Class: contracts.ConfigFault, Reason: "no_mapping"}
	}
	if d.Message.ExpiryTime != nil && now.After(*d.Message.ExpiryTime) {
		return contracts.Result{Class: contracts.BusinessNo, Reason: "expired"}
	}
	if reserve := e.limit.ReserveN(now, 1); reserve.DelayFrom(now) > 0 {
		wait := reserve.DelayFrom(now)
		reserve.CancelAt(now)
		return contracts.Result{Class: contracts.Closed, Reason: "rate", NotBefore: now.Add(wait)}
	}
	clear, err := e.house.Vault.Open(ctx, d, d.Function)
	if err != nil {
		return contracts.Result{Class: contracts.InputError, Reason: "sealed"}
	}
	request, err := decode(clear)
	if err != nil {
		return contracts.Result{Class: contracts.InputError, Reason: "data"}
	}
	call := adapters.Call{Endpoint: out.Operation, Ref: d.Message.ID, Type: d.Message.Type, Case: d.Message.CaseRef, Body: clear, Unknown: d.Unknown}
	if out.Request != "" {
		body, err := e.one(ctx, out.Request, request, nil)
		if err != nil {
			p := problem(err)
			return contracts.Result{Class: p.Class, Reason: p.Reason, Place: p.Place}
		}
		if call.Body, err = json.Marshal(body); err != nil {
			return contracts.Result{Class: contracts.InputError, Reason: "mapping"}
		}
	}
	if d.Unknown {
		return e.find(ctx, d, out, call, request)
	}
	return e.send(ctx, d, out, call, request)
}

func (e *Edge) send(ctx context.Context, d contracts.Delivery, out Out, call adapters.Call, request any) contracts.Result {
	if e.sink == nil {
		return contracts.Result{Class: contracts.ConfigFault, Reason: "cannot_send"}
	}
	reply, err := e.sink.Send(ctx, call)
	if err != nil {
		if class := classOf(err); class != "" {
			return contracts.Result{Class: class, Reason: "connection"}
		}
		if reply.Sent {
			return contracts.Result{Class: contracts.UnknownOutcome, Reason: "no_reply"}
		}
		return contracts.Result{Class: contracts.Transient, Reason: "unreachable"}
	}
	return e.judge(ctx, d, out, out.Results, reply, request)
}

// find looks an unknown outcome up before anything is sent again.
func (e *Edge) find(ctx context.Context, d contracts.Delivery, out Out, call adapters.Call, request any) contracts.Result {
	if e.lookup == nil || out.Lookup == "" {
		return contracts.Result{Class: contracts.InputError, Reason: "unknown_outcome"} // a person settles it
	}
	asked := call
	asked.Endpoint = out.Lookup
	reply, err := e.lookup.Lookup(ctx, asked)
	if err != nil {
		return contracts.Result{Class: contracts.UnknownOutcome, Reason: "lookup_unreachable"}
	}
	found := e.judge(ctx, d, out, out.Found, reply, request)
	if found.Class == contracts.Transient {
		return e.send(ctx, d, out, call, request)
	}
	return found
}

// judge takes the first rule whose predicate holds; no rule means the outcome is not known.
func (e *Edge) judge(ctx context.Context, d contracts.Delivery, out Out, rules []Rule, reply adapters.Reply, request any) contracts.Result {
	body, err := decode(reply.Body)
	if err != nil {
		body = nil
	}
	header := map[string]any{}
	for k, v := range reply.Header {
		header[k] = v
	}
	seen := map[string]any{"code": reply.Code, "header": header, "body": body, "text": string(reply.Body)}
	result := contracts.Result{Class: contracts.UnknownOutcome, Reason: "unreadable"}
	for _, rule := range rules {
		v, err := e.one(ctx, rule.When, seen, nil)
		if err == nil && v == true {
			result = contracts.Result{Class: rule.Class, Reason: rule.Reason, Place: rule.Place}
			break
		}
	}
	if result.Class == contracts.Pending && out.Deadline > 0 {
		result.Deadline = e.house.Now().Add(out.Deadline)
	}
	for _, said := range out.Replies {
		if said.On != result.Class {
			continue
		}
		entry, err := e.reply(ctx, d, said, map[string]any{
			"request": request, "body": body, "code": reply.Code, "reason": result.Reason, "now": e.house.Now().UTC().Format(time.RFC3339),
		})
		if err != nil {
			return contracts.Result{Class: contracts.InputError, Reason: "reply_mapping", Place: "/" + said.Type}
		}
		result.Replies = append(result.Replies, entry)
	}
	return result
}

func (e *Edge) reply(ctx context.Context, d contracts.Delivery, said Said, seen map[string]any) (contracts.Entry, error) {
	v, err := e.one(ctx, said.Map, seen, nil)
	if err != nil {
		return contracts.Entry{}, err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return contracts.Entry{}, errMapping
	}
	contract, _ := e.house.Registry.Contract(said.Type)
	if faults := contract.Validate(data); len(faults) > 0 {
		return contracts.Entry{}, faults[0]
	}
	head := e.head(said.Type)
	follow(&head, d.Message)
	entry, err := e.house.Vault.Seal(ctx, head, data)
	entry.System = e.system
	return entry, err
}

// paced adds when the next attempt may begin, opens and closes the circuit, stops a queue.
func (e *Edge) paced(d contracts.Delivery, r contracts.Result) contracts.Result {
	now := e.house.Now()
	switch r.Class {
	case contracts.OK, contracts.Pending, contracts.BusinessNo, contracts.InputError:
		e.circuit.worked()
	case contracts.Transient, contracts.UnknownOutcome:
		r.NotBefore = now.Add(min(firstWait<<min(d.Attempt, 8), longWait))
		if rest := e.circuit.failed(); rest > 0 {
			e.pause(now.Add(rest), "circuit")
		}
	case contracts.ConfigFault:
		e.pause(now.Add(faultWait), "config_fault")
		r.NotBefore = now.Add(faultWait)
	case contracts.Quota:
		if r.NotBefore.IsZero() {
			r.NotBefore = nextMidnight(now)
		}
		e.pause(r.NotBefore, "quota")
	case contracts.Closed:
		if r.NotBefore.IsZero() {
			r.NotBefore = now.Add(longWait)
		}
	}
	return r
}

// nextMidnight is 00:00 WIB (UTC+7, no daylight saving), when Dukcapil's quota begins anew.
func nextMidnight(now time.Time) time.Time {
	wib := now.In(time.FixedZone("WIB", 7*60*60))
	return time.Date(wib.Year(), wib.Month(), wib.Day()+1, 0, 0, 0, 0, wib.Location()).UTC()
}

// classOf gives the class that a kind put on an error, or "".
func classOf(err error) contracts.Class {
	var fault contracts.Fault
	if errors.As(err, &fault) {
		return fault.Class
	}
	return ""
}
