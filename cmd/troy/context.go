package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// contextJSON is a context as --json prints it.
type contextJSON struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Current bool   `json:"current"`
}

func newContext(a *app) *cobra.Command {
	list := func(*cobra.Command, []string) error { return contextList(a) }
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Manage the servers that you are logged in to",
		Args:  noSuch,
		RunE:  list,
	}
	use := &cobra.Command{
		Use:   "use NAME",
		Short: "Make a context the current one",
		Args:  arguments(1, "a context"),
		RunE:  func(_ *cobra.Command, args []string) error { return contextUse(a, args[0]) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			all, err := a.contexts()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return all.names(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.AddCommand(&cobra.Command{Use: "list", Short: "List contexts; * marks the current one", Args: arguments(0), RunE: list}, use)
	return cmd
}

func contextList(a *app) error {
	all, err := a.contexts()
	if err != nil {
		return err
	}
	items := []contextJSON{}
	for _, name := range all.names() {
		items = append(items, contextJSON{Name: name, URL: all.Contexts[name].URL, Current: name == all.Current})
	}
	if a.json {
		return a.printJSON(items)
	}
	if len(items) == 0 {
		_, _ = fmt.Fprintln(a.err, "No contexts. To create one, run: troy login URL")
		return nil
	}
	rows := make([][]cell, len(items))
	for i, item := range items {
		name := item.Name
		if item.Current {
			name += " *"
		}
		rows[i] = []cell{{text: name}, {text: item.URL}}
	}
	a.out.table([]column{{title: "CONTEXT", least: 12}, {title: "URL", least: 20}}, rows)
	return nil
}

func contextUse(a *app, name string) error {
	all, err := a.contexts()
	if err != nil {
		return err
	}
	if _, ok := all.Contexts[name]; !ok {
		return noContext(all, name)
	}
	all.Current = name
	if err := a.save(all); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "The current context is %s (%s).\n", clean(name), clean(all.Contexts[name].URL))
	return err
}
