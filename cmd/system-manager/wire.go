package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"oakestra/pkg/errs"
	"oakestra/pkg/logging"
	"oakestra/pkg/mail"
	"oakestra/pkg/version"
	"oakestra/root"
	"oakestra/root/auth"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/store/mongostore"
	"oakestra/root/witness"
)

type options struct {
	logLevel, logFormat string
	version             bool
	mail                mail.Server
	restore             string
}

const help = `system-manager is the root of an Oakestra installation: the REST API that users
call, with its documentation at /api/docs, and the port that cluster managers
dial. Everything it stores lies below -data.

  system-manager -data /var/lib/oakestra/root

With -restore FILE it makes a backup (oak backup FILE) its store, keeps the one
that was there beside it, and ends. Started again it is in recovery: nothing
below is removed, and what clusters hold is taken in before it allocates.

  system-manager -data /var/lib/oakestra/root -restore backup.db

A fresh install has the login Admin / Admin, accepted from loopback and private
addresses only, until it is changed. Environment:
  OAKESTRA_ADMIN_PASSWORD  password of Admin, from anywhere
  OAKESTRA_SECURITY        default | open | strict
  OAKESTRA_API_QUOTED      1: answers as the clients of 2022 want them
  OAKESTRA_API_ROLE_OBJECTS 1: roles of users as objects, as in 2022
  OAKESTRA_CORS_ORIGINS    whose pages may call the API, with commas between (*)
  SMTP_HOST SMTP_PORT SMTP_USER SMTP_PASSWORD SMTP_FROM
                           mail tokens for new passwords; else they are logged
  MONGO_URL                store in this MongoDB instead of a file, for example
                           mongodb://user:password@host1,host2/oakestra?replicaSet=rs0

Several system managers may share one MongoDB. One of them serves; the others
forward users and clusters to it and take over within 5 s when it dies. Each
needs a -data of its own, and an -advertise that the others can reach:

  MONGO_URL=mongodb://db/oakestra system-manager -advertise 10.0.0.1:10000

Flags:
`

// parse reads flags over environment over defaults.
func parse(args []string) (root.Config, options, error) {
	cfg, opts := root.DefaultConfig(), options{}
	cfg.AdminPassword = root.Secret(os.Getenv("OAKESTRA_ADMIN_PASSWORD"))
	cfg.Quoted = os.Getenv("OAKESTRA_API_QUOTED") == "1"
	cfg.RoleObjects = os.Getenv("OAKESTRA_API_ROLE_OBJECTS") == "1"
	if v := os.Getenv("OAKESTRA_SECURITY"); v != "" {
		cfg.Security = v
	}
	if v := os.Getenv("OAKESTRA_CORS_ORIGINS"); v != "" {
		cfg.CORSOrigins = v
	}
	opts.mail = mail.Server{
		Host: os.Getenv("SMTP_HOST"), Port: os.Getenv("SMTP_PORT"), User: os.Getenv("SMTP_USER"),
		Password: os.Getenv("SMTP_PASSWORD"), From: os.Getenv("SMTP_FROM"),
	}
	f := flag.NewFlagSet("system-manager", flag.ContinueOnError)
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "address of API, docs and cluster links")
	f.StringVar(&cfg.Data, "data", cfg.Data, "directory for everything stored")
	mongo := f.String("mongo", "", "MongoDB to store in; other users of this machine can read it here, so rather set MONGO_URL")
	f.StringVar(&cfg.Advertise, "advertise", "", "host:port where other system managers on the same MongoDB reach this one (default: host name and port of -listen)")
	f.StringVar(&opts.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&opts.logFormat, "log-format", "text", "text or json")
	f.StringVar(&opts.restore, "restore", "", "backup `FILE` to make the store of -data, then end")
	f.BoolVar(&opts.version, "version", false, "print the version and end")
	f.Usage = func() { fmt.Fprint(f.Output(), help); f.PrintDefaults() }
	if err := f.Parse(args); err != nil {
		return cfg, opts, err
	}
	if f.NArg() > 0 {
		return cfg, opts, fmt.Errorf("unknown argument %q; see -h", f.Arg(0))
	}
	cfg.Mongo = root.Secret(cmp.Or(*mongo, strings.TrimSpace(os.Getenv("MONGO_URL"))))
	return cfg, opts, errors.Join(cfg.Validate(), opts.mail.Validate(), restorable(cfg, opts))
}

