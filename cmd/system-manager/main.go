// Command system-manager is the root of an Oakestra installation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"oakestra/pkg/version"
)

func main() {
	cfg, opts, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "system-manager:", err)
		os.Exit(2)
	case opts.version:
		fmt.Println("system-manager", version.Version)
		return
	}
	if opts.restore != "" {
		if err := restore(cfg.Data, opts.restore, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "system-manager:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go collectLess(ctx)
	if err := run(ctx, cfg, opts); err != nil {
		fmt.Fprintln(os.Stderr, "system-manager:", err)
		os.Exit(1)
	}
}
