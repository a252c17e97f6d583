package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newPreviewList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list P",
		Short: "List the previews of a pipeline's site",
		Args:  arguments(1, "a pipeline"),
		RunE:  func(cmd *cobra.Command, args []string) error { return previewList(cmd.Context(), a, args[0]) },
	}
}

func previewList(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list := []client.Preview{}
	for v, err := range c.Previews(ctx, pipeline) {
		if err != nil {
			return err
		}
		list = append(list, v)
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintf(a.err, "No previews. To make one, run: troy release PATH --pipeline %s --preview\n", clean(pipeline))
		return nil
	}
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, v := range list {
		rows[i] = []cell{{text: v.Label}, previewState(v), {text: a.out.when(v.PushedAt, now)}, {text: previewExpiry(a, v, now)}, {text: v.Author}, {text: v.Title}, {text: v.URL}}
	}
	a.out.table([]column{
		{title: "PREVIEW", least: 8, spill: 30}, {title: "STATE"}, {title: "PUSHED"}, {title: "EXPIRES", optional: true},
		{title: "AUTHOR", optional: true, spill: 16}, {title: "TITLE", least: 10}, {title: "ADDRESS", wide: true},
	}, rows)
	return nil
}

func previewState(v client.Preview) cell {
	colour := map[troy.PreviewState]string{troy.PreviewReady: green, troy.PreviewFailed: red}[v.State]
	if colour == "" {
		colour = yellow
	}
	return cell{text: v.StateName, colour: colour}
}

func previewExpiry(a *app, v client.Preview, now time.Time) string {
	switch {
	case v.Pinned:
		return "pinned"
	case v.ExpiresAt == nil:
		return ""
	}
	return a.out.until(*v.ExpiresAt, now)
}

func newPreviewShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show P LABEL",
		Short: "Show a preview, also one that was deleted",
		Args:  arguments(2, "a pipeline", "a preview"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return previewShow(cmd.Context(), a, args[0], args[1])
		},
	}
}

func previewShow(ctx context.Context, a *app, pipeline, label string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	v, err := c.Preview(ctx, pipeline, label)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(v)
	}
	a.printPreview(pipeline, v)
	return nil
}

func (a *app) printPreview(pipeline string, v client.Preview) {
	now := time.Now()
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	a.out.view(
		field{"Preview", v.Label}, field{"Pipeline", pipeline}, field{"State", v.StateName}, field{"Cause", v.Cause}, field{"Address", v.URL},
		field{"Pull request", number(v.PullRequest)}, field{"Page", v.SourceURL}, field{"Branch", v.Branch}, field{"Title", v.Title},
		field{"Author", v.Author}, field{"Commit", v.Commit}, field{"Deployment", number(v.Deployment)}, field{"Shows", number(v.Shown)},
		field{"Created", a.out.when(v.CreatedAt, now)}, field{"Pushed", a.out.when(v.PushedAt, now)}, field{"Expires", previewExpiry(a, v, now)},
		field{"Deleted", a.out.whenever(v.ClosedAt, now)},
	)
}

func newPreviewOpen(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "open P LABEL",
		Short: "Open a preview in the browser",
		Long: `Open a preview in the browser. If stdout is not a terminal, only the address is
printed.`,
		Args: arguments(2, "a pipeline", "a preview"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return previewOpen(cmd.Context(), a, args[0], args[1])
		},
	}
}

func previewOpen(ctx context.Context, a *app, pipeline, label string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	v, err := c.Preview(ctx, pipeline, label)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(v)
	}
	u, err := url.Parse(v.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return troy.Errorf(troy.Internal, "the server says that the preview is at %q, which is not an address of a site", v.URL)
	}
	if v.Shown == 0 {
		_, _ = fmt.Fprintf(a.err, "Note: %s shows nothing; it is %s.\n", clean(v.Label), v.StateName)
	}
	return a.open(ctx, u.String())
}

func newPreviewCreate(a *app) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "create P BRANCH",
		Short: "Build a branch and show it at an address of its own",
		Long: `Build the newest commit of a branch and show it at an address of its own. If the
branch has a preview, run the command again to build the branch again. The last
line on stdout is the preview's address.`,
		Example: "  troy preview create blog feature/prices",
		Args:    arguments(2, "a pipeline", "a branch"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return previewCreate(cmd.Context(), a, args[0], args[1], w)
		},
	}
	w.addFlags(cmd)
	w.addFollow(cmd)
	return cmd
}