// restorable refuses to restore a file below -data that would not be read.
func restorable(cfg root.Config, opts options) error {
	if opts.restore == "" || cfg.Mongo == "" {
		return nil
	}
	return errs.Problems{{Path: "-restore", Value: opts.restore, Message: "is for the store below -data, and MONGO_URL (or -mongo) names a MongoDB: unset it, or restore that one with its own tools (mongorestore)"}}.Err()
}

// run builds every effect, in order, and serves until ctx ends.
func run(ctx context.Context, cfg root.Config, opts options) (err error) {
	logger, err := logging.New(os.Stderr, opts.logLevel, opts.logFormat)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	st, err := openStore(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.store.Close()) }()
	memory, err := witness.Open(filepath.Join(cfg.Data, "witness.json"))
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s (another system-manager, or `oak up`, may run: ss -ltnp): %w", cfg.Listen, err)
	}
	if st.shared && cfg.Advertise == "" {
		if cfg.Advertise, err = advertise(ln.Addr()); err != nil {
			return errors.Join(err, ln.Close())
		}
	}
	deps := root.Deps{
		Store: st.store, Witness: memory, Key: st.key, Listener: ln, Logger: logger, Version: version.Version, Shared: st.shared, Chores: st.chores,
	}
	if opts.mail.Host != "" {
		deps.Mailer = opts.mail
	}
	if cfg.Security == "strict" {
		logger.Warn("OAKESTRA_SECURITY=strict guards logins and the documentation page; put TLS in front, and admit clusters by the network, for it does neither")
	}
	d, err := root.New(cfg, deps)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return d.Run(ctx)
}

// opened is a store with what depends on its kind. It does not embed the store:
// the root looks for what only some kinds can (backup, measuring).
type opened struct {
	store  store.Store
	key    []byte // signs logins
	shared bool
	chores func(context.Context) error
}

// openStore chooses the backend: MongoDB where one is named, else a file.
func openStore(ctx context.Context, cfg root.Config, logger *slog.Logger) (opened, error) {
	if cfg.Mongo != "" {
		return openMongo(ctx, string(cfg.Mongo), logger)
	}
	st, fresh, err := boltstore.Open(filepath.Join(cfg.Data, "root.db"))
	if err != nil {
		return opened{}, err
	}
	if fresh {
		logger.Info("made a new store", "data", cfg.Data)
	}
	key, err := auth.LoadKey(filepath.Join(cfg.Data, "jwt.key"))
	if err != nil {
		return opened{}, errors.Join(err, st.Close())
	}
	return opened{store: st, key: key}, nil
}

// openMongo keeps the signing key in the store, so that a login outlives a
// takeover.
func openMongo(ctx context.Context, uri string, logger *slog.Logger) (opened, error) {
	st, fresh, err := mongostore.Open(ctx, uri)
	if err != nil {
		return opened{}, err
	}
	logger.Info("stores in MongoDB", "address", mongostore.Redacted(uri), "new", fresh)
	key, err := st.Key(ctx, "jwt", auth.KeySize)
	if err != nil {
		return opened{}, errors.Join(err, st.Close())
	}
	sweep := func(ctx context.Context) error { return st.Run(ctx, logger.With("part", "store")) }
	return opened{store: st, key: key, shared: true, chores: sweep}, nil
}

// advertise is how others reach a listener, by the name of this host.
func advertise(at net.Addr) (string, error) {
	host, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("no name to be reached by, set -advertise: %w", err)
		}
	}
	return net.JoinHostPort(host, port), nil
}
