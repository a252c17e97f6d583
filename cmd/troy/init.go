package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	detect "github.com/troy-iaas/troy/build"
)

const buildFile = "troy.toml"

func newInit(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Detect how a site is built and write troy.toml",
		Long: `Detect how the site in FOLDER, or in this folder, is built, by the rules that
builds follow, and write it to ` + buildFile + ` there. Settings in netlify.toml,
vercel.json, wrangler.toml and firebase.json are taken over, and those without an
effect are named. The file is shown first. On a terminal, init asks before it
writes; elsewhere, --yes has to be given. A file that exists is not replaced.`,
		Args: arguments(0, "a folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := first(args)
			if dir == "" {
				dir = "."
			}
			return initFolder(cmd.Context(), a, dir, yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// planJSON is what init found, as --json prints it.
type planJSON struct {
	Generator string   `json:"generator,omitempty"`
	Why       string   `json:"why"`
	Root      string   `json:"root,omitempty"`
	Install   string   `json:"install,omitempty"`
	Build     string   `json:"build,omitempty"`
	Outputs   []string `json:"outputs"`
	Notes     []string `json:"notes,omitempty"`
	File      string   `json:"file"`
}

func initFolder(ctx context.Context, a *app, dir string, yes bool) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return troy.Errorf(troy.NotFound, "folder not found: %s", dir)
	}
	if err != nil {
		return troy.Errorf(troy.Invalid, "%w", err)
	}
	defer func() { _ = root.Close() }()
	file := filepath.Join(dir, buildFile)
	if _, err := root.Lstat(buildFile); err == nil {
		return troy.Errorf(troy.Conflict, "%s exists; edit it, or remove it first", file)
	}
	plan, err := detect.Decide(root.FS(), detect.Settings{})
	if err != nil {
		return err
	}
	text, err := tomlOf(root.FS(), plan)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.err, "%s\n\n", clean(plan.Why))
	if len(plan.Contexts) > 0 {
		plan.Notes = append(plan.Notes, fmt.Sprintf("netlify.toml: %s no longer count for previews once there is a %s.", strings.Join(plan.Contexts, ", "), buildFile))
	}
	for _, note := range plan.Notes {
		_, _ = fmt.Fprintln(a.err, clean(note))
	}
	if len(plan.Notes) > 0 {
		_, _ = fmt.Fprintln(a.err)
	}
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Fprintf(a.err, "  %s\n", clean(strings.TrimRight(line, "\n")))
	}
	_, _ = fmt.Fprintln(a.err)
	if !yes {
		if !a.canAsk() {
			return troy.Errorf(troy.Invalid, "there is no terminal to confirm it on: give --yes to write %s", file)
		}
		answer, err := a.ask(ctx, "Write it to "+file+"? [Y/n]", false)
		if err != nil {
			return err
		}
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "" && answer != "y" && answer != "yes" {
			return troy.Errorf(troy.Invalid, "nothing was written")
		}
	}
	if err := writeSmall(file, 0o644, text); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.err, "Wrote %s. Commit it, or change it first.\n", clean(file))
	if a.json {
		found := planJSON{Generator: plan.Generator, Why: plan.Why, Install: plan.Install, Build: plan.Build, Outputs: plan.Outputs, Notes: plan.Notes, File: file}
		if plan.Root != "." {
			found.Root = plan.Root
		}
		return a.printJSON(found)
	}
	return nil
}

// tomlOf returns the plan as a troy.toml. The output is in it if it is certain.
func tomlOf(fsys fs.FS, plan detect.Plan) ([]byte, error) {
	type table struct {
		Root        *string           `toml:"root,omitempty"`
		Install     *string           `toml:"install,omitempty"`
		Command     *string           `toml:"command,omitempty"`
		Output      *string           `toml:"output,omitempty"`
		Environment map[string]string `toml:"environment,omitempty"`
	}
	t := table{Environment: plan.Environment}
	if plan.Root != "." {
		t.Root = &plan.Root
	}
	if plan.Install != "" && plan.InstallRoot == plan.Root { // a command of troy.toml runs in the root folder
		t.Install = &plan.Install
	}
	t.Command = &plan.Build // an empty one says that nothing is to be run
	if len(plan.Outputs) == 1 && !strings.ContainsAny(plan.Outputs[0], `*?[\`) && fs.ValidPath(plan.Outputs[0]) {
		t.Output = &plan.Outputs[0]
	}
	var text bytes.Buffer
	text.WriteString("# How Troy builds this site.\n")
	if err := toml.NewEncoder(&text).Encode(map[string]table{"build": t}); err != nil {
		return nil, fmt.Errorf("write %s: %w", buildFile, err)
	}
	if t.Output == nil {
		fmt.Fprintf(&text, "# output is one of: %s\n", strings.Join(plan.Outputs, ", "))
	}
	if plan.SPA {
		text.WriteString("\n[site]\n# The site is one page that answers all addresses.\nspa = true\n")
	}
	var others []string
	for _, name := range []string{"netlify.toml", "vercel.json", "wrangler.toml", "wrangler.json", "wrangler.jsonc", "firebase.json"} {
		if slices.ContainsFunc([]string{plan.Root, "."}, func(dir string) bool { _, err := fs.Stat(fsys, path.Join(dir, name)); return err == nil }) {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		fmt.Fprintf(&text, "\n# This file is used instead of the build settings in %s.\n# Redirects and headers there still count.\n", strings.Join(others, ", "))
	}
	return text.Bytes(), nil
}
