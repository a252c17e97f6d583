//go:build faults

package faulty

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// calls are the names that a script may use.
var calls = []string{
	"store.begin", "store.put", "store.putall", "store.sign", "store.seal", "store.manifest", "store.remove", "store.removeall",
	"cdn.create", "cdn.find", "cdn.get", "cdn.disable", "cdn.delete", "cdn.flip",
	"dns.lookup", "dns.upsert", "dns.delete",
	"domains.target", "domains.attach", "domains.host", "domains.detach",
}

// action is the effect of a fault on a call.
type action string

const (
	before    action = "before"    // it fails without effect
	after     action = "after"     // it takes effect and fails
	hang      action = "hang"      // it waits, without effect, until its context ends or the line is removed
	kill      action = "kill"      // the process ends, without effect
	killAfter action = "killafter" // the process ends, after the effect
)

// fault is one line of a script:
//
//	<port.method> <before|after|hang|kill|killafter> [times=N] [kind=retry|permanent] [match=<part of the argument>]
//
// match comes last and takes the rest of the line. Empty lines and lines that
// begin with # are ignored.
type fault struct {
	line      string
	number    int
	call      string
	action    action
	times     int // 0: no limit
	permanent bool
	match     string
}

// parse reads a script; an error names the line.
func parse(script string) ([]fault, error) {
	var faults []fault
	number := 0
	for line := range strings.Lines(script) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", number, line, err)
		}
		f.number = number
		faults = append(faults, f)
	}
	return faults, nil
}

func parseLine(line string) (fault, error) {
	f := fault{line: line}
	rest, match, found := strings.Cut(line, " match=")
	if f.match = match; found && match == "" {
		return f, errors.New("match= is empty")
	}
	words := strings.Fields(rest)
	if len(words) < 2 {
		return f, errors.New("expected a call and an action")
	}
	f.call, f.action = words[0], action(words[1])
	if !slices.Contains(calls, f.call) {
		return f, fmt.Errorf("%q is not a call; expected one of %s", f.call, strings.Join(calls, ", "))
	}
	if !slices.Contains([]action{before, after, hang, kill, killAfter}, f.action) {
		return f, fmt.Errorf("%q is not an action; expected before, after, hang, kill or killafter", f.action)
	}
	for _, word := range words[2:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "times":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return f, fmt.Errorf("times=%s: expected a number above 0", value)
			}
			f.times = n
		case "kind":
			if value != "retry" && value != "permanent" {
				return f, fmt.Errorf("kind=%s: expected retry or permanent", value)
			}
			f.permanent = value == "permanent"
		default:
			return f, fmt.Errorf("%q is not an option; expected times=, kind= or match=", word)
		}
	}
	return f, nil
}

// script is the file of faults; its counters and its log are in FILE.count and
// FILE.log beside it. All processes that use the file share them.
type script struct{ file string }

func (s script) read() (content string, faults []fault, err error) {
	data, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("faults: %w", err)
	}
	faults, err = parse(string(data))
	if err != nil {
		return "", nil, fmt.Errorf("faults: %s: %w", s.file, err)
	}
	return string(data), faults, nil
}

// counters is the content of FILE.count: how often each line took effect, and
// the script to which the counts apply.
type counters struct {
	Script [32]byte
	Uses   map[int]int
}

// next returns the fault for a call and counts it.
func (s script) next(call, argument string) (*fault, error) {
	content, faults, err := s.read()
	if err != nil {
		return nil, err
	}
	for _, f := range faults {
		if f.call != call || !strings.Contains(argument, f.match) {
			continue
		}
		if f.times == 0 {
			return &f, nil
		}
		taken, err := s.take(content, f)
		if err != nil {
			return nil, fmt.Errorf("faults: count %s: %w", s.file, err)
		}
		if taken {
			return &f, nil
		}
	}
	return nil, nil
}

// take uses up one of a line's times, if any are left.
func (s script) take(content string, f fault) (bool, error) {
	lock := flock.New(s.file + ".lock")
	if err := lock.Lock(); err != nil {
		return false, err
	}
	defer lock.Close()
	c := counters{}
	data, err := os.ReadFile(s.file + ".count")
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if sum := sha256.Sum256([]byte(content)); c.Script != sum || c.Uses == nil {
		c = counters{Script: sum, Uses: map[int]int{}}
	}
	if c.Uses[f.number] >= f.times {
		return false, nil
	}
	c.Uses[f.number]++
	if data, err = json.Marshal(c); err != nil {
		return false, err
	}
	return true, os.WriteFile(s.file+".count", data, 0o644)
}

// hangPoll is the interval at which a hanging call checks its line.
const hangPoll = 20 * time.Millisecond

// wait blocks until the context ends and returns its error, or until the script
// no longer has the line.
func (s script) wait(ctx context.Context, f *fault) error {
	ticker := time.NewTicker(hangPoll)
	defer ticker.Stop()
	for {
		_, faults, err := s.read()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(faults, func(other fault) bool { return other.line == f.line }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// log appends "<call> <argument> <result>" to FILE.log in one write, so that
// lines of several processes don't mix.
func (s script) log(call, argument, result string) error {
	f, err := os.OpenFile(s.file+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	line := call + " " + argument + " " + strings.ReplaceAll(result, "\n", " ") + "\n"
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}
