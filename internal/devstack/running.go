package devstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Running describes a running troyd dev, which other processes find by its data
// folder.
type Running struct {
	PID int `json:"pid"`
	// Settings are the TROY_* settings that a command on the same machine
	// needs: addresses, and the keys of the data folder.
	Settings map[string]string `json:"settings"`
}

// ErrNotRunning means that no troyd dev runs in a data folder.
var ErrNotRunning = errors.New("no troyd dev runs there")

func runningFile(dir string) string { return filepath.Join(dir, "dev.json") }

// Announce writes Dir/dev.json, readable only by its owner, and locks it while
// this process lives; the file of a killed process is not locked. withdraw
// removes the file.
func (r Running) Announce(dir string) (withdraw func() error, err error) {
	fail := func(err error) (func() error, error) {
		return nil, fmt.Errorf("announce troyd dev in its data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fail(err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(runningFile(dir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fail(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fail(errors.Join(fmt.Errorf("%s is locked by another troyd dev: %w", f.Name(), err), f.Close()))
	}
	err = errors.Join(f.Chmod(0o600), f.Truncate(0))
	if err == nil {
		_, err = f.WriteAt(append(text, '\n'), 0)
	}
	if err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	return func() error { return errors.Join(os.Remove(f.Name()), f.Close()) }, nil
}

// FindRunning returns the troyd dev that runs in a data folder, or
// ErrNotRunning.
func FindRunning(dir string) (Running, error) {
	var r Running
	f, err := os.Open(runningFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return r, ErrNotRunning
	}
	if err != nil {
		return r, fmt.Errorf("find the troyd dev of a data folder: %w", err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return r, ErrNotRunning // closing f releases the lock
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return r, fmt.Errorf("test the lock of %s: %w", f.Name(), err)
	}
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return r, fmt.Errorf("read %s, which a troyd dev is writing: %w", f.Name(), err)
	}
	return r, nil
}
