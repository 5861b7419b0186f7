// Package contracts holds what both sides of the bus know: the envelope, messages and their
// deliveries, result classes, faults, secrets and the registry of message contracts.
// It imports nothing else of Caruban.
package contracts

import (
	"encoding/json"
	"fmt"
	"time"
)

// Classification says how private a value is (civic dossier §9): P0 public, P1 internal,
// P2 personal, P3 specific personal data in the sense of UU 27/2022 art. 4.
type Classification string

// The four classifications, from open to most private.
const (
	P0 Classification = "P0"
	P1 Classification = "P1"
	P2 Classification = "P2"
	P3 Classification = "P3"
)

// Private reports whether values of this classification are sealed at rest.
func (c Classification) Private() bool { return c == P2 || c == P3 }

// Envelope is a CloudEvents 1.0 head with Caruban's extension attributes. It holds codes and
// times only, never a personal value. Times are UTC.
type Envelope struct {
	SpecVersion     string         `json:"specversion"`
	ID              string         `json:"id"`
	Source          string         `json:"source"` // the system or process manager that said it
	Type            string         `json:"type"`   // "siak.entry.requested.v1"
	Time            time.Time      `json:"time"`   // when it happened, UTC
	Subject         string         `json:"subject,omitempty"`
	DataContentType string         `json:"datacontenttype"`
	DataSchema      string         `json:"dataschema,omitempty"`
	CorrelationID   string         `json:"correlationid,omitempty"` // the first message of the story
	CausationID     string         `json:"causationid,omitempty"`   // the message that led to this one
	CaseRef         string         `json:"caseref,omitempty"`       // DESIGN §9 "Case keys"
	TransactionID   string         `json:"transactionid,omitempty"` // the sender's own id for the act
	Target          string         `json:"target,omitempty"`        // the agency for whom a function is wanted
	Actor           string         `json:"actor,omitempty"`
	OnBehalfOf      string         `json:"onbehalfof,omitempty"`
	LegalBasis      string         `json:"legalbasis,omitempty"` // consent is never a boolean: UU 27/2022 art. 20
	Purpose         string         `json:"purpose,omitempty"`
	ConsentRef      string         `json:"consentref,omitempty"`
	Classification  Classification `json:"classification,omitempty"`
	Retention       string         `json:"retention,omitempty"`
	ExpiryTime      *time.Time     `json:"expirytime,omitempty"` // after this instant it is no longer sent
}

// Message is a CloudEvents head and its sealed data: JSON in which every P2 and P3 value has
// been replaced by a sealed token. It prints type and id, never data.
type Message struct {
	Envelope
	Sealed []byte
}

// String names the message without its content.
func (m Message) String() string { return fmt.Sprintf("%s %s", m.Type, m.ID) }

// GoString keeps %#v from printing data.
func (m Message) GoString() string { return m.String() }

// Format keeps every other verb from printing data.
func (m Message) Format(f fmt.State, _ rune) { fmt.Fprint(f, m.String()) }

// MarshalJSON writes the CloudEvents structured form; its data holds sealed tokens only.
func (m Message) MarshalJSON() ([]byte, error) {
	data := json.RawMessage(m.Sealed)
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	return json.Marshal(struct {
		Envelope
		Data json.RawMessage `json:"data"`
	}{m.Envelope, data})
}
