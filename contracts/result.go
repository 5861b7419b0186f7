package contracts

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Class says what a result means; DESIGN §2 says what happens then.
type Class string

// The closed set of result classes.
const (
	OK             Class = "ok"
	Pending        Class = "pending"
	BusinessNo     Class = "business_no"
	InputError     Class = "input_error"
	ConfigFault    Class = "config_fault"
	Quota          Class = "quota"
	Closed         Class = "closed"
	Transient      Class = "transient"
	UnknownOutcome Class = "unknown_outcome"
)

// Classes lists every class once, for tables, metrics and coverage tests.
func Classes() []Class {
	return []Class{OK, Pending, BusinessNo, InputError, ConfigFault, Quota, Closed, Transient, UnknownOutcome}
}

// Fault is an error with class, place and mend. It never holds a personal value.
type Fault struct {
	Class Class
	Op    string // what was being tried: "send booking to rsd-gunung-jati"
	Place string // JSON Pointer, or file:line:col
	Rule  string // the code of the rule that failed: "required", "pattern", "unknown_code"
	Say   string // one plain sentence for whoever must mend it, English
	SayID string // the same sentence in Indonesian, where a sender or citizen reads it
	Err   error
}

// Error says operation, place and the mend, without any value.
func (f Fault) Error() string {
	text := f.Say
	if f.Place != "" {
		text = f.Place + ": " + text
	}
	if f.Op != "" {
		text = f.Op + ": " + text
	}
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// Unwrap gives the cause to errors.Is and errors.As.
func (f Fault) Unwrap() error { return f.Err }

// ClassOf gives the class of an error: that of the Fault within it, else transient.
func ClassOf(err error) Class {
	var fault Fault
	if errors.As(err, &fault) {
		return fault.Class
	}
	if err == nil {
		return OK
	}
	return Transient
}

// Delivery is one message on its way to one consumer; a lane is (system, case).
type Delivery struct {
	ID       string
	System   string // the consumer: a system's id or "manager:<name>"
	Function string // the function in which the consumer receives it; it decides the projection
	Lane     string
	Message  Message
	CaseKey  []byte // the wrapped key of the message's case; nil when nothing is sealed
	Index    map[string]string
	Attempt  int
	Unknown  bool // an earlier attempt may have arrived: look it up first
}

// Result ends or postpones one attempt. Reason is a code, never a value.
type Result struct {
	Class     Class
	Reason    string
	Place     string
	NotBefore time.Time // UTC; when a postponed attempt may begin again
	Deadline  time.Time // UTC; by when a pending answer is due
	Replies   []Entry   // what the answer says, as messages; stored in the settling transaction
}

// Answers tells which awaiting delivery a stored message settles.
type Answers struct {
	Message string // the id of the command that is answered
	System  string // who answers
	Class   Class
	Reason  string
}

// Entry is one message on its way into the ledger, with what the ledger must know beside it.
type Entry struct {
	Message
	System  string            // who brought it
	Ref     string            // the sender's idempotency key; empty: none
	Digest  string            // keyed digest of the received body; same Ref with another digest is a clash
	CaseKey []byte            // wrapped case key, attached until the ledger has it
	Index   map[string]string // blind index name → digest, never a clear value
	Raw     []byte            // sealed wire bytes, kept a short time so that a mapping can be mended
	Answers *Answers
	Problem *Problem // the message could not be mapped by us: it waits sealed for a person
}

// Problem is why a taken message could not become its contract: our mapping or a code table.
type Problem struct {
	Class  Class
	Reason string // "unknown_code", "mapping"
	Place  string // JSON Pointer in the received body
	Table  string // the code table, when Reason is unknown_code
}

// Contract is one released or draft message type.
type Contract interface {
	// Type is the CloudEvents type: "siak.entry.requested.v1".
	Type() string
	// Kind is "command", "event" or "view".
	Kind() string
	// Function is for whom a command is meant; empty for events and views.
	Function() string
	// Validate checks clear data and names every place that breaks a rule, without values.
	Validate(data json.RawMessage) []Fault
	// Project keeps what the function may see. It works on clear and on sealed data.
	Project(data json.RawMessage, function string) (json.RawMessage, error)
	// Fields lists every leaf with its classification and audience.
	Fields() []Field
}

// Field is one leaf of a contract's schema.
type Field struct {
	Pointer  string // "/children/*/name": * stands for every element
	Class    Classification
	Audience []string // functions that may see it
	Blind    string   // name of the blind index made of it, or empty
}

// Seen reports whether the function is in the field's audience.
func (f Field) Seen(function string) bool {
	for _, a := range f.Audience {
		if a == function {
			return true
		}
	}
	return false
}

// Registry finds contracts by type.
type Registry interface {
	Contract(messageType string) (Contract, bool)
	All() []Contract
}

// Secret holds a credential in a closure, so that no verb, encoder or logger can print it.
type Secret struct{ reveal func() string }

// NewSecret wraps a clear value.
func NewSecret(value string) Secret { return Secret{func() string { return value }} }

// Reveal gives the clear value; only adapters call it.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.reveal == nil }

// String never shows the value.
func (s Secret) String() string { return "[secret]" }

// GoString never shows the value.
func (s Secret) GoString() string { return "[secret]" }

// Format never shows the value, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[secret]") }

// MarshalText never shows the value in JSON, YAML or slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }
