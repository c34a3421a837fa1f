package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"oakestra/pkg/errs"
	"oakestra/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		var code exitCode
		if errors.As(err, &code) {
			os.Exit(int(code))
		}
		fmt.Fprintln(os.Stderr, "oak:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	a := &app{out: os.Stdout}
	root := &cobra.Command{
		Use:   "oak",
		Short: "run and use Oakestra, the orchestrator for many small sites",
		Long: `oak runs a whole Oakestra site on one machine, and talks to any root.

  sudo oak up -d                     start root, cluster and worker here
  oak deploy deploy/deploy_curl_application.json --wait
  oak services                       what runs, where, at which address
  oak logs nginx -f                  what its instances write
  oak exec nginx/0 -it -- sh         a shell inside one of them
  oak scale nginx 3                  three instances behind one address
  oak update nginx --image IMAGE     replace them one after the other
  sudo oak down                      stop and remove everything

Commands that talk to a root use $OAK_ROOT (default http://localhost:10000) and
the login of "oak login", or $OAK_TOKEN, or $OAK_USER and $OAK_PASSWORD.`,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("oak {{.Version}}\n")
	root.PersistentFlags().StringVar(&a.root, "root", envOr("OAK_ROOT", "http://localhost:10000"), "address of the root")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.AddCommand(
		upCommand(a), stopCommand(a), downCommand(a),
		loginCommand(a), logoutCommand(a), userCommand(a), orgCommand(a), tokenCommand(a),
		deployCommand(a), waitCommand(a),
		applyCommand(a), scaleCommand(a), updateCommand(a), rollbackCommand(a), rolloutCommand(a),
		appsCommand(a), servicesCommand(a), nodesCommand(a), clustersCommand(a),
		instanceCommand(a), deleteCommand(a), recoverCommand(a),
		logsCommand(a), execCommand(a),
		nodeCommand(a), clusterCommand(a), orphansCommand(a), orphanCommand(a), eventsCommand(a), explainCommand(a), backupCommand(a), simCommand(a),
	)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	refuseUnknown(root)
	return root
}

// flagError names a flag with a wrong value, the value, and what would be right.
func flagError(err error) error {
	var wrong *pflag.InvalidValueError
	if !errors.As(err, &wrong) {
		return err
	}
	kind := wrong.GetFlag().Value.Type()
	switch kind {
	case "int", "int64":
		kind = "a whole number"
	case "bool":
		kind = "true or false"
	case "duration":
		kind = "a duration such as 30s"
	}
	return errs.Problems{{Path: "--" + wrong.GetFlag().Name, Value: strconv.Quote(wrong.GetValue()), Message: "want " + kind}}
}

// refuseUnknown makes a command that only has subcommands fail on a word that
// is none of them, instead of printing its help as if all were well.
func refuseUnknown(c *cobra.Command) {
	for _, sub := range c.Commands() {
		refuseUnknown(sub)
	}
	if !c.HasSubCommands() || c.Runnable() {
		return
	}
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return fmt.Errorf("unknown command %q for %q; see: %s -h", args[0], c.CommandPath(), c.CommandPath())
	}
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
