package process

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"caruban/contracts"
	"caruban/routes/ledger"
)

// Store is the part of the ledger that decisions need.
type Store interface {
	Case(ctx context.Context, manager, key string) (ledger.Case, error)
	Commit(ctx context.Context, s ledger.Step) error
}

// Vault opens what a function may see and seals what leaves a decision.
type Vault interface {
	// Open gives the data of a delivery with the function's fields in clear; all others stay tokens.
	Open(ctx context.Context, d contracts.Delivery, function string) (json.RawMessage, error)
	// Seal validates clear or token-bearing data and makes it an entry of the message's case.
	Seal(ctx context.Context, head contracts.Envelope, data json.RawMessage) (contracts.Entry, error)
	// SealState and OpenState keep a manager's state under its case's key.
	SealState(ctx context.Context, manager, key string, version int64, clear []byte) ([]byte, error)
	OpenState(ctx context.Context, manager, key string, version int64, sealed []byte) ([]byte, error)
}

// Planner decides who gets a message.
type Planner interface {
	Plan(e contracts.Entry) ledger.Planned
}

// House is what every runtime shares.
type House struct {
	Store    Store
	Vault    Vault
	Planner  Planner
	Registry contracts.Registry
	Now      func() time.Time // UTC
}

// Runtime runs one manager over the ledger. It is safe for concurrent use: two inputs of one
// case meet at the compare-and-swap.
type Runtime[S any] struct {
	manager Manager[S]
	house   House
}

// NewRuntime binds a manager to the house.
func NewRuntime[S any](m Manager[S], h House) *Runtime[S] { return &Runtime[S]{m, h} }

// Consumer is the manager's name among the deliveries' consumers.
func (r *Runtime[S]) Consumer() string { return Consumer(r.manager.Name) }

// Name is the manager's name.
func (r *Runtime[S]) Name() string { return r.manager.Name }

// Takes lists the message types that the manager decides on.
func (r *Runtime[S]) Takes() []string { return r.manager.Takes }

// Consumer names a manager among the deliveries' consumers.
func Consumer(manager string) string { return "manager:" + manager }

// attempts bounds how often one input is decided again after losing the compare-and-swap,
// before its lease is given back and the ledger offers it anew.
const attempts = 8

