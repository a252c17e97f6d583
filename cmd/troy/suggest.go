package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

const (
	// maxSuggested is the maximum number of pipelines to compare a mistyped name
	// with, and suggestTime is how long reading them may take.
	maxSuggested = 1000
	suggestTime  = 3 * time.Second
)

// nearest returns the name that was probably meant by word, or "".
func nearest(word string, names []string) string {
	best, least := "", max(1, min(3, len(word)/3))+1
	for _, name := range names {
		d := levenshtein.Distance(strings.ToLower(word), strings.ToLower(name), nil)
		if len(word) >= 3 && strings.HasPrefix(name, word) || sameLetters(word, name) {
			d = min(d, 1)
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// sameLetters reports whether two words differ only in the order of letters.
func sameLetters(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return bytes.Equal(x, y)
}

// unknownCommand returns the error for a command that does not exist.
func unknownCommand(parent *cobra.Command, name string) error {
	var names, inGroups []string
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		names = append(names, c.Name())
		for _, verb := range c.Commands() {
			if verb.Name() == name {
				inGroups = append(inGroups, verb.CommandPath())
			}
		}
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("%s has no command %q; did you mean %s?", parent.CommandPath(), name, near)
	}
	if len(inGroups) > 0 {
		return fmt.Errorf("%s has no command %q; did you mean %s?", parent.CommandPath(), name, alternatives(inGroups))
	}
	return fmt.Errorf("%s has no command %q (see %s --help)", parent.CommandPath(), name, parent.CommandPath())
}

// alternatives joins names with commas and "or".
func alternatives(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// noSuch returns the error for an unknown subcommand.
func noSuch(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

// inWords rewords the library's error about an unknown command.
func inWords(root *cobra.Command, err error) error {
	var name string
	// The library has no type for this error.
	if _, scanErr := fmt.Sscanf(err.Error(), "unknown command %q", &name); scanErr != nil {
		return err
	}
	return unknownCommand(root, name)
}

// nearestFlag returns the flag that was probably meant if err is about an
// unknown flag, or "".
func nearestFlag(cmd *cobra.Command, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return nearest(unknown.GetSpecifiedName(), names)
}

// suggestPipeline returns the pipeline that was probably meant if err means that
// the given one does not exist, or "".
func (a *app) suggestPipeline(ctx context.Context, err error) string {
	if troy.KindOf(err) != troy.NotFound || a.client == nil || a.ref == "" || ctx.Err() != nil {
		return ""
	}
	c, err := client.New(a.client.BaseURL, a.client.Token)
	if err != nil {
		return ""
	}
	c.Attempts = 1
	ctx, cancel := context.WithTimeout(ctx, suggestTime)
	defer cancel()
	pipelines, err := take(c.Pipelines(ctx, ""), maxSuggested)
	if err != nil {
		return ""
	}
	var slugs []string
	for _, p := range pipelines {
		if p.ID.String() == a.ref {
			return ""
		}
		slugs = append(slugs, p.Slug)
	}
	if slices.Contains(slugs, a.ref) {
		return "" // something else was not found
	}
	return nearest(a.ref, slugs)
}
