package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/rivo/uniseg"
	"golang.org/x/term"

	"github.com/troy-iaas/troy"
)

const (
	// defaultWidth is the width of progress and text without a terminal, so
	// that CI logs look like a terminal.
	defaultWidth = 80
	gap          = "  "
)

// screen is an output stream and its properties.
type screen struct {
	w        io.Writer
	terminal bool
	colour   bool
	uncut    bool // no terminal, or --wide
	wide     bool // --wide
	width    int  // columns

	mu     sync.Mutex
	failed error // the first error of a write
}

func newScreen(f *os.File, env func(string) string) *screen {
	s := &screen{w: f, width: defaultWidth}
	s.terminal = term.IsTerminal(int(f.Fd())) && env("TERM") != "dumb"
	s.colour = s.terminal && env("NO_COLOR") == "" // https://no-color.org
	s.uncut = !term.IsTerminal(int(f.Fd()))
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns >= 40 {
		s.width = columns
	}
	return s
}

// Write implements io.Writer. The program ends with the first error, which
// callers may ignore.
func (s *screen) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failed == nil {
			s.failed = err
		}
	}
	return n, err
}

// err returns the first error of a write.
func (s *screen) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
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
	// least is the minimum width of a shortened text; 0 means that the text is
	// never shortened.
	least int
	// spill, if not 0, is the maximum width of the column if the table is too
	// wide. A longer text continues on its own line.
	spill int
	// optional columns are omitted, the last first, if there is no room.
	optional bool
	// wide columns are shown only with --wide.
	wide bool
}

// narrowest returns the minimum width of the column.
func (c column) narrowest(width int) int {
	if least := max(c.least, c.spill); least > 0 {
		return min(width, max(least, len(c.title)))
	}
	return width
}

// table prints aligned rows. On a terminal they fit its width as far as the
// columns allow; elsewhere, and with --wide, nothing is shortened. table cleans
// the texts.
func (s *screen) table(columns []column, rows [][]cell) {
	widths := make([]int, len(columns))
	shown := make([]int, 0, len(columns))
	for i, c := range columns {
		if c.wide && !s.wide {
			continue
		}
		shown = append(shown, i)
		widths[i] = len(c.title)
		for _, row := range rows {
			row[i].text = clean(row[i].text)
			widths[i] = max(widths[i], uniseg.StringWidth(row[i].text))
		}
	}
	if !s.uncut {
		shown = s.fit(columns, shown, widths, rows)
	}
	s.line(columns, shown, widths, func(i int) cell { return cell{text: columns[i].title, colour: "1"} })
	for _, row := range rows {
		s.line(columns, shown, widths, func(i int) cell { return row[i] })
	}
}

// line prints one row of a table.
func (s *screen) line(columns []column, shown, widths []int, cells func(i int) cell) {
	var b strings.Builder
	at := 0
	for n, i := range shown {
		c := cells(i)
		text := c.text
		if columns[i].spill == 0 {
			text = cut(text, widths[i])
		}
		last, width := n == len(shown)-1, uniseg.StringWidth(text)
		if c.colour != "" && s.colour {
			text = "\x1b[" + c.colour + "m" + text + "\x1b[0m"
		}
		switch {
		case width > widths[i] && n == 0: // the rest follows below
			b.WriteString(text + "\n" + strings.Repeat(" ", widths[i]) + gap)
		case width > widths[i] && last && at > 0:
			b.WriteString("\n" + gap + text)
		case last:
			b.WriteString(text)
		default:
			b.WriteString(text + strings.Repeat(" ", max(0, widths[i]-width)) + gap)
		}
		at += widths[i] + len(gap)
	}
	for text := range strings.SplitSeq(b.String(), "\n") {
		_, _ = fmt.Fprintln(s, strings.TrimRight(text, " "))
	}
}

// fit narrows columns until the table fits, and returns the columns to show.
func (s *screen) fit(columns []column, shown, widths []int, rows [][]cell) []int {
	over := func() int {
		over := -len(gap) - s.width
		for _, i := range shown {
			over += widths[i] + len(gap)
		}
		return over
	}
	room := func() int {
		room := 0
		for _, i := range shown {
			room += max(0, widths[i]-columns[i].narrowest(widths[i]))
		}
		return room
	}
	for over() > room() {
		n := lastOptional(columns, shown)
		if n < 0 {
			break
		}
		shown = slices.Delete(shown, n, n+1)
	}
	for _, i := range shown {
		if most := columns[i].spill; most > 0 && over() > 0 {
			widths[i] = len(columns[i].title)
			for _, row := range rows {
				if width := uniseg.StringWidth(row[i].text); width <= most {
					widths[i] = max(widths[i], width)
				}
			}
		}
	}
	// A last column that spills gets the remaining width.
	if last := shown[len(shown)-1]; columns[last].spill > 0 {
		widths[last] = max(widths[last], widths[last]-over())
	}
	for over() > 0 {
		widest := -1
		for _, i := range shown {
			if widths[i] > columns[i].narrowest(widths[i]) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return shown
}

func lastOptional(columns []column, shown []int) int {
	for n, i := range slices.Backward(shown) {
		if columns[i].optional {
			return n
		}
	}
	return -1
}

// field is one line of a view.
type field struct{ name, text string }

// view prints names and texts line by line, without empty texts.
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

// clean makes a server's text safe to show on one line of a terminal: it
// removes control characters, including those of escape sequences, and
// characters that change the direction of text.
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

// cut shortens a text to width columns.
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

// when formats a time: relative on a terminal, both forms with --wide, absolute
// elsewhere.
func (s *screen) when(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case !s.uncut:
		return ago(t, now)
	}
	absolute := t.UTC().Format(time.RFC3339)
	if s.wide {
		return absolute + " (" + ago(t, now) + ")"
	}
	return absolute
}

// until is like when, for a future time.
func (s *screen) until(t, now time.Time) string {
	left := t.Sub(now)
	said := "in " + inDays(left)
	if left <= 0 {
		said = ago(t, now)
	}
	absolute := t.UTC().Format(time.RFC3339)
	switch {
	case !s.uncut:
		return said
	case s.wide:
		return absolute + " (" + said + ")"
	}
	return absolute
}

func inDays(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// whenever is like when, for an optional time.
func (s *screen) whenever(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return s.when(*t, now)
}

// ago formats a time relative to now, or as a date after a month.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return ""
	case d < 5*time.Second: // or the clocks differ
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