// Handle decides one delivery and commits. A nil error means that the input is settled.
func (r *Runtime[S]) Handle(ctx context.Context, worker string, d contracts.Delivery) error {
	in, err := r.input(ctx, d)
	if err != nil {
		return err
	}
	key, ok := r.manager.Case(in)
	if !ok {
		return r.done(r.house.Store.Commit(ctx, ledger.Step{
			Manager: r.manager.Name, Input: d.Message.ID, Delivery: d.ID, Worker: worker,
			Ignored: "no_case", Now: r.house.Now(),
		}))
	}
	in.Case = key
	for range attempts {
		step, err := r.decide(ctx, key, in, d, worker)
		if err != nil {
			return fmt.Errorf("decide %s for %s: %w", d.Message, r.manager.Name, err)
		}
		err = r.done(r.house.Store.Commit(ctx, step))
		if !errors.Is(err, ledger.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("decide %s for %s: %w", d.Message, r.manager.Name, ledger.ErrConflict)
}

// done treats an input that was decided before as settled.
func (r *Runtime[S]) done(err error) error {
	if errors.Is(err, ledger.ErrSeen) {
		return nil
	}
	return err
}

func (r *Runtime[S]) input(ctx context.Context, d contracts.Delivery) (Input, error) {
	data, err := r.house.Vault.Open(ctx, d, r.manager.Name)
	if err != nil {
		return Input{}, fmt.Errorf("open %s for %s: %w", d.Message, r.manager.Name, err)
	}
	m := d.Message
	return Input{
		ID: m.ID, Type: m.Type, Source: m.Source, Subject: m.Subject, Case: m.CaseRef, Causation: m.CausationID,
		Correlation: m.CorrelationID, Actor: m.Actor, Time: m.Time, Data: data, Keys: d.Index,
	}, nil
}

func (r *Runtime[S]) decide(ctx context.Context, key string, in Input, d contracts.Delivery, worker string) (ledger.Step, error) {
	now := r.house.Now()
	stored, err := r.house.Store.Case(ctx, r.manager.Name, key)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return ledger.Step{}, fmt.Errorf("read case: %w", err)
	}
	var state S
	if stored.Version > 0 {
		clear, err := r.house.Vault.OpenState(ctx, r.manager.Name, key, stored.Version, stored.State)
		if err != nil {
			return ledger.Step{}, fmt.Errorf("open state: %w", err)
		}
		if err := json.Unmarshal(clear, &state); err != nil {
			return ledger.Step{}, errors.New("read state: not the manager's shape")
		}
	}
	next, outputs, timers := r.manager.Decide(state, in, now)
	step := ledger.Step{
		Manager: r.manager.Name, Case: key, Input: in.ID, Delivery: d.ID, Worker: worker, Version: stored.Version, Now: now,
	}
	clear, err := json.Marshal(next)
	if err != nil {
		return ledger.Step{}, errors.New("write state: cannot be encoded")
	}
	if step.State, err = r.house.Vault.SealState(ctx, r.manager.Name, key, stored.Version+1, clear); err != nil {
		return ledger.Step{}, fmt.Errorf("seal state: %w", err)
	}
	if r.manager.Status != nil {
		step.Status, step.Done = r.manager.Status(next)
	}
	for _, t := range timers {
		step.Timers = append(step.Timers, ledger.Timer{Manager: r.manager.Name, Case: key, Name: t.Name, Rule: t.Rule, At: t.At})
	}
	for i, out := range outputs {
		if out.Ignored != "" {
			step.Ignored = out.Ignored
			continue
		}
		if err := r.add(ctx, &step, out, i, in, d, now); err != nil {
			return ledger.Step{}, fmt.Errorf("output %s by rule %s: %w", out.Type, out.Rule, err)
		}
	}
	return step, nil
}

func (r *Runtime[S]) add(ctx context.Context, step *ledger.Step, out Output, i int, in Input, d contracts.Delivery, now time.Time) error {
	contract, ok := r.house.Registry.Contract(out.Type)
	if !ok {
		return errors.New("no such contract")
	}
	data, err := json.Marshal(out.Data)
	if err != nil {
		return errors.New("data cannot be encoded")
	}
	caseRef := out.Case
	if caseRef == "" {
		caseRef = step.Case
	}
	correlation := d.Message.CorrelationID
	if correlation == "" {
		correlation = d.Message.ID
	}
	entry, err := r.house.Vault.Seal(ctx, contracts.Envelope{
		SpecVersion: "1.0", ID: DerivedID(in.ID, i, r.manager.Name), Source: r.manager.Name, Type: out.Type, Time: now.UTC(), Subject: out.Subject,
		DataContentType: "application/json", CorrelationID: correlation, CausationID: in.ID, CaseRef: caseRef,
		Target: out.Target, Purpose: out.Purpose, LegalBasis: out.Basis, TransactionID: d.Message.TransactionID,
	}, data)
	if err != nil {
		return err
	}
	entry.System = Consumer(r.manager.Name)
	if contract.Kind() == "view" {
		key := out.Key
		if key == "" {
			key = caseRef
		}
		step.Views = append(step.Views, ledger.View{Name: out.Type, Key: key, Case: caseRef, Data: entry.Sealed, AsOf: now.UTC(), Version: step.Version + 1})
		return nil
	}
	step.Outputs = append(step.Outputs, r.house.Planner.Plan(entry))
	return nil
}

// DerivedID is the id of an output: SHA-256 of (input id, index) in UUID form (DESIGN §9). The
// manager's name takes part, because two managers may decide on one input.
func DerivedID(input string, index int, manager string) string {
	sum := sha256.Sum256([]byte(input + "\x00" + strconv.Itoa(index) + "\x00" + manager))
	id, _ := uuid.FromBytes(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8: made by a rule of ours
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
