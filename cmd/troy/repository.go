package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newRepositoryList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list [SEARCH]",
		Short: "List the repositories of the installed apps",
		Long: `List the repositories to which Troy's apps have access, at most 100: those whose
names contain SEARCH, or all. Connect one with troy pipeline set P --repository.`,
		Args: arguments(0, "a text to search for"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return repositoryList(cmd.Context(), a, first(args))
		},
	}
}

func repositoryList(ctx context.Context, a *app, search string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	found, err := c.Repositories(ctx, search)
	if err != nil {
		return err
	}
	for _, problem := range found.Problems {
		_, _ = fmt.Fprintf(a.err, "Warning: %s\n", clean(problem))
	}
	switch {
	case a.json:
		return a.printJSON(found.Repositories)
	case found.Apps == 0:
		_, err = fmt.Fprintln(a.err, "No app is installed. To connect GitHub, open /setup/github on the server.")
		return err
	case len(found.Repositories) == 0:
		_, err = fmt.Fprintln(a.err, "No repositories.")
		return err
	}
	rows := make([][]cell, len(found.Repositories))
	for i, r := range found.Repositories {
		private := ""
		if r.Private {
			private = "private"
		}
		rows[i] = []cell{{text: string(r.Provider) + ":" + r.FullName}, {text: r.DefaultBranch}, {text: private}}
	}
	a.out.table([]column{{title: "REPOSITORY", least: 24}, {title: "BRANCH"}, {title: "VISIBILITY"}}, rows)
	if !found.Complete {
		_, err = fmt.Fprintln(a.err, "There are more. Search for more of the name.")
	}
	return err
}

func newRepositoryShow(a *app) *cobra.Command {
	var branch, root string
	cmd := &cobra.Command{
		Use:   "show FORGE:OWNER/NAME",
		Short: "Show how a repository would be built",
		Long: `Show how the newest commit of a repository's branch would be built: what Troy
detects, or why it detects nothing. Nothing is built.`,
		Example: `  troy repository show github:team/blog --branch next --root site`,
		Args:    arguments(1, "a repository"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return repositoryShow(cmd.Context(), a, args[0], branch, root)
		},
	}
	cmd.Flags().StringVar(&branch, "branch", "", "the `branch` (default the repository's)")
	cmd.Flags().StringVar(&root, "root", "", "the `folder` of the site's source")
	return cmd
}

func repositoryShow(ctx context.Context, a *app, ref, branch, root string) error {
	provider, name, ok := strings.Cut(ref, ":")
	if !ok {
		return troy.Errorf(troy.Invalid, "it is %q; expected FORGE:OWNER/NAME, such as github:team/blog", ref).At("repository")
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := c.InspectRepository(ctx, troy.Provider(provider), name, branch, root)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	fields := []field{{"Repository", string(r.Provider) + ":" + r.FullName}, {"Branch", r.Branch}, {"Commit", r.Commit}, {"Problem", r.Problem}}
	if d := r.Detected; d != nil {
		fields = append(fields,
			field{"Generator", d.Generator}, field{"Root", d.Root}, field{"Install", d.Install}, field{"Build", d.Build}, field{"Test", d.Test},
			field{"Output", strings.Join(d.Outputs, " or ")}, field{"Notes", strings.Join(d.Notes, " ")})
	}
	a.out.view(fields...)
	return nil
}
