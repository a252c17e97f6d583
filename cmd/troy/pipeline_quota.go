package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newPipelineQuota(a *app) *cobra.Command {
	var bytes, files, open string
	cmd := &cobra.Command{
		Use:   "quota P",
		Short: "Show what a pipeline stores and may store, or set its limits",
		Long: `Show what a pipeline stores and may store. With an option, set limits of its
own; only an unlimited admin may. A limit is a number, none, or default for the
installation's. Limits that you don't name stay.

A lower limit than what is stored removes nothing. It refuses new files (exit
code 8) until enough was pruned.`,
		Example: `  troy pipeline quota blog
  troy pipeline quota blog --bytes 5GiB --files 200000
  troy pipeline quota blog --bytes default`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pipelineQuota(cmd.Context(), a, args[0], []limitFlag{{"bytes", bytes, true}, {"files", files, false}, {"open-releases", open, false}})
		},
	}
	cmd.Flags().StringVar(&bytes, "bytes", "", "all files: a `size` like 500MiB, none or default")
	cmd.Flags().StringVar(&files, "files", "", "the `number` of files, none or default")
	cmd.Flags().StringVar(&open, "open-releases", "", "a `number` of unfinished releases, none or default")
	return cmd
}

// limitFlag is an option that sets a limit; an empty text leaves it.
type limitFlag struct {
	name, text string
	size       bool
}

// set changes the limit, if the option was given.
func (f limitFlag) set(limit **int64) error {
	switch text := strings.ToLower(strings.TrimSpace(f.text)); text {
	case "":
	case "default":
		*limit = nil
	case "none":
		*limit = new(int64)
	default:
		var n int64
		var ok bool
		if f.size {
			n, ok = parseSize(text)
		} else {
			v, err := strconv.ParseInt(text, 10, 64)
			n, ok = v, err == nil && v > 0
		}
		if !ok {
			form := "a number from 1"
			if f.size {
				form = "a size like 500MiB or 5GiB"
			}
			return troy.Errorf(troy.Invalid, "it is %q; expected %s, none or default", troy.Clip(f.text), form).At("--" + f.name)
		}
		*limit = &n
	}
	return nil
}

// parseSize reads a size of at least one byte, such as 500MiB. KB is read as
// KiB.
func parseSize(text string) (int64, bool) {
	text = strings.ToLower(strings.ReplaceAll(text, " ", ""))
	digits := strings.TrimRight(text, "kmgtib")
	shift, ok := map[string]int{"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}[strings.TrimSuffix(strings.TrimSuffix(text[len(digits):], "b"), "i")]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 1 || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

func pipelineQuota(ctx context.Context, a *app, pipeline string, flags []limitFlag) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	usage, err := c.Usage(ctx, pipeline)
	if err != nil {
		return err
	}
	own, changes := usage.OwnQuota, false
	for i, limit := range []**int64{&own.Bytes, &own.Files, &own.OpenReleases} {
		if err := flags[i].set(limit); err != nil {
			return err
		}
		changes = changes || flags[i].text != ""
	}
	if changes {
		if usage, err = c.SetQuota(ctx, pipeline, own); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(usage)
	}
	counted := "never"
	if usage.CountedAt != nil {
		counted = a.out.when(*usage.CountedAt, time.Now())
	}
	a.out.view(
		field{"Stored", of(usage.Bytes, usage.Quota.Bytes, usage.OwnQuota.Bytes, troy.Size)},
		field{"Files", of(usage.Files, usage.Quota.Files, usage.OwnQuota.Files, plainNumber)},
		field{"Open releases", of(usage.OpenReleases, usage.Quota.OpenReleases, usage.OwnQuota.OpenReleases, plainNumber)},
		field{"Counted", counted},
	)
	return nil
}

func plainNumber(n int64) string { return fmt.Sprint(n) }

// of formats a number and its limit.
func of(n, limit int64, own *int64, words func(int64) string) string {
	text := words(n) + ", no limit"
	if limit > 0 {
		text = words(n) + " of " + words(limit)
	}
	if own != nil {
		text += " (this pipeline's own)"
	}
	return text
}

// storedField is what pipeline show says of the storage.
func storedField(u client.Usage) string {
	text := fmt.Sprintf("%s in %s", troy.Size(u.Bytes), troy.Count(int(u.Files), "file", "files"))
	if u.Quota.Bytes > 0 {
		text += ", of " + troy.Size(u.Quota.Bytes)
	}
	return text
}
