package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newTrustAdd(a *app) *cobra.Command {
	var n client.NewTrust
	provider := required{missing: "the provider is missing: github, gitlab or bitbucket"}
	repository := required{missing: "the repository's id is missing"}
	owner := required{missing: "the owner's id is missing"}
	cmd := &cobra.Command{
		Use:   "add P --provider PROVIDER --repository ID --owner ID",
		Short: "Let the CI jobs of a repository publish to a pipeline",
		Long: `Let the CI jobs of a repository publish to a pipeline, without a stored token.
A job proves with an ID token of its provider where it runs. The ids stay the
same if the repository is renamed; docs/ci.md says where to find them.

Name the branch, the environment or the workflow too, unless every branch may
publish the site. Jobs of pull requests may only publish previews.`,
		Example: `  troy trust add blog --provider github --repository 41 --owner 7 --ref main
  troy trust add blog --provider github --repository 41 --owner 7 --previews
  troy trust add blog --provider gitlab --repository 278964 --owner 9970 \
    --environment production`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Provider, n.RepositoryID, n.OwnerID = provider.text, repository.text, owner.text
			return trustAdd(cmd.Context(), a, args[0], n)
		},
	}
	cmd.Flags().Var(&provider, "provider", "`github`, gitlab or bitbucket (required)")
	cmd.Flags().Var(&repository, "repository", "the repository's `id` at the provider (required)")
	cmd.Flags().Var(&owner, "owner", "the `id` of its owner or workspace (required)")
	cmd.Flags().StringVar(&n.Issuer, "issuer", "", "the issuer's `address` (default: the provider's)")
	cmd.Flags().StringVar(&n.Ref, "ref", "", "only this `branch`, or a ref like refs/tags/v1")
	cmd.Flags().StringVar(&n.Environment, "environment", "", "only jobs of this `environment`")
	cmd.Flags().StringVar(&n.Workflow, "workflow", "", "only this workflow's `file`, like deploy.yml")
	cmd.Flags().BoolVar(&n.PreviewsOnly, "previews", false, "the jobs may only publish previews")
	return cmd
}

func trustAdd(ctx context.Context, a *app, pipeline string, n client.NewTrust) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	t, err := c.AddTrust(ctx, pipeline, n)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(t)
	}
	may := "publish to"
	if t.PreviewsOnly {
		may = "publish previews of"
	}
	_, err = fmt.Fprintf(a.err, "Jobs of the repository %s may %s %s (rule %s).\n", clean(t.RepositoryID), may, clean(pipeline), shortToken(t.ID))
	return err
}

func newTrustList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list P",
		Short: "List which CI jobs may publish to a pipeline",
		Args:  arguments(1, "a pipeline"),
		RunE:  func(cmd *cobra.Command, args []string) error { return trustList(cmd.Context(), a, args[0]) },
	}
}

func trustList(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.Trusts(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintf(a.err, "No CI job may publish without a token. To let one, see: troy trust add --help\n")
		return nil
	}
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, t := range list {
		rows[i] = []cell{
			{text: shortToken(t.ID)}, {text: t.Provider}, {text: t.RepositoryID}, {text: t.OwnerID}, {text: trustLimits(t)},
			{text: a.out.when(t.CreatedAt, now)}, {text: t.CreatedBy}, {text: t.Issuer}, {text: t.ID.String()},
		}
	}
	a.out.table([]column{
		{title: "RULE"}, {title: "PROVIDER"}, {title: "REPOSITORY", least: 8}, {title: "OWNER", least: 6}, {title: "ONLY", least: 8},
		{title: "ADDED", wide: true}, {title: "BY", wide: true}, {title: "ISSUER", wide: true}, {title: "ID", wide: true},
	}, rows)
	return nil
}

// trustLimits says which jobs of the repository a rule accepts.
func trustLimits(t client.Trust) string {
	var limits []string
	if t.PreviewsOnly {
		limits = append(limits, "previews")
	}
	if t.Ref != "" {
		limits = append(limits, strings.TrimPrefix(t.Ref, "refs/heads/"))
	}
	if t.Environment != "" {
		limits = append(limits, "environment "+t.Environment)
	}
	if t.Workflow != "" {
		limits = append(limits, strings.TrimPrefix(t.Workflow, ".github/workflows/"))
	}
	return strings.Join(limits, ", ")
}

func newTrustRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove P RULE",
		Short: "Remove a rule; tokens that jobs got by it end at once",
		Long: `Remove a rule; tokens that jobs got by it end at once. RULE is the short id that
troy trust list shows, or the whole id.`,
		Args: arguments(2, "a pipeline", "a rule"),
		RunE: func(cmd *cobra.Command, args []string) error { return trustRemove(cmd.Context(), a, args[0], args[1]) },
	}
}

func trustRemove(ctx context.Context, a *app, pipeline, ref string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.Trusts(ctx, pipeline)
	if err != nil {
		return err
	}
	var found []uuid.UUID
	for _, t := range list {
		if id := t.ID.String(); id == ref || len(ref) >= 8 && strings.HasSuffix(id, ref) {
			found = append(found, t.ID)
		}
	}
	if len(found) != 1 {
		return troy.Errorf(troy.NotFound, "trust rule not found: %q; troy trust list shows them", troy.Clip(ref))
	}
	if err := c.RemoveTrust(ctx, pipeline, found[0]); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "The rule %s is removed.\n", shortToken(found[0]))
	return err
}