func previewCreate(ctx context.Context, a *app, pipeline, branch string, w waiting) error {
	if err := w.check(); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	v, err := c.PreviewBranch(ctx, pipeline, branch)
	if err != nil {
		return err
	}
	id, err := deploymentID(ctx, c, pipeline, fmt.Sprint(v.Deployment))
	if err != nil {
		return err
	}
	d, err := c.Deployment(ctx, pipeline, id)
	if err != nil {
		return err
	}
	w.preview = v.Label
	return a.await(ctx, c, pipeline, d, w)
}

func newPreviewPromote(a *app) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "promote P LABEL",
		Short: "Publish what a preview shows as the site, without a build",
		Args:  arguments(2, "a pipeline", "a preview"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return previewPromote(cmd.Context(), a, args[0], args[1], w)
		},
	}
	w.addFlags(cmd)
	return cmd
}

func previewPromote(ctx context.Context, a *app, pipeline, label string, w waiting) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.PromotePreview(ctx, pipeline, label, 0)
	if err != nil {
		return err
	}
	return a.await(ctx, c, pipeline, d, w)
}

func newPreviewDelete(a *app) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "delete P LABEL",
		Short: "Delete a preview",
		Long: `Delete a preview: its address and its files are gone shortly afterwards. What was
promoted from it stays. On a terminal you confirm by typing the preview's label;
elsewhere --yes is required.`,
		Args: arguments(2, "a pipeline", "a preview"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return previewDelete(cmd.Context(), a, args[0], args[1], yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func previewDelete(ctx context.Context, a *app, pipeline, label string, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if !yes {
		v, err := c.Preview(ctx, pipeline, label)
		if err != nil {
			return err
		}
		warning := fmt.Sprintf("This deletes the preview %s of %s.", clean(v.Label), clean(pipeline))
		if err := a.sure(ctx, warning, v.Label); err != nil {
			return err
		}
	}
	v, err := c.DeletePreview(ctx, pipeline, label)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(v)
	}
	_, _ = fmt.Fprintf(a.err, "The preview %s of %s is being removed.\n", clean(v.Label), clean(pipeline))
	return nil
}

// newPreviewPin returns pin or unpin.
func newPreviewPin(a *app, pinned bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin P LABEL",
		Short: "Keep a preview from expiring and from making room for others",
		Args:  arguments(2, "a pipeline", "a preview"),
	}
	if !pinned {
		cmd.Use, cmd.Short = "unpin P LABEL", "Let a pinned preview expire"
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return previewPin(cmd.Context(), a, args[0], args[1], pinned)
	}
	return cmd
}

func previewPin(ctx context.Context, a *app, pipeline, label string, pinned bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	change := c.UnpinPreview
	if pinned {
		change = c.PinPreview
	}
	v, err := change(ctx, pipeline, label)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(v)
	}
	if v.Pinned {
		_, _ = fmt.Fprintf(a.err, "The preview %s is pinned.\n", clean(v.Label))
		return nil
	}
	_, _ = fmt.Fprintf(a.err, "The preview %s expires %s.\n", clean(v.Label), previewExpiry(a, v, time.Now()))
	return nil
}

// showPreview prints where a deployment's preview is.
func (a *app) showPreview(ctx context.Context, c *client.Client, pipeline string, d client.Deployment, label string) error {
	v, err := c.Preview(ctx, pipeline, label)
	if err != nil {
		return err
	}
	if v.Shown == d.Number {
		_, _ = fmt.Fprintf(a.err, "The preview %s shows deployment %d. To publish it, run: troy preview promote %s %s\n", clean(v.Label), d.Number, clean(pipeline), clean(v.Label))
	} else {
		_, _ = fmt.Fprintf(a.err, "Deployment %d succeeded; the preview %s shows another one now.\n", d.Number, clean(v.Label))
	}
	if d.Address != "" {
		_, _ = fmt.Fprintf(a.err, "These files stay at %s\n", clean(d.Address))
	}
	_, _ = fmt.Fprintln(a.out, clean(v.URL))
	return nil
}
