package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/template"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

const defaultURL = "http://127.0.0.1:8080"

// app is the state that all commands share.
type app struct {
	environ  []string
	env      func(string) string
	in       io.Reader
	out, err *screen

	url     string // --url
	json    bool   // --json, or --format
	format  string // --format
	wide    bool   // --wide
	started bool   // the command line was parsed

	template  *template.Template // of --format
	client    *client.Client     // set by connect
	tokenFrom string             // the source of its token
	ref       string             // the pipeline of the command
	linked    *link              // set if the folder's link named it
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "troy",
		Short: "Publish static sites with Troy",
		Long: `Publish static sites with Troy.

P is a pipeline's slug or id; in a linked folder, you can leave it out. D is a
deployment's number or id.

Environment:
  TROY_URL     the server, default ` + defaultURL + `
  TROY_TOKEN   the token; without it, the one that troy login stored, or for
               troy release the one that a CI job gets (troy trust)
  NO_COLOR     disables colours if set

Exit codes:
  0    done
  1    an unexpected error, in troy or in the server
  2    wrong usage or input, or over a limit
  3    no valid token, or the token does not allow this
  4    no such pipeline, deployment or file
  5    the current status does not allow it, or a precondition failed
  6    the deployment failed, was cancelled or was superseded
  7    the server is away, or --timeout expired
  8    the pipeline's quota is used up
  130  interrupted`,
		Example: `  troy release ./public --pipeline blog
  troy deploy blog
  troy logs blog --follow
  troy rollback blog
  troy status`,
		Version:       version().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.started = true
			if err := a.useFormat(); err != nil {
				return err
			}
			a.out.wide, a.out.uncut = a.wide, a.out.uncut || a.wide
			if err := a.fillFlags(cmd); err != nil {
				return err
			}
			return checkFlags(cmd)
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVar(&a.url, "url", "", "the server's `address` (default TROY_URL)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print only the API's JSON on stdout")
	root.PersistentFlags().StringVar(&a.format, "format", "", "format the JSON's fields with a Go `template`")
	root.PersistentFlags().BoolVar(&a.wide, "wide", false, "show more columns, full texts and full times")
	root.AddCommand(
		newRelease(a), newCheck(a), newBuild(a), newDeploy(a), newRetry(a), newCancel(a), newLogs(a), newRollback(a), newPromote(a), newLock(a), newUnlock(a), newRestore(a), newPurge(a), newAccess(a), newStatus(a), newVersion(a),
		newLogin(a), newLogout(a), newWhoami(a), newContext(a), newLink(a), newUnlink(a), newInit(a),
		newFiles(a), newDiff(a), newOpen(a), newWatch(a), newActivity(a), newTraffic(a), newQueue(a), newStats(a), newSystem(a), newMan(),
		group("token", "Manage the server's tokens", newTokenList(a), newTokenCreate(a), newTokenRevoke(a)),
		group("trust", "Manage which CI jobs may publish without a stored token", newTrustAdd(a), newTrustList(a), newTrustRemove(a)),
		group("schedule", "Manage when a pipeline deploys by itself", newScheduleShow(a), newScheduleSet(a), newScheduleRemove(a)),
		group("cache", "List and clear the caches of builds", newCacheList(a), newCacheClear(a)),
		group("hook", "Manage the addresses that start a deployment", newHookList(a), newHookCreate(a), newHookDelete(a)),
		group("notifier", "Manage who is told about events",
			newNotifierAdd(a), newNotifierList(a), newNotifierTest(a), newNotifierDeliveries(a), newNotifierRedeliver(a), newNotifierEnable(a), newNotifierRotate(a), newNotifierRemove(a)),
		group("session", "Manage the browsers that are signed in", newSessionList(a), newSessionRevoke(a)),
		group("pipeline", "Manage pipelines; each publishes one site",
			newPipelineList(a), newPipelineShow(a), newPipelineCreate(a), newPipelineSet(a), newPipelineProvision(a), newPipelineQuota(a), newPipelineDelete(a)),
		group("deployment", "Manage a pipeline's deployments",
			newDeploymentList(a), newDeploymentShow(a), newDeploymentRules(a), newDeploymentCancel(a), newDeploymentPrune(a)),
		group("repository", "Show the repositories of the installed apps", newRepositoryList(a), newRepositoryShow(a)),
		group("variable", "Manage the variables of a pipeline's builds",
			newVariableList(a), newVariableSet(a), newVariableUnset(a)),
		group("domain", "Manage the custom domains of a pipeline's site",
			newDomainAdd(a), newDomainList(a), newDomainShow(a), newDomainVerify(a), newDomainRemove(a), newDomainPrimary(a)),
		group("preview", "Manage the previews of a pipeline's site",
			newPreviewList(a), newPreviewShow(a), newPreviewOpen(a), newPreviewCreate(a), newPreviewApprove(a), newPreviewPromote(a), newPreviewDelete(a),
			newPreviewPin(a, true), newPreviewPin(a, false)),
		group("event", "Show a pipeline's events", newEventList(a)),
	)
	root.DisableSuggestions = true // unknownCommand has its own
	a.useLinks(root)
	a.completeFlags(root)
	return root
}

