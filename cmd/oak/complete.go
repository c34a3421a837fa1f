package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// offer completes a word to names out of a list of the root. A root that does
// not answer within 3 s offers nothing.
func offer[T any](a *app, route func(*cobra.Command) string, name func(T) string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
		defer cancel()
		c, err := a.signedIn(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var list []T
		if err := c.do(ctx, http.MethodGet, route(cmd), nil, &list); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, v := range list {
			if n := name(v); n != "" && strings.HasPrefix(n, begun) {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) completeNodes() cobra.CompletionFunc {
	return offer(a, func(*cobra.Command) string { return "/api/nodes/" }, func(v nodeView) string { return v.ID })
}

func (a *app) completeClusters() cobra.CompletionFunc {
	return offer(a, func(*cobra.Command) string { return "/api/clusters/" }, func(v clusterView) string { return v.Name })
}

// first completes the first word after a command, and no further one.
func first(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, begun)
	}
}

// completeFlag has a flag completed; that it is there is known when oak is built.
func completeFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}
