package mongostore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"oakestra/pkg/errs"
)

const (
	// opTimeout bounds one call to the server, there and here.
	opTimeout = 5 * time.Second
	// casBudget bounds the tries to get a changed document through.
	casBudget = 10 * time.Second
)

// Head is embedded in every record; exported, or the driver passes it over.
type Head struct {
	ID   string `bson:"_id"`
	V    int    `bson:"v"`
	Rev  int64  `bson:"rev"`  // grows by one with every write
	Term int64  `bson:"term"` // of the lease it was written under last
}

func (h *Head) top() *Head { return h }

// record is a pointer to a type that embeds Head.
type record[R any] interface {
	*R
	top() *Head
}

// table is one collection of records. What is read is a copy of its own.
type table[R any, P record[R]] struct {
	s    *Store
	c    *mongo.Collection
	what string // for messages: "application"
	free bool   // not fenced: the lease itself, which changes hands
}

func newTable[R any, P record[R]](s *Store, collection, what string) table[R, P] {
	return table[R, P]{s: s, c: s.db.Collection(collection), what: what}
}

func (t table[R, P]) decode(raw bson.Raw) (P, error) {
	p := P(new(R))
	if err := bson.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("stored %s: %w", t.what, errors.Join(errs.Internal, err))
	}
	if v := p.top().V; v != recordVersion {
		return nil, fmt.Errorf("stored %s %q has version %d, this program reads %d: %w", t.what, p.top().ID, v, recordVersion, errs.Internal)
	}
	return p, nil
}

// get reads one; NotFound when it is absent.
func (t table[R, P]) get(ctx context.Context, id string) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	raw, err := t.c.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, fmt.Errorf("%s %q: %w", t.what, id, errs.NotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", t.what, id, storage(err))
	}
	return t.decode(raw)
}

