// Command cluster-manager runs one site: it links workers to a root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"oakestra/pkg/logging"
	"oakestra/pkg/version"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	o, err := parse(args, os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster-manager:", err, "\nsee: cluster-manager -h")
		return 2
	case o.version:
		fmt.Println(version.Version)
		return 0
	}
	logger, err := logging.New(os.Stderr, o.level, o.format)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster-manager:", err)
		return 2
	}
	if o.outside != "" && os.Getenv("GOGC") == "" {
		// A large site keeps tens of MiB for long and makes little garbage beside:
		// collecting twice as often costs little and saves a quarter of the memory.
		// With the broker inside, each collection looks at two stacks per worker.
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, o, logger); err != nil {
		logger.Error("cluster-manager ends", "error", err)
		return 1
	}
	return 0
}
