package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// maxSettings is the maximum size of the program's small files, in bytes.
const maxSettings = 1 << 20

// contexts are the servers that the user has logged in to. They are stored in
// $XDG_CONFIG_HOME/troy/config.json, readable by the user only.
type contexts struct {
	Current  string            `json:"current"`
	Contexts map[string]server `json:"contexts"`
	// Links are the servers to which the user has linked folders with troy link,
	// by the absolute paths of the links' files.
	Links map[string]string `json:"links,omitempty"`
}

// server is a server and the token that the user has for it.
type server struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// contextsFile returns the path of the contexts' file.
func (a *app) contextsFile() (string, error) {
	dir := a.env("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		// The specification says to ignore relative paths
		// (specifications.freedesktop.org/basedir-spec).
		var err error
		if dir, err = os.UserConfigDir(); err != nil {
			return "", troy.Errorf(troy.Invalid, "there is no folder for settings: %w; set XDG_CONFIG_HOME", err)
		}
	}
	return filepath.Join(dir, "troy", "config.json"), nil
}

// contexts reads the file. If there is none, the result is empty.
func (a *app) contexts() (contexts, error) {
	none := contexts{Contexts: map[string]server{}}
	file, err := a.contextsFile()
	if err != nil {
		return none, nil //nolint:nilerr // without a folder nothing is stored
	}
	var all contexts
	info, err := readSmallJSON(file, &all)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		_, _ = fmt.Fprintf(a.err, "Warning: other users can read the tokens in %s; run chmod 600 on it.\n", clean(file))
	}
	if all.Contexts == nil {
		all.Contexts = none.Contexts
	}
	return all, nil
}

// save replaces the file.
func (a *app) save(all contexts) error {
	file, err := a.contextsFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("create the folder for settings: %w", err)
	}
	return writeSmallJSON(file, 0o600, all)
}

// names returns the names of the contexts, sorted.
func (all contexts) names() []string {
	names := make([]string, 0, len(all.Contexts))
	for name := range all.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// trusts reports whether a link may choose its server: the user made it in this
// place, or it names the current context's server. The folder can be someone
// else's repository.
func (all contexts) trusts(l *link) bool {
	return sameServer(all.Contexts[all.Current].URL, l.Server) || sameServer(all.Links[l.place()], l.Server)
}

// of returns the name of the context of a server, or "". The current context
// comes before others.
func (all contexts) of(url string) string {
	if sameServer(all.Contexts[all.Current].URL, url) {
		return all.Current
	}
	for _, name := range all.names() {
		if sameServer(all.Contexts[name].URL, url) {
			return name
		}
	}
	return ""
}

// sameServer reports whether two addresses, which may be invalid, name the same
// server.
func sameServer(a, b string) bool {
	return a != "" && b != "" && address(a) == address(b)
}

// address returns an address in the client's form.
func address(url string) string {
	c, err := client.New(url, "")
	if err != nil {
		return url
	}
	return c.BaseURL
}

// readSmallJSON reads a file with one JSON value. Unknown fields are an error.
func readSmallJSON(file string, v any) (fs.FileInfo, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(text) > maxSettings {
		return nil, troy.Errorf(troy.Invalid, "%s has more than %d bytes", file, maxSettings)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return nil, troy.Errorf(troy.Invalid, "%s is not a valid file of troy: %w; correct or remove it", file, err)
	}
	return info, nil
}

// writeSmallJSON writes a file atomically.
func writeSmallJSON(file string, mode fs.FileMode, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeSmall(file, mode, append(text, '\n'))
}

func writeSmall(file string, mode fs.FileMode, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(f.Name()))
	}
	return nil
}
