package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newCacheList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list P",
		Short: "List the caches of a pipeline's builds",
		Long: `List the dependency caches of a pipeline's builds: which builds use them, the
package manager, the size, and when a build last used them.`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error { return cacheList(cmd.Context(), a, args[0]) },
	}
}

func cacheList(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.Caches(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.err, "The pipeline's builds have no caches.")
		return nil
	}
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, e := range list {
		rows[i] = []cell{{text: e.Scope}, {text: e.Manager}, {text: troy.Size(e.Bytes)}, {text: a.out.when(e.UsedAt, now)}}
	}
	a.out.table([]column{{title: "BUILDS OF", least: 10}, {title: "MANAGER"}, {title: "SIZE"}, {title: "LAST USED"}}, rows)
	return nil
}

func newCacheClear(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "clear P",
		Short: "Let the next builds of a pipeline start without a cache",
		Long: `Let the next builds of a pipeline and its previews start without a dependency
cache. A build that runs keeps its cache to the end, and no later build uses
that. The next build frees the disk space.`,
		Example: `  troy cache clear blog && troy deploy blog`,
		Args:    arguments(1, "a pipeline"),
		RunE:    func(cmd *cobra.Command, args []string) error { return cacheClear(cmd.Context(), a, args[0]) },
	}
}

func cacheClear(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if err := c.ClearCaches(ctx, pipeline); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "The next builds of %s start without a cache.\n", clean(pipeline))
	return err
}
