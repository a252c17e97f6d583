// Command troy is Troy's CLI for people and for CI. It uploads releases, rolls
// back, and shows and changes pipelines. It uses package client for every call
// and stores nothing on the machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

func main() {
	collectLate()
	os.Exit(run(os.Args[1:]))
}

// firstCollection is how much memory the program uses before it collects any.
const firstCollection = 64 << 20

// collectLate delays the first collection of memory: most commands end before it
// is worth its time. After that, the collector works as it does by default.
func collectLate() {
	limit := debug.SetMemoryLimit(-1)
	percent := debug.SetGCPercent(-1)
	debug.SetMemoryLimit(min(limit, firstCollection))
	runtime.AddCleanup(new([64]byte), func(struct{}) {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}, struct{}{})
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal stops the program at once.
	context.AfterFunc(ctx, stop)

	a := &app{environ: os.Environ(), env: os.Getenv, in: os.Stdin, out: newScreen(os.Stdout, os.Getenv), err: newScreen(os.Stderr, os.Getenv)}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && a.out.err() != nil {
		err = fmt.Errorf("write the output: %w", a.out.err())
	}
	if err == nil {
		return exitOK
	}
	if !a.started {
		err = inWords(root, err)
	}
	code := a.exitCode(ctx, err)
	a.report(code, err)
	if near := a.suggestPipeline(ctx, err); near != "" {
		_, _ = fmt.Fprintf(a.err, "Did you mean %s?\n", clean(near))
	}
	return code
}
