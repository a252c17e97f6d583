package builder

import (
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/troy-iaas/troy"
)

// maxQuoted is the maximum length in bytes of a name from a log in an advice.
const maxQuoted = 120

// Advice returns a sentence, without a capital and a full stop, that says what
// is wrong and what helps, if the log of a failed command has the message of a
// known failure; otherwise it returns "". log is plain text, without control
// sequences; code is the command's exit code, or -1 if it was killed.
//
// A failure with the exit code of the command takes precedence; otherwise the
// first one in the table is reported.
func Advice(log string, code int) string {
	all := knownFailures()
	for _, f := range all {
		if f.code == code && f.code != 0 {
			if advice, ok := f.explain(log); ok {
				return advice
			}
		}
	}
	for _, f := range all {
		if f.only {
			continue
		}
		if advice, ok := f.explain(log); ok {
			return advice
		}
	}
	return ""
}

// knownFailure is a failure that has a message of its own.
type knownFailure struct {
	// name identifies it in tests.
	name string
	// has is a part of each of its messages. Most logs lack it, so that most
	// patterns are not tried.
	has string
	// pattern matches the message; empty means has.
	pattern string
	// advice may refer to the pattern's groups: ${1}.
	advice string
	// say makes the advice from the groups instead.
	say func(groups []string) string
	// code is the exit code that this failure has, if it always has the same.
	code int
	// only: the message means nothing without the exit code.
	only bool
	// last reports the last message of the log and not the first.
	last bool

	compiled *regexp.Regexp
}

func (f knownFailure) explain(log string) (string, bool) {
	if !strings.Contains(log, f.has) {
		return "", false
	}
	if f.compiled == nil {
		return f.advice, true
	}
	var groups []string
	if f.last {
		if all := f.compiled.FindAllStringSubmatch(log, -1); len(all) > 0 {
			groups = all[len(all)-1]
		}
	} else {
		groups = f.compiled.FindStringSubmatch(log)
	}
	if groups == nil {
		return "", false
	}
	for i, g := range groups {
		groups[i] = troy.Cut(strings.TrimSpace(g), maxQuoted)
	}
	if f.say != nil {
		return f.say(groups), true
	}
	advice := f.advice
	for i, g := range groups {
		advice = strings.ReplaceAll(advice, "${"+string(rune('0'+i))+"}", g)
	}
	return advice, true
}

// knownFailures compiles the table once.
var knownFailures = sync.OnceValue(func() []knownFailure {
	all := append(append(systemFailures(), packageFailures()...), codeFailures()...)
	for i, f := range all {
		if f.pattern != "" {
			all[i].compiled = regexp.MustCompile("(?m)" + f.pattern)
		}
	}
	return all
})

// systemFailures are those of memory, disk and network.
func systemFailures() []knownFailure {
	const disk = "the disk of the builder is full; write less during the build, or ask the operator for space"
	return []knownFailure{
		{name: "disk full", has: "ENOSPC", advice: disk},
		{name: "disk full", has: "No space left on device", advice: disk},
		{name: "heap", has: "heap out of memory", code: 134, advice: "Node.js reached the limit of its heap; set the variable NODE_OPTIONS to --max-old-space-size=3072, or to another number of MiB below the memory limit of builds"},
		{name: "memory", has: "Cannot allocate memory", advice: noMemory},
		{name: "memory", has: "ENOMEM", advice: noMemory},
		{name: "memory", has: "runtime: out of memory", advice: noMemory},
		{name: "memory", has: "std::bad_alloc", advice: noMemory},
		{name: "memory", has: "\nMemoryError", advice: noMemory},
		{name: "killed", code: 137, only: true, advice: noMemory},
		{name: "killed", code: -1, only: true, advice: noMemory},
	}
}

const noMemory = "the most likely cause is too little memory; build less at a time, or ask the operator for a higher limit"

// reachable returns the advice about an address that could not be reached.
func reachable(groups []string) string {
	host := groups[1]
	for _, own := range []string{"127.", "localhost", "::1", "[::1]", "0.0.0.0"} {
		if strings.HasPrefix(host, own) {
			return "nothing answers at " + host + " during the build, because a build has no servers beside it; use an address on the Internet"
		}
	}
	return "the host " + host + " could not be reached; check its name, and for a private address ask the operator to allow it (TROY_BUILD_ALLOW)"
}

// address formats a URL from a log without what it may hide: a password or a
// token.
func address(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	return u.Host + u.EscapedPath()
}

// packageName returns the package of an imported path: "@team/ui" of
// "@team/ui/button".
func packageName(path string) string {
	parts := strings.SplitN(path, "/", 3)
	if strings.HasPrefix(path, "@") && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// missingProgram returns the advice about a program that a shell did not find.
// The shell of package.json's scripts is sh, the shell of a phase is bash.
func missingProgram(groups []string) string {
	shell, program := groups[1], groups[2]
	missing := "the program " + program + " is missing; "
	switch program {
	case "mkdocs", "sphinx-build", "pelican", "nikola", "lektor":
		return missing + "list its package in requirements.txt"
	case "jekyll", "middleman", "bridgetown":
		return missing + "add its gem to the Gemfile and run it with bundle exec"
	case "hugo", "zola", "mdbook", "python", "python3", "pip", "pip3", "ruby", "gem", "bundle", "go", "cargo", "deno", "make", "git", "php", "composer", "java":
		return missing + "ask the operator to install it on the builder's machine (TROY_BUILD_PATH)"
	}
	if strings.HasSuffix(shell, "bash") || strings.Contains(program, "/") {
		return missing + "check the command, or install the program in the install command"
	}
	return missing + "add its package to package.json (npm install --save-dev) and commit the lockfile"
}
