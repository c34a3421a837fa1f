package mongostore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
	"oakestra/root/store"
)

const (
	listTimeout    = 30 * time.Second
	connectTries   = 5
	defaultName    = "oakestra"
	oldestWire     = 8 // MongoDB 4.2
	oldestWireName = "4.2"
)

// Store is the MongoDB backend. Safe for concurrent use.
type Store struct {
	client *mongo.Client
	db     *mongo.Database
	now    func() time.Time // for the end of a quarantine
	term   atomic.Int64     // of Fence; 0 before
	sweep  *sweeper
	watch  *observer // told by the client
	// fault stands in for a failing server in tests: it is asked before
	// (after = false) and after every write, and its error is the write's.
	fault func(op string, after bool) error
	gate  sync.Locker // held during every write, in tests; else nil

	applications  table[applicationRecord, *applicationRecord]
	services      table[serviceRecord, *serviceRecord]
	instances     table[instanceRecord, *instanceRecord]
	claims        table[claimRecord, *claimRecord]
	blocks        table[blocksRecord, *blocksRecord]
	clusters      table[clusterRecord, *clusterRecord]
	users         table[userRecord, *userRecord]
	organizations table[organizationRecord, *organizationRecord]
	tokens        table[tokenRecord, *tokenRecord]
	meta          table[metaRecord, *metaRecord]
	commits       table[commitRecord, *commitRecord]
	removals      table[removalRecord, *removalRecord]
	leases        table[leaseRecord, *leaseRecord]
}

var _ store.Store = (*Store)(nil)

// unique keys, by collection.
var unique = map[string]bson.D{
	"applications":  {{Key: "owner", Value: 1}, {Key: "name", Value: 1}, {Key: "namespace", Value: 1}},
	"services":      {{Key: "owner", Value: 1}, {Key: "name", Value: 1}},
	"clusters":      {{Key: "name", Value: 1}},
	"organizations": {{Key: "name", Value: 1}},
}

// lookups serve filters, by collection.
var lookups = map[string][]string{
	"services":  {"application"},
	"instances": {"service"},
	"claims":    {"service"},
	"tokens":    {"user"},
}

// Open connects to the server of a mongodb:// or mongodb+srv:// URI and makes
// what is missing in its database ("oakestra" unless the URI names one). fresh
// is true when that holds nothing yet. Errors: Invalid for what is no such
// URI, Unavailable when nobody answers, Internal when the server is too old or
// the database was written by a newer version. No error contains the password.
func Open(ctx context.Context, uri string) (s *Store, fresh bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("MongoDB at %s (MONGO_URL): %w", Redacted(uri), hidden{err, secret(uri)})
		}
	}()
	opts := options.Client().ApplyURI(uri)
	if err := opts.Validate(); err != nil {
		return nil, false, fmt.Errorf("not a usable address: %w", errors.Join(errs.Invalid, err))
	}
	yes := true
	opts.SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &yes}).
		SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority()).
		SetRetryWrites(true).SetRetryReads(true).
		SetServerSelectionTimeout(3 * time.Second).SetConnectTimeout(3 * time.Second).
		SetTimeout(listTimeout).SetAppName("oakestra system-manager")
	watch := &observer{}
	client, err := mongo.Connect(opts.SetMonitor(watch.monitor()))
	if err != nil {
		return nil, false, errors.Join(errs.Invalid, err)
	}
	s = newStore(client, databaseOf(uri))
	s.watch = watch
	if err = reach(ctx, client); err == nil {
		fresh, err = s.prepare(ctx)
	}
	if err != nil {
		return nil, false, errors.Join(err, client.Disconnect(context.WithoutCancel(ctx)))
	}
	return s, fresh, nil
}

func newStore(client *mongo.Client, database string) *Store {
	s := &Store{client: client, db: client.Database(database), now: time.Now, sweep: newSweeper(), watch: &observer{}}
	s.applications = newTable[applicationRecord](s, "applications", "application")
	s.services = newTable[serviceRecord](s, "services", "service")
	s.instances = newTable[instanceRecord](s, "instances", "instance")
	s.claims = newTable[claimRecord](s, "claims", "claim")
	s.blocks = newTable[blocksRecord](s, "blocks", "block list")
	s.clusters = newTable[clusterRecord](s, "clusters", "cluster")
	s.users = newTable[userRecord](s, "users", "user")
	s.organizations = newTable[organizationRecord](s, "organizations", "organization")
	s.tokens = newTable[tokenRecord](s, "tokens", "token")
	s.meta = newTable[metaRecord](s, "meta", "meta record")
	s.commits = newTable[commitRecord](s, "commits", "commit")
	s.removals = newTable[removalRecord](s, "removals", "removal")
	s.leases = newTable[leaseRecord](s, "leases", "lease")
	s.leases.free = true
	return s
}

// reach waits until the server answers, for a few tries, and checks that it
// is new enough.
func reach(ctx context.Context, client *mongo.Client) error {
	backoff := lifecycle.NewBackoff(200*time.Millisecond, 2*time.Second)
	for try := 1; ; try++ {
		var hello struct {
			Wire int32 `bson:"maxWireVersion"`
		}
		err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
		if err == nil && hello.Wire < oldestWire {
			return fmt.Errorf("the server speaks wire version %d, this program needs MongoDB %s or newer (%d): %w", hello.Wire, oldestWireName, oldestWire, errs.Internal)
		}
		var answer mongo.CommandError
		if err == nil || errors.As(err, &answer) || try == connectTries || ctx.Err() != nil {
			return unreachable(err, try)
		}
		select {
		case <-ctx.Done():
			return unreachable(ctx.Err(), try)
		case <-time.After(backoff.Next()):
		}
	}
}

