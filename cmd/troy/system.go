package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newSystem(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "system",
		Short: "Show the server itself: versions, findings, workers, retention",
		Long: `Show the server itself: versions, the findings of cheap checks with what to do,
the workers and what they run, the installations at forges, who may sign in, and
what is kept. It needs an admin's token for all pipelines.`,
		Args: noSuch,
		RunE: func(cmd *cobra.Command, _ []string) error { return system(cmd.Context(), a) },
	}
	cmd.AddCommand(newSystemUsers(a), newSystemSignOut(a), newSystemStorage(a))
	return cmd
}

func system(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	s, err := c.System(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(s)
	}
	now := time.Now()
	version := s.Version
	if s.Commit != "" {
		version += " (" + s.Commit + ")"
	}
	kept := fmt.Sprintf("%s besides the live one; assets for %s", troy.Count(s.Retention.Deployments, "deployment", "deployments"), inDays(time.Duration(s.Retention.CarryAssetsSeconds)*time.Second))
	a.out.view(
		field{"Version", version}, field{"Go", s.Go}, field{"Schema", fmt.Sprint(s.Schema)}, field{"Last sweep", a.out.when(s.SweptAt, now)},
		field{"Sign-in", signInOf(s.SignIn)}, field{"Kept", kept},
	)
	a.findingTable(s.Findings)
	a.workerTable(s.Workers, now)
	if len(s.Forges) > 0 {
		rows := make([][]cell, len(s.Forges))
		for i, f := range s.Forges {
			rows[i] = []cell{{text: f.Provider}, {text: f.Account}, {text: f.State}, {text: a.out.when(f.ChangedAt, now)}, {text: f.ID}}
		}
		_, _ = fmt.Fprintln(a.out)
		a.out.table([]column{{title: "FORGE"}, {title: "ACCOUNT", least: 10}, {title: "STATE"}, {title: "SINCE"}, {title: "ID", wide: true}}, rows)
	}
	return nil
}

func signInOf(s *client.SignIn) string {
	switch {
	case s == nil:
		return "by token"
	case !s.Answers:
		return s.Issuer + " (does not answer), or by token"
	}
	return s.Issuer + ", or by token"
}

func (a *app) findingTable(list []client.Finding) {
	rows := make([][]cell, len(list))
	for i, f := range list {
		state := cell{text: "ok", colour: green}
		said := f.Said
		if f.Remedy != "" {
			state, said = cell{text: "FAIL", colour: red}, f.Said+" → "+f.Remedy
		}
		rows[i] = []cell{state, {text: f.Part}, {text: said}}
	}
	_, _ = fmt.Fprintln(a.out)
	a.out.table([]column{{title: "CHECK"}, {title: "PART"}, {title: "FINDING", least: 20}}, rows)
}

func (a *app) workerTable(list []client.Worker, now time.Time) {
	rows := make([][]cell, len(list))
	for i, w := range list {
		seen := cell{text: a.out.when(w.SeenAt, now)}
		if w.Silent {
			seen.colour = red
		}
		rows[i] = []cell{{text: fmt.Sprintf("%s/%d", w.Host, w.PID)}, seen, {text: a.out.when(w.StartedAt, now)}, {text: runningOf(w)}, {text: w.Version}}
	}
	_, _ = fmt.Fprintln(a.out)
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.out, "No worker runs.")
		return
	}
	a.out.table([]column{{title: "WORKER", least: 10}, {title: "SEEN"}, {title: "STARTED"}, {title: "RUNS", least: 16}, {title: "VERSION", wide: true}}, rows)
}

