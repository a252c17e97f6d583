package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/rivo/uniseg"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// TestScreensFit checks that the everyday screens fit a terminal of 80 columns,
// with long names and texts, and that nothing is cut elsewhere.
func TestScreensFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("very ", 30) + "long"
	slug := "a-slug-that-is-longer-than-most-of-them"
	at := time.Now().Add(-3 * time.Hour)
	brief := &client.Brief{Number: 1234, State: troy.Building, Commit: strings.Repeat("a", 40), Message: long, By: "Someone With A Name", Since: at}
	pipelines := []client.Pipeline{
		{Slug: slug, Status: troy.Deploying, URL: "https://" + slug + ".example.com", Live: brief, Next: brief, UpdatedAt: at},
		{Slug: "b", Status: troy.FailedToProvision, Cause: long, URL: "https://b.example.com", UpdatedAt: at},
	}
	for name, show := range map[string]func(*app){
		"status": func(a *app) { a.overview(pipelines) },
		"queue": func(a *app) {
			a.queueTable([]client.Work{{Kind: "pipeline:teardown-start", Pipeline: slug, State: "failing", Attempts: 12, Cause: long, DueAt: time.Now().Add(time.Hour), Since: at}})
		},
		"activity": func(a *app) {
			a.activityTable([]client.Activity{{Time: at, Pipeline: slug, Action: "variable.set", Subject: strings.Repeat("A", 128), Actor: "token " + long, Detail: long, Remote: "2001:db8::1"}})
		},
	} {
		var fitted, piped bytes.Buffer
		show(&app{out: &screen{w: &fitted, terminal: true, width: 80}})
		show(&app{out: &screen{w: &piped, uncut: true, width: 80}})
		for line := range strings.Lines(fitted.String()) {
			if n := uniseg.StringWidth(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s has a line of %d columns:\n%s", name, n, line)
			}
		}
		if !strings.Contains(fitted.String(), "…") || strings.Contains(piped.String(), "…") || !strings.Contains(piped.String(), long) {
			t.Errorf("%s on a terminal:\n%s\nin a pipe:\n%s", name, fitted.String(), piped.String())
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		done, all int64
		took      time.Duration
		want      string
	}{
		{0, 100, time.Second, ""},
		{1 << 20, 10 << 20, 2 * time.Second, ", 512.0 KiB/s, 18 s left"},
		{10, 10, time.Second, ", 10 B/s, 0 s left"},
		{1, 1_000_000, time.Second, ", 1 B/s, 11 days left"},
	} {
		if got := pace(c.done, c.all, c.took); got != c.want {
			t.Errorf("pace(%d, %d, %s) is %q; expected %q", c.done, c.all, c.took, got, c.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	denied := func(path string) error { return &fs.PathError{Op: "openat", Path: path, Err: fs.ErrPermission} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{denied("dist"), "cannot read dist: permission denied; make it readable"},
		{denied("a/b.html"), `cannot read "a/b.html" in dist: permission denied; make it readable or list it in .troyignore`},
	} {
		err := unreadable("dist", fmt.Errorf("open dist: %w", c.err))
		if err == nil || err.Error() != c.want || troy.KindOf(err) != troy.Invalid {
			t.Errorf("%v is %v (%s), want %s", c.err, err, troy.KindOf(err), c.want)
		}
	}
	if err := unreadable("dist", fs.ErrNotExist); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another error became %v", err)
	}
}
