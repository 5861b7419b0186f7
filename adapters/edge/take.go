package edge

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"caruban/adapters"
	"caruban/contracts"
)

// DeliveryHeader names the awaited delivery that a desk answers.
const DeliveryHeader = "Delivery"

// unmapped is the contract of what could not be mapped by us and waits for a person.
const unmapped = "caruban.unmapped.v1"

// Take is an adapters.Take: it answers when the ledger has committed or refused. A body with
// many items gets the worst answer of its items; those that were good are stored all the same.
func (e *Edge) Take(ctx context.Context, raw adapters.Raw) adapters.Answer {
	in, ok := e.policy.In[raw.Endpoint]
	if !ok {
		return refuse("", "unknown_endpoint", "this system has no endpoint of that name", "Tidak ada pintu dengan nama itu.")
	}
	body, err := decode(raw.Body)
	if err != nil {
		return e.counted(in.Type, refuse("", "json", "the body must be one JSON document", "Isi kiriman harus satu dokumen JSON."))
	}
	items := []any{body}
	if in.Each != "" {
		if items, err = e.run(ctx, in.Each, body, raw.Header); err != nil {
			return e.counted(in.Type, e.keep(ctx, in, raw, raw.Ref, problem(err)))
		}
	}
	answer := adapters.Answer{Status: adapters.Accepted}
	for i, item := range items {
		one := e.counted(in.Type, e.item(ctx, in, raw, item))
		if i == 0 || one.Status > answer.Status {
			answer = one
		}
	}
	return answer
}

func (e *Edge) counted(contract string, a adapters.Answer) adapters.Answer {
	status := map[adapters.Status]string{
		adapters.Accepted: "accepted", adapters.Repeat: "repeat", adapters.Clash: "clash",
		adapters.Refused: "refused", adapters.Busy: "busy", adapters.Unavailable: "unavailable",
	}[a.Status]
	e.house.Metrics.Received(e.system, contract, status)
	return a
}

func (e *Edge) item(ctx context.Context, in In, raw adapters.Raw, item any) adapters.Answer {
	ref := raw.Ref
	if in.Ref != "" {
		v, err := e.one(ctx, in.Ref, item, raw.Header)
		text, isText := v.(string)
		if err != nil || !isText || text == "" {
			return refuse("", "ref", "the sender's own id is missing", "Nomor kiriman dari pengirim tidak ada.")
		}
		ref = text
	}
	mapped := item
	if in.Map != "" {
		v, err := e.one(ctx, in.Map, item, raw.Header)
		if err != nil {
			return e.keep(ctx, in, raw, ref, problem(err))
		}
		mapped = v
	}
	data, err := json.Marshal(mapped)
	if err != nil {
		return e.keep(ctx, in, raw, ref, contracts.Problem{Class: contracts.InputError, Reason: "mapping"})
	}
	contract, _ := e.house.Registry.Contract(in.Type)
	if faults := contract.Validate(data); len(faults) > 0 {
		return adapters.Answer{Status: adapters.Refused, Faults: faults}
	}
	head := e.head(in.Type)
	if in.Case != "" {
		v, err := e.one(ctx, in.Case, mapped, raw.Header)
		text, isText := v.(string)
		if err != nil || !isText {
			return e.keep(ctx, in, raw, ref, contracts.Problem{Class: contracts.InputError, Reason: "mapping", Place: "/case"})
		}
		head.CaseRef = text
	}
	head.TransactionID = ref
	var answers *contracts.Answers
	if in.Answers != "" {
		awaited, err := e.house.Awaiting.Awaited(ctx, raw.Header[DeliveryHeader])
		if err != nil || awaited.System != e.system {
			return refuse("", "not_awaited", "no open item of that number waits at this desk", "Tidak ada tugas terbuka dengan nomor itu di meja ini.")
		}
		follow(&head, awaited.Message)
		answers = &contracts.Answers{Message: awaited.Message.ID, System: e.system, Class: contracts.Class(in.Answers), Reason: "answered"}
	}
	entry, err := e.house.Vault.Seal(ctx, head, data)
	if err != nil {
		return e.down(err)
	}
	entry.System, entry.Ref, entry.Answers = e.system, ref, answers
	if ref != "" {
		entry.Digest = e.house.Vault.Digest(data)
	}
	return e.accept(ctx, entry)
}

// head is a new message's envelope; ids and time are the house's.
func (e *Edge) head(messageType string) contracts.Envelope {
	id := e.house.NewID()
	return contracts.Envelope{
		SpecVersion: "1.0", ID: id, Source: e.system, Type: messageType, Time: e.house.Now().UTC(),
		DataContentType: "application/json", CaseRef: id,
	}
}

// follow puts an answer into the case and story of what it answers.
func follow(head *contracts.Envelope, cause contracts.Message) {
	head.CaseRef, head.CausationID, head.TransactionID = cause.CaseRef, cause.ID, cause.TransactionID
	head.CorrelationID = cause.CorrelationID
	if head.CorrelationID == "" {
		head.CorrelationID = cause.ID
	}
}

// keep stores what we must mend ourselves: 202, sealed, waiting for a person.
func (e *Edge) keep(ctx context.Context, in In, raw adapters.Raw, ref string, p contracts.Problem) adapters.Answer {
	head := e.head(unmapped)
	wire, key, err := e.house.Vault.SealRaw(ctx, head.CaseRef, head.ID, raw.Body)
	if err != nil {
		return e.down(err)
	}
	data, _ := json.Marshal(map[string]string{"contract": in.Type, "endpoint": raw.Endpoint, "reason": p.Reason, "place": p.Place, "table": p.Table})
	return e.accept(ctx, contracts.Entry{
		Message: contracts.Message{Envelope: head, Sealed: data}, System: e.system, Ref: ref,
		Digest: e.house.Vault.Digest(raw.Body), Raw: wire, CaseKey: key, Problem: &p,
	})
}

func (e *Edge) accept(ctx context.Context, entry contracts.Entry) adapters.Answer {
	receipt, repeat, err := e.house.Intake.Accept(ctx, entry)
	switch {
	case err == nil && repeat:
		return adapters.Answer{Status: adapters.Repeat, Receipt: receipt}
	case err == nil:
		return adapters.Answer{Status: adapters.Accepted, Receipt: receipt}
	case contracts.ClassOf(err) == contracts.BusinessNo:
		return adapters.Answer{Status: adapters.Clash, Faults: []contracts.Fault{{Class: contracts.BusinessNo, Rule: "clash",
			Say: "this id was sent before with another content", SayID: "Nomor ini sudah pernah dikirim dengan isi lain."}}}
	case errors.Is(err, context.Canceled):
		return adapters.Answer{Status: adapters.Unavailable, RetryAfter: time.Second}
	default:
		return e.down(err)
	}
}

func (e *Edge) down(err error) adapters.Answer {
	e.house.Log.Error("take", "system", e.system, "class", contracts.ClassOf(err), "error", strings.ReplaceAll(err.Error(), "\n", " "))
	return adapters.Answer{Status: adapters.Unavailable, RetryAfter: 5 * time.Second}
}

func refuse(place, rule, say, sayID string) adapters.Answer {
	return adapters.Answer{Status: adapters.Refused, Faults: []contracts.Fault{{Class: contracts.InputError, Place: place, Rule: rule, Say: say, SayID: sayID}}}
}
