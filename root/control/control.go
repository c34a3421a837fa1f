package control

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/events"
	"oakestra/root/store"
)

// Quarantine is how long an address waits, at least, before another service
// or instance may get it: flows to the old one die meanwhile.
const Quarantine = 60 * time.Second

// Deps is what New needs; Events, Logger and Now have defaults.
type Deps struct {
	Store     store.Store
	Addresses Addresses
	Below     Below
	Places    Sites   // may be nil where no cluster is ever changed
	Dialogs   Dialogs // may be nil where nobody opens a session
	Events    events.Recorder
	Logger    *slog.Logger
	Now       func() time.Time
}

// Control carries out what users ask for. It keeps no state of its own but how
// many sessions each user has open: every answer comes from the store and from
// Below. Safe for concurrent use.
type Control struct {
	store     store.Store
	addresses Addresses
	below     Below
	places    Sites
	dialogs   Dialogs
	talks     *talks
	events    events.Recorder
	log       *slog.Logger
	now       func() time.Time
	ids       ids
	// turn is held by what compares how many instances there are with how many
	// are wanted: two at once would both add what is missing.
	turn    chan struct{}
	parsing chan struct{} // a place for each descriptor that is being parsed
}

// parsedAtOnce bounds what descriptors cost while they are values: a hundred
// times their size, when they are made for it. More would not be faster.
const parsedAtOnce = 2

// New returns a Control. It starts nothing.
func New(d Deps) *Control {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Events == nil {
		d.Events = events.Discard{}
	}
	return &Control{
		store: d.Store, addresses: d.Addresses, below: d.Below, places: d.Places, dialogs: d.Dialogs, talks: newTalks(), events: d.Events, log: d.Logger, now: d.Now,
		ids: newIDs(), turn: make(chan struct{}, 1), parsing: make(chan struct{}, parsedAtOnce),
	}
}

// Caller is the user on whose behalf something is done.
type Caller struct {
	Name  string
	Admin bool // sees and changes the things of everyone
}

// mayUse says whether the caller may see and change what owner owns.
func (c Caller) mayUse(owner string) bool { return c.Admin || c.Name == owner }

// scope is the owner to list for: "" lists everything.
func (c Caller) scope() string {
	if c.Admin {
		return ""
	}
	return c.Name
}

// writable is Unavailable while the root recovers: what users change now
// could contradict what the clusters are about to report.
func (c *Control) writable() error {
	on, waiting := c.below.Recovery()
	if !on {
		return nil
	}
	hint := "or an administrator accepts with POST /api/recovery/accept"
	if len(waiting) == 0 {
		return fmt.Errorf("the root is in recovery: nothing can be changed until its clusters have reported, %s: %w",
			hint, errs.Unavailable)
	}
	return fmt.Errorf("the root is in recovery: nothing can be changed until these clusters have reported: %s; %s: %w",
		strings.Join(waiting, ", "), hint, errs.Unavailable)
}

// AcceptRecovery ends recovery by hand. Forbidden unless the caller is an
// administrator, Conflict when there is no recovery.
func (c *Control) AcceptRecovery(ctx context.Context, who Caller) error {
	if !who.Admin {
		return fmt.Errorf("ending recovery needs the role Admin: %w", errs.Forbidden)
	}
	if on, _ := c.below.Recovery(); !on {
		return fmt.Errorf("the root is not in recovery: %w", errs.Conflict)
	}
	if err := c.below.AcceptRecovery(ctx); err != nil {
		return fmt.Errorf("accept recovery: %w", err)
	}
	c.log.Warn("recovery accepted by hand", "user", who.Name)
	return nil
}
