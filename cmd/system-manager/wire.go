package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"oakestra/pkg/logging"
	"oakestra/pkg/mail"
	"oakestra/pkg/version"
	"oakestra/root"
	"oakestra/root/auth"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

type options struct {
	logLevel, logFormat string
	version             bool
	mail                mail.Server
}

const help = `system-manager is the root of an Oakestra installation: the REST API that users
call, with its documentation at /api/docs, and the port that cluster managers
dial. Everything it stores lies below -data.

  system-manager -data /var/lib/oakestra/root

A fresh install has the login Admin / Admin, accepted from loopback and private
addresses only, until it is changed. Environment:
  OAKESTRA_ADMIN_PASSWORD  password of Admin, from anywhere
  OAKESTRA_SECURITY        default | open | strict
  OAKESTRA_API_QUOTED      1: answers as the clients of 2022 want them
  OAKESTRA_API_ROLE_OBJECTS 1: roles of users as objects, as in 2022
  OAKESTRA_CORS_ORIGINS    whose pages may call the API, with commas between (*)
  SMTP_HOST SMTP_PORT SMTP_USER SMTP_PASSWORD SMTP_FROM
                           mail tokens for new passwords; else they are logged

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
	f.StringVar(&opts.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&opts.logFormat, "log-format", "text", "text or json")
	f.BoolVar(&opts.version, "version", false, "print the version and end")
	f.Usage = func() { fmt.Fprint(f.Output(), help); f.PrintDefaults() }
	if err := f.Parse(args); err != nil {
		return cfg, opts, err
	}
	if f.NArg() > 0 {
		return cfg, opts, fmt.Errorf("unknown argument %q; see -h", f.Arg(0))
	}
	return cfg, opts, errors.Join(cfg.Validate(), opts.mail.Validate())
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
	st, fresh, err := boltstore.Open(filepath.Join(cfg.Data, "root.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if fresh {
		logger.Info("made a new store", "data", cfg.Data)
	}
	key, err := auth.LoadKey(filepath.Join(cfg.Data, "jwt.key"))
	if err != nil {
		return err
	}
	memory, err := witness.Open(filepath.Join(cfg.Data, "witness.json"))
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s (another system-manager, or `oak up`, may run: ss -ltnp): %w", cfg.Listen, err)
	}
	deps := root.Deps{Store: st, Witness: memory, Key: key, Listener: ln, Logger: logger, Version: version.Version}
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
