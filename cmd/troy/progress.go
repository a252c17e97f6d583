package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/troy-iaas/troy"
)

const (
	// On a terminal the line is redrawn this often; elsewhere a line is added
	// this often.
	redraw  = 100 * time.Millisecond
	newLine = 5 * time.Second
	// aroundBar is the width of " 100% |" and "| (999.9 MiB/10.0 GiB, 99.9 MiB/s)
	// [10m10s] ".
	aroundBar = 52
)

// progress shows the progress on stderr: on one changing line of a terminal,
// otherwise on separate lines.
type progress struct {
	screen *screen

	mu   sync.Mutex
	bar  *progressbar.ProgressBar
	last time.Time
}

func (a *app) newProgress() *progress { return &progress{screen: a.err} }

// say shows the beginning of a step of unknown length.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	if !p.screen.terminal {
		_, _ = fmt.Fprintln(p.screen, text)
		return
	}
	p.bar = progressbar.NewOptions64(-1, p.options(text, progressbar.OptionSpinnerType(14))...)
	_ = p.bar.RenderBlank()
}

// away reports that the server is away, or with nil that it is back.
func (p *progress) away(err error) {
	if err == nil {
		p.keep("The server is back.")
		return
	}
	p.keep("Server away, retrying: " + clean(err.Error()))
}

// keep prints a line that stays.
func (p *progress) keep(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		_, _ = fmt.Fprintln(p.screen, text)
		return
	}
	_ = p.bar.Clear()
	_, _ = fmt.Fprintf(p.screen, "\r\x1b[K%s\n", text)
	_ = p.bar.RenderBlank()
}

// change replaces the text of say, on a terminal only.
func (p *progress) change(text func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil || time.Since(p.last) < redraw {
		return
	}
	p.last = time.Now()
	p.bar.Describe(cut(text(), p.screen.width-4))
}

// upload begins a progress bar for files and bytes, and returns a function that
// advances it.
func (p *progress) upload(files int, bytes int64) func(files int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	begun := time.Now()
	p.last = begun
	var doneFiles int
	var doneBytes int64
	text := func() string { return fmt.Sprintf("Uploading %d/%d files", doneFiles, files) }
	if p.screen.terminal {
		p.bar = progressbar.NewOptions64(max(1, bytes), p.options(text(),
			progressbar.OptionSetWidth(max(6, min(30, p.screen.width-len(text())-len(fmt.Sprint(files))-aroundBar))),
			progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))...)
		_ = p.bar.RenderBlank()
	}
	return func(moreFiles int, moreBytes int64) {
		p.mu.Lock()
		defer p.mu.Unlock()
		doneFiles, doneBytes = doneFiles+moreFiles, doneBytes+moreBytes
		now := time.Now()
		switch {
		case p.bar != nil && (now.Sub(p.last) >= redraw || doneFiles == files):
			p.bar.Describe(text())
			_ = p.bar.Set64(min(doneBytes, max(1, bytes)))
		case p.bar == nil && now.Sub(p.last) >= newLine && doneFiles < files:
			_, _ = fmt.Fprintf(p.screen, "%s, %s of %s%s\n", text(), troy.Size(doneBytes), troy.Size(bytes), pace(doneBytes, bytes, now.Sub(begun)))
		default:
			return
		}
		p.last = now
	}
}

// pace says how fast bytes are sent and how long the rest will take.
func pace(done, all int64, took time.Duration) string {
	if done <= 0 || took <= 0 {
		return ""
	}
	rate := float64(done) / took.Seconds()
	left := time.Duration(float64(all-done) / rate * float64(time.Second))
	return fmt.Sprintf(", %s/s, %s left", troy.Size(int64(rate)), inDays(max(0, left)))
}

// stop erases the changing line.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Finish()
		_ = p.bar.Clear()
		_ = p.bar.Exit()
		p.bar = nil
		_, _ = fmt.Fprint(p.screen, "\r\x1b[K")
	}
}

func (p *progress) options(text string, more ...progressbar.Option) []progressbar.Option {
	return append([]progressbar.Option{
		progressbar.OptionSetWriter(p.screen),
		progressbar.OptionSetDescription(cut(text, p.screen.width-4)),
		progressbar.OptionThrottle(redraw),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	}, more...)
}
