package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"caruban/contracts"
	"caruban/routes/ledger"
)

// Consumer is whoever takes deliveries: a system's Edge or a process manager.
type Consumer struct {
	Name     string
	Parallel int           // lanes under way at once, DESIGN §9: 16
	Lease    time.Duration // longer than one attempt can take
	Durable  bool          // the sending mark is synced first: the receiver cannot recognise a repeat
	Handle   func(ctx context.Context, worker string, d contracts.Delivery) error
}

// Relay turns committed rows into wake-ups and wake-ups into handled deliveries. A wake-up
// names a consumer, never a message: however long a backlog is, the stream holds at most one
// per consumer, and a sleeping consumer cannot fill the window for the others.
type Relay struct {
	Ledger    ledger.Ledger
	Publisher message.Publisher
	Routing   func() Routing
	Worker    string // this instance
	Now       func() time.Time
	Log       *slog.Logger
	Sweep     time.Duration // real time between sweeps; 0: one second

	mu    sync.Mutex
	kick  chan struct{}
	awake map[string]time.Time // consumer → when its wake-up was published
}

// patience is after how long a wake-up that nobody took is taken for lost.
const patience = 5 * time.Second

// Topic is the bus topic on which a consumer is woken.
func Topic(consumer string) string { return "wake-" + topicSafe(consumer) }

func topicSafe(name string) string {
	safe := []byte(name)
	for i, c := range safe {
		if c == ':' || c == '.' || c == '/' || c == ' ' {
			safe[i] = '_'
		}
	}
	return string(safe)
}

// Accept plans and stores an entry, then nudges the relay. It is the Edge's Intake.
func (r *Relay) Accept(ctx context.Context, e contracts.Entry) (string, bool, error) {
	now := r.Now()
	receipt, repeat, err := r.Ledger.Accept(ctx, r.Routing().Plan(e, now), now)
	if errors.Is(err, ledger.ErrRefClash) {
		return "", false, contracts.Fault{Class: contracts.BusinessNo, Rule: "clash", Say: "same id, other content", Err: err}
	}
	if err != nil {
		return "", false, fmt.Errorf("accept %s from %s: %w", e.Type, e.System, err)
	}
	r.Nudge()
	return receipt, repeat, nil
}

// Plan is process.Planner.
func (r *Relay) Plan(e contracts.Entry) ledger.Planned { return r.Routing().Plan(e, r.Now()) }

// Nudge asks for a look at the ledger now; it never blocks.
func (r *Relay) Nudge() {
	select {
	case r.kicks() <- struct{}{}:
	default:
	}
}

func (r *Relay) kicks() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kick == nil {
		r.kick = make(chan struct{}, 1)
		r.awake = map[string]time.Time{}
	}
	return r.kick
}

// Run publishes wake-ups for due lanes, fires timers and ends overdue answers until ctx ends.
// It is the relay and the sweeper: what is unsettled and not under way is woken again.
func (r *Relay) Run(ctx context.Context) error {
	every := r.Sweep
	if every == 0 {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	kicks := r.kicks()
	for {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.Log.Error("relay round", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-kicks:
		case <-tick.C:
		}
	}
}

func (r *Relay) round(ctx context.Context) error {
	now := r.Now()
	if _, err := r.Ledger.Fire(ctx, now, 100, r.timer); err != nil {
		return fmt.Errorf("fire timers: %w", err)
	}
	if _, err := r.Ledger.Overdue(ctx, now); err != nil {
		return fmt.Errorf("end overdue answers: %w", err)
	}
	due, err := r.Ledger.Due(ctx, now)
	if err != nil {
		return fmt.Errorf("look for due lanes: %w", err)
	}
	for _, consumer := range due {
		if err := r.wake(consumer); err != nil {
			return err
		}
	}
	return nil
}

func (r *Relay) wake(consumer string) error {
	r.mu.Lock()
	at, pending := r.awake[consumer]
	if pending && time.Since(at) < patience {
		r.mu.Unlock()
		return nil
	}
	r.awake[consumer] = time.Now()
	r.mu.Unlock()
	wake := message.NewMessage(uuid.NewString(), []byte(consumer))
	if err := r.Publisher.Publish(Topic(consumer), wake); err != nil {
		r.slept(consumer)
		return fmt.Errorf("wake %s: %w", consumer, err)
	}
	return nil
}

func (r *Relay) slept(consumer string) {
	r.mu.Lock()
	delete(r.awake, consumer)
	r.mu.Unlock()
}

// Handler is what the router runs for a wake-up of the consumer: it drains what is due.
func (r *Relay) Handler(c Consumer) message.NoPublishHandlerFunc {
	return func(m *message.Message) error {
		r.kicks()
		r.slept(c.Name)
		err := r.drain(m.Context(), c)
		r.Nudge()
		if err != nil && m.Context().Err() == nil {
			// The row keeps its state and its lease; the sweeper wakes it again. A returned error
			// would only make the stream repeat at once.
			r.Log.Error("drain", "consumer", c.Name, "error", err)
		}
		return nil
	}
}

func (r *Relay) drain(ctx context.Context, c Consumer) error {
	for ctx.Err() == nil {
		batch, err := r.Ledger.Lease(ctx, c.Name, r.Worker, c.Parallel, c.Lease, c.Durable, r.Now())
		if err != nil {
			return fmt.Errorf("lease for %s: %w", c.Name, err)
		}
		if len(batch) == 0 {
			return nil
		}
		var group errgroup.Group
		for _, d := range batch {
			group.Go(func() error { return r.handle(ctx, c, d) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		r.Nudge()
	}
	return nil
}

// handle runs one delivery; a manager's fault that repeating cannot mend makes a dead letter.
func (r *Relay) handle(ctx context.Context, c Consumer, d contracts.Delivery) error {
	err := c.Handle(ctx, r.Worker, d)
	if err == nil || errors.Is(err, ledger.ErrLease) || ctx.Err() != nil {
		return nil
	}
	r.Log.Error("delivery", "consumer", c.Name, "type", d.Message.Type, "id", d.Message.ID, "error", err)
	result := contracts.Result{Class: contracts.Transient, Reason: "handler", NotBefore: r.Now().Add(backoff(d.Attempt))}
	if d.Attempt >= 5 {
		result = contracts.Result{Class: contracts.InputError, Reason: "handler"}
	}
	if err := r.Ledger.Settle(ctx, r.Worker, d.ID, result, nil, r.Now()); err != nil && !errors.Is(err, ledger.ErrLease) {
		return fmt.Errorf("postpone %s: %w", d.Message, err)
	}
	return nil
}

// Settled makes a Consumer's Handle of an Edge's Deliver: one attempt, then the ledger decides.
func (r *Relay) Settled(deliver func(context.Context, contracts.Delivery) contracts.Result) func(context.Context, string, contracts.Delivery) error {
	return func(ctx context.Context, worker string, d contracts.Delivery) error {
		result := deliver(ctx, d)
		now := r.Now()
		replies := make([]ledger.Planned, 0, len(result.Replies))
		for _, e := range result.Replies {
			replies = append(replies, r.Routing().Plan(e, now))
		}
		return r.Ledger.Settle(ctx, worker, d.ID, result, replies, now)
	}
}

// backoff grows from a second to five minutes; the caller's clock decides when that is.
func backoff(attempt int) time.Duration {
	return min(time.Second<<min(attempt, 9), 5*time.Minute)
}
