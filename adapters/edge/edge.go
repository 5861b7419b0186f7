// Package edge is the policy of one system, the same for every kind: translate, validate, seal,
// store on the way in; project, translate, gate, send, classify on the way out.
package edge

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/itchyny/gojq"
	"golang.org/x/time/rate"

	"caruban/adapters"
	"caruban/contracts"
)

// Intake is the part of the ledger that the Edge needs; cmd hands it in.
type Intake interface {
	Accept(ctx context.Context, e contracts.Entry) (receipt string, repeat bool, err error)
}

// Vault opens what a function may see and seals what comes in.
type Vault interface {
	Open(ctx context.Context, d contracts.Delivery, function string) (json.RawMessage, error)
	Seal(ctx context.Context, head contracts.Envelope, data json.RawMessage) (contracts.Entry, error)
	// SealRaw keeps wire bytes for a person who must mend a mapping.
	SealRaw(ctx context.Context, caseRef, id string, raw []byte) (sealed []byte, caseKey []byte, err error)
	// Digest is a keyed digest of a received body, for "same Ref, other body".
	Digest(body []byte) string
}

// Awaiting finds the delivery that an answer at a desk belongs to.
type Awaiting interface {
	Awaited(ctx context.Context, delivery string) (contracts.Delivery, error)
}

// Metrics counts what passes; labels come from closed sets.
type Metrics interface {
	Received(system, contract, status string)
	Sent(system, contract string, class contracts.Class)
}

// In says how one endpoint's raw bytes become a contract.
type In struct {
	Type    string `yaml:"type" required:"true" doc:"contract that the mapped body must satisfy"`
	Each    string `yaml:"each" doc:"jq: the items of a body that holds many; each becomes a message"`
	Map     string `yaml:"map" doc:"jq: body to contract JSON; without it the body is the contract JSON"`
	Case    string `yaml:"case" doc:"jq over the contract JSON: the case it belongs to"`
	Ref     string `yaml:"ref" doc:"jq over the received item: the sender's own id; default: the kind's"`
	Answers string `yaml:"answers" enum:"ok,business_no" doc:"the message answers the awaited command named by the header Delivery"`
}

// Rule is one line of a result table: the first whose predicate holds decides.
type Rule struct {
	When   string          `yaml:"when" required:"true" doc:"jq predicate over {code, header, body, text}; body is null when it is not JSON"`
	Class  contracts.Class `yaml:"class" required:"true" enum:"ok,pending,business_no,input_error,config_fault,quota,closed,transient,unknown_outcome"`
	Reason string          `yaml:"reason" doc:"a code, never a value"`
	Place  string          `yaml:"place"`
}

// Said is a message that a reply brings.
type Said struct {
	On   contracts.Class `yaml:"on" required:"true" doc:"the class of result on which it is said"`
	Type string          `yaml:"type" required:"true"`
	Map  string          `yaml:"map" required:"true" doc:"jq over {request, body, code, reason, now}"`
}

// Out says how one contract becomes a call and what its reply means.
type Out struct {
	Operation string        `yaml:"operation" required:"true" doc:"the kind's operation"`
	Request   string        `yaml:"request" doc:"jq: projected contract JSON to the request body"`
	Results   []Rule        `yaml:"results"`
	Replies   []Said        `yaml:"replies"`
	Deadline  time.Duration `yaml:"deadline" doc:"for pending: by when the answer is due"`
	Lookup    string        `yaml:"lookup" doc:"operation that finds out whether an earlier send arrived"`
	Found     []Rule        `yaml:"found" doc:"results of the look-up; class transient means: not there, send again"`
}

// Policy is the Edge's part of a system's configuration.
type Policy struct {
	In        map[string]In  `yaml:"in"`
	Out       map[string]Out `yaml:"out"`
	PerSecond float64        `yaml:"per_second" doc:"calls to the system a second; 0: no limit"`
}

// Edge is the policy of one system. New compiles it; it is safe for concurrent use.
type Edge struct {
	system   string
	policy   Policy
	house    House
	sink     adapters.Sink
	lookup   adapters.Lookup // nil: a person settles unknown outcomes
	programs map[string]*gojq.Code
	limit    *rate.Limiter
	circuit  circuit

	mu     sync.Mutex
	paused time.Time
	why    string
}

// House is what every Edge shares.
type House struct {
	Intake   Intake
	Vault    Vault
	Awaiting Awaiting
	Registry contracts.Registry
	Metrics  Metrics
	Log      *slog.Logger
	Now      func() time.Time // UTC
	NewID    func() string
	With     map[string]string            // parameters of the system, $with in jq
	Codes    map[string]map[string]string // code tables by name
}

// New compiles a policy. Sink and lookup are the adapter's, or nil.
func New(system string, policy Policy, adapter adapters.Adapter, house House) (*Edge, []contracts.Fault) {
	e := &Edge{system: system, policy: policy, house: house, programs: map[string]*gojq.Code{}, limit: rate.NewLimiter(rate.Inf, 1)}
	e.sink, _ = adapter.(adapters.Sink)
	e.lookup, _ = adapter.(adapters.Lookup)
	if policy.PerSecond > 0 {
		e.limit = rate.NewLimiter(rate.Limit(policy.PerSecond), max(1, int(policy.PerSecond)))
	}
	var faults []contracts.Fault
	for name, in := range policy.In {
		faults = append(faults, e.compile("/in/"+name, map[string]string{"each": in.Each, "map": in.Map, "case": in.Case, "ref": in.Ref})...)
		faults = append(faults, e.known("/in/"+name+"/type", in.Type)...)
	}
	for name, out := range policy.Out {
		faults = append(faults, e.known("/out/"+name, name)...)
		faults = append(faults, e.compile("/out/"+name, map[string]string{"request": out.Request})...)
		for _, r := range append(append([]Rule{}, out.Results...), out.Found...) {
			faults = append(faults, e.compile("/out/"+name+"/results", map[string]string{"when": r.When})...)
		}
		for _, s := range out.Replies {
			faults = append(faults, e.compile("/out/"+name+"/replies", map[string]string{"map": s.Map})...)
			faults = append(faults, e.known("/out/"+name+"/replies", s.Type)...)
		}
	}
	return e, faults
}

// System is the system's id.
func (e *Edge) System() string { return e.system }

func (e *Edge) known(place, messageType string) []contracts.Fault {
	if _, ok := e.house.Registry.Contract(messageType); ok {
		return nil
	}
	return []contracts.Fault{{Class: contracts.ConfigFault, Place: place, Rule: "unknown_contract", Say: "no contract is named " + messageType}}
}

func (e *Edge) compile(place string, sources map[string]string) []contracts.Fault {
	var faults []contracts.Fault
	for key, source := range sources {
		if source == "" || e.programs[source] != nil {
			continue
		}
		code, err := compile(source, e.house.Codes)
		if err != nil {
			faults = append(faults, contracts.Fault{Class: contracts.ConfigFault, Place: place + "/" + key, Rule: "jq", Say: err.Error()})
			continue
		}
		e.programs[source] = code
	}
	return faults
}

// Gate says whether deliveries may begin now, and if not until when and why: circuit open,
// quota gone, outside hours or a queue that a configuration fault stopped.
func (e *Edge) Gate(now time.Time) (open bool, until time.Time, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Before(e.paused) {
		return false, e.paused, e.why
	}
	return true, time.Time{}, ""
}

func (e *Edge) pause(until time.Time, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.paused, e.why = until, reason
}

// Resume opens a queue that was stopped; an operator calls it after the mend.
func (e *Edge) Resume() { e.pause(time.Time{}, "") }
