// Package ledger names the truth of the bus: messages, deliveries, cases, timers and views in
// one SQL store. ledgertest.Run passes on every implementation (sqlite, postgres).
package ledger

import (
	"context"
	"errors"
	"time"

	"caruban/contracts"
)

// The outcomes of a write that the caller must tell apart.
var (
	ErrConflict = errors.New("case has moved on")            // decide again
	ErrSeen     = errors.New("input already decided")        // acknowledge
	ErrRefClash = errors.New("same ref, other body")         // 409
	ErrLease    = errors.New("lease no longer ours")         // drop the result
	ErrState    = errors.New("delivery is in another state") // the move is not in the table
	ErrCaseKey  = errors.New("case has another key")         // seal again with the stored key
	ErrNotFound = errors.New("not in the ledger")
	ErrFull     = errors.New("ledger cannot store now") // 503; nothing was stored
)

// State is where a delivery stands (DESIGN §2).
type State string

// The closed set of delivery states.
const (
	Waiting   State = "waiting"
	Sending   State = "sending"
	Delivered State = "delivered"
	Refused   State = "refused"
	Awaiting  State = "awaiting"
	Dead      State = "dead"
	Discarded State = "discarded"
)

// States lists every state once.
func States() []State {
	return []State{Waiting, Sending, Delivered, Refused, Awaiting, Dead, Discarded}
}

// Moves is every allowed change of state; each SQL UPDATE names the state it expects.
func Moves() map[State][]State {
	return map[State][]State{
		Waiting:  {Sending, Discarded},
		Sending:  {Delivered, Refused, Awaiting, Waiting, Dead},
		Awaiting: {Delivered, Refused, Dead, Waiting, Discarded},
		Dead:     {Waiting, Discarded},
		Refused:  {Waiting},
	}
}

// Plan is one delivery to be made of a message.
type Plan struct {
	Consumer  string // a system's id or "manager:<name>"
	Function  string
	Lane      string
	NotBefore time.Time
}

// Planned is an entry with its deliveries; Ignored says why there are none.
type Planned struct {
	contracts.Entry
	Deliveries []Plan
	Ignored    string
}

// Step is one decision of a process manager: everything in it commits together or not at all.
type Step struct {
	Manager  string
	Case     string
	Input    string // the message id that was decided; recorded in seen
	Delivery string // the manager's own delivery, settled with it
	Worker   string
	Version  int64  // the state's version that Decide read; 0: a new case
	State    []byte // sealed
	Status   string // the state's name, a code for search
	Done     bool   // the case is closed
	Timers   []Timer
	Outputs  []Planned
	Views    []View
	Ignored  string // why no rule fits; the input is settled as ignored
	Now      time.Time
}

// Timer is a durable alarm of a case; a zero At cancels. At is UTC.
type Timer struct {
	Manager, Case, Name, Rule string
	At                        time.Time
}

// View is a read model: what a face may show, as a sealed document. AsOf is UTC.
type View struct {
	Name, Key, Case string
	Data            []byte
	AsOf            time.Time
	Version         int64
}

// Case is a stored process state.
type Case struct {
	Manager, Key, Status string
	Version              int64
	State                []byte
	Done                 bool
	Updated              time.Time
}

// Record is a stored message as search and trace show it.
type Record struct {
	contracts.Message
	System, Ref, Receipt string
	Stored               time.Time
	Ignored              string
	Problem              *contracts.Problem
	Deliveries           []DeliveryRow
}

// DeliveryRow is a delivery as operations sees it.
type DeliveryRow struct {
	ID, Message, Type, Case, Consumer, Function, Lane string
	State                                             State
	Reason, Place                                     string
	Attempt                                           int
	Planned, NotBefore, Deadline, Changed             time.Time
	Who                                               string // who discarded or claimed it
}

// Query searches messages; empty fields match all. Times are UTC.
type Query struct {
	Case, System, Type string
	State              State
	From, Until        time.Time
	After              string // cursor: the id of the last row seen
	Limit              int
}

// Row is one line of the balance: planned = the sum of all states.
type Row struct {
	Consumer, Type string
	Planned        int64
	Counts         map[State]int64
	Oldest         time.Time // of what is not settled
	OldestReason   string
}

// Ledger is the truth; ledgertest.Run passes on every implementation.
type Ledger interface {
	// Accept stores an entry and its deliveries. A repeat of (System, Ref) with the same digest gives
	// the first receipt; with another digest ErrRefClash. It returns when the row is on disk.
	Accept(ctx context.Context, p Planned, now time.Time) (receipt string, repeat bool, err error)
	// Commit stores one decision: state by compare-and-swap, seen, timers, outputs, views, settlement.
	Commit(ctx context.Context, s Step) error
	// Lease takes due heads of lanes of one consumer. A row found sending with an expired lease comes
	// back with Unknown set. durable: the mark is synced before return (systems that cannot recognise a repeat).
	Lease(ctx context.Context, consumer, worker string, n int, ttl time.Duration, durable bool, now time.Time) ([]contracts.Delivery, error)
	// Settle ends or postpones one attempt, with the entries its reply brought.
	Settle(ctx context.Context, worker, delivery string, r contracts.Result, replies []Planned, now time.Time) error
	// Due lists consumers that have a head of lane due at now.
	Due(ctx context.Context, now time.Time) ([]string, error)
	// NextDue is the instant of the next waiting delivery, lease expiry, deadline or timer; zero: none.
	NextDue(ctx context.Context, now time.Time) (time.Time, error)
	// Fire takes the timers due at now for one manager, as planned entries made by build, in one transaction.
	Fire(ctx context.Context, now time.Time, n int, build func(Timer) Planned) (int, error)
	// Overdue ends awaiting deliveries whose deadline has passed with the class and reason given.
	Overdue(ctx context.Context, now time.Time) ([]DeliveryRow, error)
	// Replay puts a dead, refused or awaiting delivery back to waiting; Discard ends one, by a person.
	Replay(ctx context.Context, delivery, who string, now time.Time) error
	Discard(ctx context.Context, delivery, who, why string, now time.Time) error
	// Claim marks who works on an awaiting delivery (desk); an empty who hands it back.
	Claim(ctx context.Context, delivery, who string, now time.Time) error

	Case(ctx context.Context, manager, key string) (Case, error)
	CaseKey(ctx context.Context, key string) ([]byte, error)
	View(ctx context.Context, name, key string) (View, error)
	Views(ctx context.Context, name string) ([]View, error)
	Message(ctx context.Context, id string) (Record, error)
	Messages(ctx context.Context, q Query) ([]Record, error)
	Deliveries(ctx context.Context, consumer string, s State, limit int) ([]DeliveryRow, error)
	Delivery(ctx context.Context, id string) (contracts.Delivery, DeliveryRow, error)
	Blob(ctx context.Context, hash string) ([]byte, error)
	PutBlob(ctx context.Context, hash, caseRef string, sealed []byte, now time.Time) error
	Balance(ctx context.Context) ([]Row, error)
	// Erase destroys the case key and the blind index of a case.
	Erase(ctx context.Context, key string) error
	// Retain deletes settled messages whose retention has passed, and raw bytes past theirs.
	Retain(ctx context.Context, now time.Time) (int, error)
	Close() error
}
