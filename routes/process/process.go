// Package process runs services: pure Decide functions over durable state.
package process

import (
	"encoding/json"
	"time"
)

// Input is one message as Decide sees it: the head's codes, and the data projected for the
// manager's function. Fields outside its audience are sealed tokens that it may only pass on.
type Input struct {
	ID, Type, Source, Subject, Case, Causation, Correlation, Actor string
	Time                                                           time.Time // UTC
	Data                                                           json.RawMessage
	Keys                                                           map[string]string // blind index name → digest
}

// Decide is a service: no I/O, clock, chance or map order. Same arguments, same results.
type Decide[S any] func(state S, in Input, now time.Time) (S, []Output, []Timer)

// Output is a message to send; its id is derived from (input id, index).
type Output struct {
	Type    string
	Subject string
	Case    string // empty: the manager's case
	Target  string // the agency for which a function is wanted
	Rule    string // why, for replay and explain
	Purpose string
	Basis   string // legal basis
	Key     string // for views: the view's key; empty: the case
	Data    any
	Ignored string // set alone: no rule fits the input, recorded with this reason
}

// Ignore says that no rule fits the input; the reason is a code.
func Ignore(reason string) []Output { return []Output{{Ignored: reason}} }

// Timer asks for a message at At (UTC). The same Name replaces; a zero At cancels.
type Timer struct {
	Name, Rule string
	At         time.Time
}

// TimerFired is the input type under which a due timer comes back; Input.Subject is its name.
const TimerFired = "caruban.timer.fired.v1"

// Manager is a process manager (Enterprise Integration Patterns) over state S.
type Manager[S any] struct {
	Name   string // also its function in contracts' audiences
	Takes  []string
	Case   func(Input) (key string, ok bool) // correlation; false: recorded as ignored
	Status func(S) (status string, done bool)
	Decide Decide[S]
}