func unreachable(err error, tries int) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("no answer after %d tries; is it running, and do address and password fit? %w", tries, errors.Join(errs.Unavailable, err))
}

// prepare makes indexes and the meta document.
func (s *Store) prepare(ctx context.Context) (fresh bool, err error) {
	for name, keys := range unique {
		if err := s.index(ctx, name, keys, true); err != nil {
			return false, err
		}
	}
	for name, fields := range lookups {
		for _, f := range fields {
			if err := s.index(ctx, name, bson.D{{Key: f, Value: 1}}, false); err != nil {
				return false, err
			}
		}
	}
	first := &metaRecord{Head: Head{ID: metaID}, Format: formatVersion}
	if err = s.meta.insert(ctx, first); err == nil {
		return true, nil
	}
	if !errors.Is(err, errs.Conflict) {
		return false, err
	}
	m, err := s.meta.get(ctx, metaID)
	if err != nil {
		return false, err
	}
	if m.Format != formatVersion {
		return false, fmt.Errorf("the database has format %d, this program reads %d: %w", m.Format, formatVersion, errs.Internal)
	}
	return false, nil
}

func (s *Store) index(ctx context.Context, collection string, keys bson.D, only bool) error {
	_, err := s.db.Collection(collection).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: options.Index().SetUnique(only)})
	if err != nil {
		return fmt.Errorf("make an index of %s: %w", collection, storage(err))
	}
	return nil
}

// Close ends the connections.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	if err := s.client.Disconnect(ctx); err != nil && !errors.Is(err, mongo.ErrClientDisconnected) {
		return fmt.Errorf("close the connection to MongoDB: %w", storage(err))
	}
	return nil
}

// Drop deletes the whole database. It is for tests.
func (s *Store) Drop(ctx context.Context) error { return s.db.Drop(ctx) }

// fenced adds to a filter that no later term may have written the document.
func (s *Store) fenced(filter bson.D) bson.D {
	if term := s.term.Load(); term > 0 {
		return append(filter, bson.E{Key: "term", Value: bson.D{{Key: "$lte", Value: term}}})
	}
	return filter
}

// write runs one write. Errors: Conflict for a taken key, else Unavailable;
// then it may have happened all the same.
func (s *Store) write(ctx context.Context, op string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if s.fault != nil {
		if err := s.fault(op, false); err != nil {
			return err
		}
	}
	if s.gate != nil {
		s.gate.Lock()
		defer s.gate.Unlock()
	}
	if err := f(ctx); err != nil {
		return storage(err)
	}
	if s.fault != nil {
		return s.fault(op, true)
	}
	return nil
}

// storage gives a class to an error of the driver.
func storage(err error) error {
	if mongo.IsDuplicateKeyError(err) {
		return errors.Join(errs.Conflict, err)
	}
	return errors.Join(errs.Unavailable, err)
}

func databaseOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return defaultName
	}
	if name := strings.Trim(u.Path, "/"); name != "" {
		return name
	}
	return defaultName
}

var credentials = regexp.MustCompile(`^(mongodb(?:\+srv)?://)[^@/]*@`)

// Redacted is a URI without name and password.
func Redacted(uri string) string {
	if strings.Contains(uri, "@") && !credentials.MatchString(uri) {
		return "(unreadable)"
	}
	return credentials.ReplaceAllString(uri, "${1}***@")
}

// secret is the password of a URI as it is written there, and decoded.
func secret(uri string) []string {
	m := credentials.FindString(uri)
	if m == "" {
		return nil
	}
	_, word, _ := strings.Cut(strings.TrimSuffix(m, "@"), "://")
	_, word, _ = strings.Cut(word, ":")
	plain, err := url.PathUnescape(word)
	if err != nil {
		plain = word
	}
	return []string{word, plain}
}

// hidden is an error that does not print certain words.
type hidden struct {
	error
	words []string
}

// Error is the text without the words.
func (h hidden) Error() string {
	text := h.error.Error()
	for _, w := range h.words {
		if w != "" {
			text = strings.ReplaceAll(text, w, "***")
		}
	}
	return text
}

// Unwrap keeps the class.
func (h hidden) Unwrap() error { return h.error }

// The aggregates.
func (s *Store) Applications() store.Applications { return applications{s} }

// Services of all applications.
func (s *Store) Services() store.Services { return services{s} }

// Instances of all services.
func (s *Store) Instances() store.Instances { return instances{s} }

// Claims of service and instance addresses.
func (s *Store) Claims() store.Claims { return claims{s} }

// Blocks of node subnets.
func (s *Store) Blocks() store.Blocks { return blocks{s} }

// Clusters that ever registered.
func (s *Store) Clusters() store.Clusters { return clusters{s} }

// Users that can log in.
func (s *Store) Users() store.Users { return users{s} }

// Organizations of users.
func (s *Store) Organizations() store.Organizations { return organizations{s} }

// Tokens of users.
func (s *Store) Tokens() store.Tokens { return tokens{s} }

// Meta of the store itself.
func (s *Store) Meta() store.Meta { return meta{s} }

// Descriptors commits whole descriptors.
func (s *Store) Descriptors() store.Descriptors { return descriptors{s} }

// Leases between system managers.
func (s *Store) Leases() store.Leases { return leases{s} }
