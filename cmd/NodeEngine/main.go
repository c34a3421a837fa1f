// Command NodeEngine runs the containers a cluster sends to this machine.
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
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "NodeEngine:", err)
		if code == 0 {
			code = 1
		}
	}
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	command := ""
	if len(args) > 0 && (args[0] == "purge" || args[0] == "exec") {
		command, args = args[0], args[1:]
	}
	o, err := parse(command, args)
	if err != nil {
		return 2, err
	}
	if o.version {
		fmt.Println("NodeEngine", version.Version)
		return 0, nil
	}
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("containers need root; type: sudo NodeEngine %s", command)
	}
	switch command {
	case "purge":
		return 0, purge(ctx, o)
	case "exec":
		return execute(ctx, o)
	}
	return 0, serve(ctx, o)
}
