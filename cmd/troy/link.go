package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

// linkName is the file that links a folder to its pipeline. It contains no
// secret, so it can be committed. Releases leave it out because its name begins
// with a dot.
const linkName = ".troy.json"

// link is the content of a linkName.
type link struct {
	Pipeline string `json:"pipeline"`
	Server   string `json:"server,omitempty"`

	file string // its path
}

// findLink returns the link of the current folder, or nil.
func (a *app) findLink() (*link, error) {
	file := linkFile()
	if file == "" {
		return nil, nil
	}
	l := link{file: file}
	if _, err := readSmallJSON(file, &l); err != nil {
		return nil, err
	}
	return l.check()
}

// linkFile returns the path of the current folder's link, or "". In a git
// repository, the folders up to its root count too.
func linkFile() string {
	dir, err := os.Getwd()
	if err != nil {
		return "" // a folder that was removed has no link
	}
	root := repositoryRoot(dir)
	for {
		file := filepath.Join(dir, linkName)
		if _, err := os.Stat(file); err == nil {
			return file
		}
		if dir == root || root == "" {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// place is the absolute path of the link's file without symbolic links.
func (l link) place() string { return place(l.file) }

func place(file string) string {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return file
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return filepath.Join(dir, filepath.Base(file))
}

func (l link) check() (*link, error) {
	if _, err := uuid.Parse(l.Pipeline); err != nil && troy.CheckSlug(l.Pipeline) != nil {
		return nil, troy.Errorf(troy.Invalid, "%q is neither an id nor a slug (in %s)", troy.Clip(l.Pipeline), l.file).At("pipeline")
	}
	if l.Server != "" {
		if _, err := newClient(endpoint{url: l.Server, field: "server"}); err != nil {
			return nil, fmt.Errorf("%w (in %s)", err, l.file)
		}
	}
	return &l, nil
}

// repositoryRoot returns the folder of the git repository that dir is in, or "".
func repositoryRoot(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			return ""
		}
		dir = above
	}
}

// useLinks makes the first argument P optional, in a linked folder, for all
// commands below cmd. Only deleting a pipeline always requires its name.
func (a *app) useLinks(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		a.useLinks(c)
	}
	name, rest, _ := strings.Cut(cmd.Use, " ")
	words := strings.Fields(rest)
	if len(words) == 0 || strings.Trim(words[0], "[]") != "P" {
		return
	}
	args, run := cmd.Args, cmd.RunE
	cmd.ValidArgsFunction = a.completes(words)
	if words[0] == "[P]" || name == "delete" {
		cmd.RunE = func(cmd *cobra.Command, given []string) error {
			if len(given) > 0 {
				a.ref = given[0]
			}
			return run(cmd, given)
		}
		return
	}
	cmd.Use = name + " [P]" + strings.TrimPrefix(rest, "P")
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		filled, err := a.fill(words, given)
		if err != nil {
			a.started = true // the command line is not at fault
			return err
		}
		return args(cmd, filled)
	}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		filled, err := a.fill(words, given)
		if err != nil {
			return err
		}
		if len(filled) > 0 {
			a.ref = filled[0]
		}
		return run(cmd, filled)
	}
}

// fill adds the linked pipeline to the given arguments if they lack one. words
// are the command's argument names.
func (a *app) fill(words, given []string) ([]string, error) {
	required := 0
	for _, w := range words {
		if !strings.HasPrefix(w, "[") && !strings.HasPrefix(w, "-") {
			required++
		}
		if strings.HasPrefix(w, "-") {
			break // a flag
		}
	}
	lacks := len(given) < required
	if len(given) == 1 && required == 1 && len(words) > 1 {
		lacks = words[1] == "[D]" && isNumber(given[0]) || words[1] == "[PATH]" && strings.ContainsAny(given[0], "./")
	}
	if !lacks {
		return given, nil
	}
	l, err := a.findLink()
	if err != nil || l == nil {
		return given, err
	}
	a.linked = l
	return append([]string{l.Pipeline}, given...), nil
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(strings.TrimPrefix(text, "#"), 10, 63)
	return err == nil
}

func newLink(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "link [P]",
		Short: "Link this folder to a pipeline, or show the link",
		Long: `Link this folder to a pipeline. Commands that take P use that pipeline if you
leave P out. The file ` + linkName + ` names the pipeline and the server but
contains no secret, so you can commit it; releases leave it out. In a git
repository, the link also applies to the folders below. A link that you did not
make in this place can't choose another server than the current context's.
Without P, the command shows the link.`,
		Example: `  troy link blog
  troy release ./public`,
		Args: arguments(0, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return showLink(a)
			}
			return makeLink(cmd.Context(), a, args[0])
		},
	}
}

func showLink(a *app) error {
	l, err := a.findLink()
	if err != nil {
		return err
	}
	if l == nil {
		return troy.Errorf(troy.NotFound, "this folder is not linked to a pipeline; to link it, run: troy link P")
	}
	if a.json {
		return a.printJSON(l)
	}
	a.out.view(field{"Pipeline", l.Pipeline}, field{"Server", l.Server}, field{"File", l.file})
	return nil
}

func makeLink(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Pipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	l := link{Pipeline: p.Slug, Server: c.BaseURL}
	if err := writeSmallJSON(linkName, 0o644, l); err != nil {
		return err
	}
	if err := a.rememberLink(linkName, l.Server); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(l)
	}
	_, err = fmt.Fprintf(a.err, "This folder is linked to %s at %s (%s).\n", p.Slug, clean(c.BaseURL), linkName)
	return err
}

// rememberLink records that the user made a link, or removed it if server is
// empty. A server without a stored token is never chosen by a link.
func (a *app) rememberLink(file, server string) error {
	all, err := a.contexts()
	if err != nil || server != "" && all.of(server) == "" || server == "" && all.Links[place(file)] == "" {
		return err
	}
	if all.Links == nil {
		all.Links = map[string]string{}
	}
	if server == "" {
		delete(all.Links, place(file))
	} else {
		all.Links[place(file)] = server
	}
	return a.save(all)
}

func newUnlink(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unlink",
		Short: "Remove this folder's link to a pipeline",
		Args:  arguments(0),
		RunE: func(*cobra.Command, []string) error {
			file := linkFile()
			if file == "" {
				return troy.Errorf(troy.NotFound, "this folder is not linked to a pipeline")
			}
			if err := os.Remove(file); err != nil {
				return fmt.Errorf("unlink: %w", err)
			}
			if err := a.rememberLink(file, ""); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.err, "Removed %s.\n", clean(file))
			return err
		},
	}
}

// fillFlags sets a missing required flag --pipeline to the linked pipeline.
func (a *app) fillFlags(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup("pipeline")
	if f == nil {
		return nil
	}
	wanted, ok := f.Value.(*required)
	if !ok {
		return nil
	}
	if !f.Changed {
		l, err := a.findLink()
		if err != nil || l == nil {
			return err
		}
		a.linked, wanted.text = l, l.Pipeline
	}
	a.ref = wanted.text
	return nil
}