// group returns a noun's command with its verbs. Without a verb it returns an
// error.
func group(noun, short string, verbs ...*cobra.Command) *cobra.Command {
	names := make([]string, len(verbs))
	for i, v := range verbs {
		names[i] = v.Name()
	}
	g := &cobra.Command{
		Use:   noun,
		Short: short,
		Args:  noSuch,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return troy.Errorf(troy.Invalid, "%s: expected one of: %s", cmd.CommandPath(), strings.Join(names, ", "))
		},
	}
	g.AddCommand(verbs...)
	return g
}

// arguments returns a check for at least least and at most len(names)
// arguments. Its error lists the missing ones.
func arguments(least int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("%s: expected %s (see %s --help)", cmd.CommandPath(), strings.Join(names[len(args):least], " and "), cmd.CommandPath())
		case len(args) > len(names):
			return fmt.Errorf("%s: unexpected argument %q (see %s --help)", cmd.CommandPath(), args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

// printJSON prints a JSON value and a line end, or the value with --format.
func (a *app) printJSON(v any) error {
	if a.template != nil {
		return printFormatted(a.out, a.template, v)
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// deploymentID returns the id of a deployment given by its id or number.
func deploymentID(ctx context.Context, c *client.Client, pipeline, ref string) (uuid.UUID, error) {
	if id, err := uuid.Parse(ref); err == nil {
		return id, nil
	}
	number, err := strconv.ParseInt(strings.TrimPrefix(ref, "#"), 10, 64)
	if err != nil || number < 1 {
		return uuid.Nil, troy.Errorf(troy.Invalid, "it is %q; expected a deployment's number or id", ref).At("deployment")
	}
	d, err := c.DeploymentByNumber(ctx, pipeline, number)
	return d.ID, err
}

// canAsk reports whether a person can answer a question.
func (a *app) canAsk() bool { return isTerminal(a.in) && a.err.terminal }

// sure asks the user to type a word before an action that can't be undone.
// Without a terminal it returns an error that asks for --yes.
func (a *app) sure(ctx context.Context, warning, word string) error {
	if !a.canAsk() {
		return troy.Errorf(troy.Invalid, "%s To confirm without a terminal, use --yes", warning)
	}
	_, _ = fmt.Fprintf(a.err, "%s\nType %s to continue: ", warning, word)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(a.in, 1024)).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case line := <-answer:
		if line != word {
			return troy.Errorf(troy.Invalid, "you typed %q; expected %s; nothing was done", line, word)
		}
		return nil
	}
}

// take returns at most limit items of a list; 0 means all.
func take[T any](items func(func(T, error) bool), limit int) ([]T, error) {
	list := []T{}
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		list = append(list, item)
		if len(list) == limit {
			break
		}
	}
	return list, nil
}