// find reads all that match, by id.
func (t table[R, P]) find(ctx context.Context, filter bson.D) ([]P, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	if filter == nil {
		filter = bson.D{}
	}
	cursor, err := t.c.Find(ctx, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", t.what, storage(err))
	}
	defer func() { _ = cursor.Close(ctx) }() // what was read stands
	var out []P
	for cursor.Next(ctx) {
		p, err := t.decode(cursor.Current)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if err := cursor.Err(); err != nil {
		return nil, fmt.Errorf("list %ss: %w", t.what, storage(err))
	}
	return out, nil
}

// other is the id of a record that matches and is not this one, or "". It says
// who has a unique key after a write failed; not every server names the cause.
func (t table[R, P]) other(ctx context.Context, filter bson.D, id string) string {
	list, err := t.find(ctx, filter)
	for _, p := range list {
		if err == nil && p.top().ID != id {
			return p.top().ID
		}
	}
	return ""
}

// insert stores a new one; Conflict when its id or a unique key is taken.
func (t table[R, P]) insert(ctx context.Context, p P) error {
	h := p.top()
	h.V, h.Rev, h.Term = recordVersion, 1, t.s.term.Load()
	err := t.s.write(ctx, "insert "+t.what, func(ctx context.Context) error {
		_, err := t.c.InsertOne(ctx, p)
		return err
	})
	if err != nil {
		return fmt.Errorf("store %s %q: %w", t.what, h.ID, err)
	}
	return nil
}

// unchanged matches a document as it was read, unless a later term has it.
func (t table[R, P]) unchanged(h *Head) bson.D {
	filter := bson.D{{Key: "_id", Value: h.ID}, {Key: "rev", Value: h.Rev}}
	if t.free {
		return filter
	}
	return t.s.fenced(filter)
}

// swap writes a record that was read and changed. done is false when somebody
// else wrote first.
func (t table[R, P]) swap(ctx context.Context, p P) (done bool, err error) {
	h := p.top()
	filter := t.unchanged(h)
	was := *h
	h.Rev++
	h.Term = max(h.Term, t.s.term.Load())
	err = t.s.write(ctx, "write "+t.what, func(ctx context.Context) error {
		r, err := t.c.ReplaceOne(ctx, filter, p)
		done = err == nil && r.MatchedCount == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("write %s %q: %w", t.what, h.ID, err)
	}
	if !done {
		*h = was
		return false, t.late(ctx, h.ID)
	}
	return true, nil
}

// remove deletes a record as it was read.
func (t table[R, P]) remove(ctx context.Context, p P) (done bool, err error) {
	h := p.top()
	err = t.s.write(ctx, "delete "+t.what, func(ctx context.Context) error {
		r, err := t.c.DeleteOne(ctx, t.unchanged(h))
		done = err == nil && r.DeletedCount == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("delete %s %q: %w", t.what, h.ID, err)
	}
	if !done {
		return false, t.late(ctx, h.ID)
	}
	return true, nil
}

// late says whether a document can no longer be written because another
// system manager has taken over.
func (t table[R, P]) late(ctx context.Context, id string) error {
	term := t.s.term.Load()
	if term == 0 || t.free {
		return nil
	}
	now, err := t.get(ctx, id)
	if err == nil && now.top().Term > term {
		return fmt.Errorf("%s %q was written under term %d, this manager's is %d: another one has taken over: %w", t.what, id, now.top().Term, term, errs.Unavailable)
	}
	return nil
}

// update reads, lets f change and writes, until nobody else has written in
// between. Errors: NotFound, Unavailable when that does not come to pass, and
// those of f.
func (t table[R, P]) update(ctx context.Context, id string, f func(P) error) (out P, err error) {
	err = retry(ctx, func(ctx context.Context) (bool, error) {
		if out, err = t.get(ctx, id); err != nil {
			return false, err
		}
		if err := f(out); err != nil {
			return false, err
		}
		return t.swap(ctx, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// put inserts, or replaces by what f makes of the record that is there; it is
// nil when none is.
func (t table[R, P]) put(ctx context.Context, id string, f func(was P) (P, error)) error {
	return retry(ctx, func(ctx context.Context) (bool, error) {
		was, err := t.get(ctx, id)
		if err != nil && !errors.Is(err, errs.NotFound) {
			return false, err
		}
		p, err := f(was)
		if err != nil {
			return false, err
		}
		h := p.top()
		h.ID, h.V = id, recordVersion
		if was != nil {
			h.Rev, h.Term = was.top().Rev, was.top().Term
			return t.swap(ctx, p)
		}
		if err = t.insert(ctx, p); errors.Is(err, errs.Conflict) {
			if _, again := t.get(ctx, id); again == nil {
				return false, nil // made meanwhile
			}
		}
		return err == nil, err
	})
}

// erase deletes a record, whatever changes meanwhile; what is gone is no error.
func (t table[R, P]) erase(ctx context.Context, id string, only func(P) bool) error {
	return retry(ctx, func(ctx context.Context) (bool, error) {
		was, err := t.get(ctx, id)
		if errors.Is(err, errs.NotFound) || err == nil && only != nil && !only(was) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		return t.remove(ctx, was)
	})
}

// removeOnce deletes a record that is there, whatever changes meanwhile. Of
// many callers one hears of success: the one whose delete the server counted.
// The others get NotFound.
func (t table[R, P]) removeOnce(ctx context.Context, id string) error {
	return retry(ctx, func(ctx context.Context) (bool, error) {
		was, err := t.get(ctx, id)
		if err != nil {
			return false, err
		}
		return t.remove(ctx, was)
	})
}

// retry runs f until it is done, with growing pauses, within casBudget.
func retry(ctx context.Context, f func(context.Context) (done bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, casBudget)
	defer cancel()
	pause := time.Millisecond
	for {
		done, err := f(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("others kept writing the same document: %w", errors.Join(errs.Unavailable, ctx.Err()))
		case <-time.After(rand.N(pause) + pause/4):
		}
		pause = min(2*pause, 64*time.Millisecond)
	}
}
