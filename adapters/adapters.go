// Package adapters says what a kind is: something that moves bytes between an agency's system
// and the Edge. Kinds hold no policy; the Edge translates, validates, limits and retries.
package adapters

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"caruban/contracts"
)

// Take is the Edge's door: it returns when the ledger has committed or refused.
type Take func(context.Context, Raw) Answer

// Source brings messages in. Run connects, reconnects and reads until ctx ends, and tells
// its peer only what Take answered. An error means: never works.
type Source interface {
	Run(ctx context.Context, take Take) error
}

// Sink sends one call. The Reply is valid also beside an error.
type Sink interface {
	Send(context.Context, Call) (Reply, error)
}

// Lookup finds out whether an earlier Send took effect.
type Lookup interface {
	Lookup(context.Context, Call) (Reply, error)
}

// Mount is the ability to answer HTTP at the gateway's own listener (webhook, desk, faces).
type Mount interface {
	Mount(take Take) (pattern string, handler http.Handler)
}

// Raw is what was read, before it means anything. Ref is the sender's own id, if it has one.
type Raw struct {
	Endpoint, Ref string
	Header        map[string]string
	Body          []byte
}

// Status is how an Answer is told to a sender; the numbers are HTTP's and every kind maps them.
type Status int

// The answers of DESIGN §2.
const (
	Accepted    Status = 202
	Repeat      Status = 200
	Clash       Status = 409
	Refused     Status = 422
	Busy        Status = 429
	Unavailable Status = 503
)

// Answer is what the sender may be told, after the ledger has spoken.
type Answer struct {
	Status     Status
	Receipt    string // ten characters of Crockford base 32
	Faults     []contracts.Fault
	RetryAfter time.Duration // with Busy and Unavailable
}

// Stored reports whether the ledger holds the message.
func (a Answer) Stored() bool { return a.Status == Accepted || a.Status == Repeat }

// Call is one message for the outside, translated into the system's own words.
type Call struct {
	Endpoint string // the operation of the system
	Ref      string // our idempotency key for the receiver: the message id
	Type     string
	Case     string
	Header   map[string]string
	Body     []byte // the mapped request, as the kind's wire form needs it
	Unknown  bool   // an earlier attempt may have arrived
}

// Reply is what came back, unjudged. Sent: the bytes may have left us. Only the kind can
// know that, and it parts transient from unknown_outcome.
type Reply struct {
	Sent   bool
	Code   string // "200", "AA", "550", SQLSTATE
	Header map[string]string
	Body   []byte
}

// Adapter is one configured instance; it is also a Source, a Sink, a Lookup, or several.
type Adapter interface{ io.Closer }

// Settings is what the house gives every adapter.
type Settings struct {
	System  string
	Log     *slog.Logger
	Now     func() time.Time // UTC
	Zone    *time.Location   // the system's own zone
	Secrets map[string]contracts.Secret
}

// Factory declares a kind. New checks but does no I/O, so that `caruban check` works offline.
type Factory struct {
	Kind, Summary string
	Default       func() any
	New           func(Settings, any) (Adapter, error)
}

// NewFactory binds a kind to its config type; no kind casts.
func NewFactory[C any](kind, summary string, def C, make func(Settings, C) (Adapter, error)) Factory {
	return Factory{kind, summary, func() any { c := def; return &c },
		func(s Settings, c any) (Adapter, error) { return make(s, *c.(*C)) }}
}
