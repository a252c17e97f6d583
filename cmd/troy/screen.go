package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rivo/uniseg"
	"golang.org/x/term"

	"github.com/troy-iaas/troy"
)

const (
	// defaultWidth is used where there is no terminal, so that what CI logs
	// show is what people see.
	defaultWidth = 80
	gap          = "  "
)

// screen is an output stream and what is known of who reads it.
type screen struct {
	io.Writer
	terminal bool
	colour   bool
	width    int // columns
}

func newScreen(f *os.File, env func(string) string) *screen {
	s := &screen{Writer: f, width: defaultWidth}
	s.terminal = term.IsTerminal(int(f.Fd())) && env("TERM") != "dumb"
	s.colour = s.terminal && env("NO_COLOR") == "" // https://no-color.org
	if columns, err := strconv.Atoi(env("COLUMNS")); err == nil && columns >= 40 {
		s.width = columns
	}
	if s.terminal {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns >= 40 {
			s.width = columns
		}
	}
	return s
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// cell is one text of a table.
type cell struct {
	text   string
	colour string // an SGR parameter (ECMA-48 §8.3.117), or empty
}

// column is one column of a table.
type column struct {
	title string
	// least is the fewest columns of the screen that a cut text may have;
	// 0 means that the text is never cut.
	least int
	// optional columns are left out, last first, where there is no room.
	optional bool
}

// table prints aligned rows that fit the screen as far as columns allow. The
// texts are cleaned here.
func (s *screen) table(columns []column, rows [][]cell) {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = len(c.title)
		for _, row := range rows {
			row[i].text = clean(row[i].text)
			widths[i] = max(widths[i], uniseg.StringWidth(row[i].text))
		}
	}
	shown := s.fit(columns, widths)
	line := func(cells func(i int) cell) {
		var b strings.Builder
		for n, i := range shown {
			c := cells(i)
			text := cut(c.text, widths[i])
			pad := widths[i] - uniseg.StringWidth(text)
			if c.colour != "" && s.colour {
				text = "\x1b[" + c.colour + "m" + text + "\x1b[0m"
			}
			b.WriteString(text)
			if n < len(shown)-1 {
				b.WriteString(strings.Repeat(" ", pad) + gap)
			}
		}
		_, _ = fmt.Fprintln(s, strings.TrimRight(b.String(), " "))
	}
	line(func(i int) cell { return cell{text: columns[i].title, colour: "1"} })
	for _, row := range rows {
		line(func(i int) cell { return row[i] })
	}
}

// fit narrows the columns that may be cut, and returns those that are shown.
func (s *screen) fit(columns []column, widths []int) []int {
	shown := make([]int, len(columns))
	for i := range columns {
		shown[i] = i
	}
	for {
		over := -len(gap) - s.width
		for _, i := range shown {
			over += widths[i] + len(gap)
		}
		room := 0
		for _, i := range shown {
			if columns[i].least > 0 {
				room += max(0, widths[i]-columns[i].least)
			}
		}
		drop := -1
		for n, i := range shown {
			if columns[i].optional {
				drop = n
			}
		}
		if over > room && drop >= 0 {
			shown = append(shown[:drop], shown[drop+1:]...)
			continue
		}
		for n := len(shown) - 1; n >= 0 && over > 0; n-- {
			i := shown[n]
			if columns[i].least > 0 {
				less := max(0, min(over, widths[i]-columns[i].least))
				widths[i] -= less
				over -= less
			}
		}
		return shown
	}
}

// field is one line of a view.
type field struct{ name, text string }

// view prints names and texts below each other; those without text are left
// out.
func (s *screen) view(fields ...field) {
	width := 0
	for _, f := range fields {
		if f.text != "" {
			width = max(width, len(f.name))
		}
	}
	for _, f := range fields {
		if f.text != "" {
			_, _ = fmt.Fprintf(s, "%-*s  %s\n", width+1, f.name+":", clean(f.text))
		}
	}
}

// clean makes a server's text fit to be shown on one line of a terminal:
// control characters, escape sequences' among them, and characters that
// change the direction of writing are taken out.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, text)
}

// cut shortens a text to that many columns of the screen.
func cut(text string, width int) string {
	if uniseg.StringWidth(text) <= width {
		return text
	}
	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(text); g.Next(); {
		if used += g.Width(); used > width-1 {
			break
		}
		b.WriteString(g.Str())
	}
	return strings.TrimRight(b.String(), " ") + "…"
}

// ago is a time as people say it; after a month it is the date.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return ""
	case d < 5*time.Second: // and clocks that differ
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	case d < 30*24*time.Hour:
		return fmt.Sprintf("%d d ago", d/(24*time.Hour))
	}
	return t.Local().Format(time.DateOnly)
}

// size is a number of bytes as people say it.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 999.5 && unit < 4 {
		f, unit = f/1000, unit+1
	}
	format := "%.0f %s"
	if f < 9.95 {
		format = "%.1f %s"
	}
	return fmt.Sprintf(format, f, []string{"B", "kB", "MB", "GB", "TB"}[unit])
}

func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func statusCell(s troy.Status) cell {
	c := cell{text: s.String()}
	switch {
	case s == troy.Deployed || s == troy.ReadyForDeployment:
		c.colour = green
	case s == troy.FailedToProvision || s == troy.FailedToDeploy || s == troy.FailedToDelete:
		c.colour = red
	case !s.Resting():
		c.colour = yellow
	}
	return c
}

func stateCell(s troy.DeploymentState) cell {
	c := cell{text: s.String()}
	switch {
	case s == troy.Succeeded:
		c.colour = green
	case s == troy.Failed:
		c.colour = red
	case !s.Ended():
		c.colour = yellow
	}
	return c
}