// runningOf says what a worker does.
func runningOf(w client.Worker) string {
	if w.Silent {
		return "it was killed, or can't reach Postgres"
	}
	var all []string
	for _, r := range w.Running {
		_, kind, found := strings.Cut(r.Kind, ":")
		if !found {
			kind = r.Kind
		}
		text := strings.TrimSpace(strings.ReplaceAll(kind, "-", " ") + " " + r.Pipeline)
		if r.Number > 0 {
			text += fmt.Sprintf(" %d", r.Number)
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

func newSystemUsers(a *app) *cobra.Command {
	limit := number{n: 50}
	cmd := &cobra.Command{
		Use:   "users",
		Short: "List who signed in with OpenID Connect, the last sign-in first",
		Args:  arguments(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return systemUsers(cmd.Context(), a, limit.n) },
	}
	addLimit(cmd, &limit)
	return cmd
}

func systemUsers(ctx context.Context, a *app, limit int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := take(c.Users(ctx), limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.err, "No one has signed in with OpenID Connect.")
		return nil
	}
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, u := range list {
		role := u.Role
		if u.Pipelines != nil {
			role += " of " + pipelinesOf(u.Pipelines)
		}
		rows[i] = []cell{{text: u.Name}, {text: role}, {text: a.out.when(u.SignedInAt, now)}, {text: strings.Join(u.Groups, ", ")}, {text: u.FullName}, {text: u.ID.String()}}
	}
	a.out.table([]column{
		{title: "USER", least: 12}, {title: "ROLE"}, {title: "SIGNED IN"}, {title: "GROUPS", least: 10, optional: true}, {title: "NAME", wide: true}, {title: "ID", wide: true},
	}, rows)
	return nil
}

func newSystemSignOut(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "sign-out USER",
		Short: "Sign out all browsers of a user",
		Long: `Sign out all browsers of a user, who signed in with OpenID Connect. USER is a
name or an id of troy system users. Remove the person from the group at the
issuer first: who stays in it can sign in again. On a terminal, the name has to
be typed first; elsewhere, --yes has to be given.`,
		Args: arguments(1, "a user"),
		RunE: func(cmd *cobra.Command, args []string) error { return systemSignOut(cmd.Context(), a, args[0], yes) },
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func systemSignOut(ctx context.Context, a *app, ref string, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := take(c.Users(ctx), 0)
	if err != nil {
		return err
	}
	var found []client.User
	for _, u := range list {
		if u.ID.String() == ref || u.Name == ref {
			found = append(found, u)
		}
	}
	switch len(found) {
	case 0:
		return troy.Errorf(troy.NotFound, "user not found: %q; to list the users, run: troy system users", troy.Clip(ref))
	case 1:
	default:
		return troy.Errorf(troy.Invalid, "%d users have the name %q; give the id that troy system users --wide shows", len(found), troy.Clip(ref))
	}
	u := found[0]
	if !yes {
		if err := a.sure(ctx, fmt.Sprintf("This signs out all browsers of the user %s.", clean(u.Name)), u.Name); err != nil {
			return err
		}
	}
	if err := c.SignOutUser(ctx, u.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "All browsers of the user %s are signed out.\n", clean(u.Name))
	return err
}

func newSystemStorage(a *app) *cobra.Command {
	limit := number{n: 50}
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "List what pipelines store, the largest first",
		Long: `List what pipelines store, the largest first. A file that several deployments of
a pipeline share is stored and counted once. With --wide, SUM counts it for each.`,
		Args: arguments(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return systemStorage(cmd.Context(), a, limit.n) },
	}
	addLimit(cmd, &limit)
	return cmd
}

func systemStorage(ctx context.Context, a *app, limit int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := take(c.Storage(ctx), limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.err, "Nothing is stored.")
		return nil
	}
	rows := make([][]cell, len(list))
	for i, s := range list {
		rows[i] = []cell{{text: s.Pipeline}, {text: troy.Size(s.UsedBytes)}, {text: fmt.Sprint(s.UsedFiles)}, {text: fmt.Sprint(s.Deployments)}, {text: troy.Size(s.Bytes)}, {text: s.Name}}
	}
	a.out.table([]column{{title: "PIPELINE", least: 10}, {title: "STORED"}, {title: "FILES"}, {title: "DEPLOYMENTS"}, {title: "SUM", wide: true}, {title: "NAME", wide: true}}, rows)
	return nil
}

func newSessionList(a *app) *cobra.Command {
	limit := number{n: 50}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the browsers that are signed in, newest first",
		Args:  arguments(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return sessionList(cmd.Context(), a, limit.n) },
	}
	addLimit(cmd, &limit)
	return cmd
}

func sessionList(ctx context.Context, a *app, limit int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := take(c.Sessions(ctx), limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.err, "No browser is signed in.")
		return nil
	}
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, s := range list {
		rows[i] = []cell{
			{text: s.ID[:min(12, len(s.ID))]}, {text: s.Kind + " " + s.Name}, {text: s.Role}, {text: a.out.when(s.SeenAt, now)}, {text: a.out.until(s.ExpiresAt, now)}, {text: troy.BrowserName(s.Browser)}, {text: s.ID},
		}
	}
	a.out.table([]column{
		{title: "SESSION"}, {title: "OF", least: 10}, {title: "ROLE"}, {title: "SEEN"}, {title: "EXPIRES"}, {title: "BROWSER", least: 10, optional: true}, {title: "ID", wide: true},
	}, rows)
	return nil
}

func newSessionRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke SESSION",
		Short: "Sign a browser out",
		Long:  `Sign a browser out. SESSION is the short id that troy session list shows, or the whole id.`,
		Args:  arguments(1, "a session"),
		RunE:  func(cmd *cobra.Command, args []string) error { return sessionRevoke(cmd.Context(), a, args[0]) },
	}
}

func sessionRevoke(ctx context.Context, a *app, ref string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := take(c.Sessions(ctx), 0)
	if err != nil {
		return err
	}
	var found []client.Session
	for _, s := range list {
		if s.ID == ref || len(ref) >= 8 && strings.HasPrefix(s.ID, ref) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return troy.Errorf(troy.NotFound, "session not found: %q; to list the sessions, run: troy session list", troy.Clip(ref))
	case 1:
	default:
		return troy.Errorf(troy.Invalid, "%q begins %d ids; give the whole id", troy.Clip(ref), len(found))
	}
	if err := c.RevokeSession(ctx, found[0].ID); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "A browser of the %s %s is signed out.\n", clean(found[0].Kind), clean(found[0].Name))
	return err
}
