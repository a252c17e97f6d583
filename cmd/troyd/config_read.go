package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/troy-iaas/troy/internal/devstack"
)

// loadConfig reads and checks the environment. Its error names every invalid
// setting.
func loadConfig() (config, error) { return readConfig(env.ToMap(os.Environ())) }

// commandConfig is loadConfig for commands other than the servers. If the
// environment names neither Postgres nor Redis, they use the troyd dev that
// runs on TROY_DATA_DIR.
func commandConfig() (config, error) {
	settings, dir, found := withDev(env.ToMap(os.Environ()))
	c, err := readConfig(settings)
	if err != nil {
		return c, usageError{err}
	}
	if err := c.needConnections(); err != nil {
		return c, usageError{errors.Join(err, hintDev(dir, found))}
	}
	return c, nil
}

// withDev adds the settings of the troyd dev that runs on the data folder,
// except for those that are set. It adds nothing if the settings name another
// Postgres or Redis. err says why it found none.
func withDev(settings map[string]string) (merged map[string]string, dir string, err error) {
	dir = cmp.Or(settings["TROY_DATA_DIR"], ".troy")
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	dev, err := devstack.FindRunning(dir)
	if err != nil {
		return settings, dir, err
	}
	for _, name := range []string{"TROY_DATABASE_URL", "TROY_REDIS_URL"} {
		if settings[name] != "" && settings[name] != dev.Settings[name] {
			return settings, dir, nil
		}
	}
	for name, value := range dev.Settings {
		if settings[name] == "" {
			settings[name] = value
		}
	}
	return settings, dir, nil
}

// hintDev says where it searched for a troyd dev.
func hintDev(dir string, found error) error {
	switch {
	case found == nil:
		return nil // not needed: the environment names other servers
	case errors.Is(found, devstack.ErrNotRunning):
		return fmt.Errorf("no troyd dev runs on the data folder %s either: start it, or set TROY_DATA_DIR to the folder of the one that runs", dir)
	}
	return fmt.Errorf("the troyd dev on the data folder %s can't be used: %w", dir, found)
}

// announce lets commands find this troyd dev. The keys of the data folder are
// among the settings that they need.
func (c config) announce() (withdraw func() error, err error) {
	return devstack.Running{PID: os.Getpid(), Settings: map[string]string{
		"TROY_DATABASE_URL": c.DatabaseURL, "TROY_REDIS_URL": c.RedisURL, "TROY_ADDR": c.Addr, "TROY_EDGE_ADDR": c.EdgeAddr,
		"TROY_URL": c.URL, "TROY_SITES_SUFFIX": c.SitesSuffix, "TROY_SITES_URL": c.SitesURL, "TROY_PREVIEW_SUFFIX": c.previewSuffix(),
		"TROY_APPS_SECRET": c.AppsSecret, "TROY_SECRET_KEY": c.SecretKey,
	}}.Announce(c.DataDir)
}

func readConfig(settings map[string]string) (config, error) {
	var c config
	failed := faults(env.ParseWithOptions(&c, env.Options{Environment: settings, FuncMap: parsers()}))
	if c.URL == "" {
		c.URL = "http://" + c.Addr
	}
	c.URL = strings.TrimRight(c.URL, "/")
	if c.SitesURL == "" {
		c.SitesURL = c.sitesURL()
		if c.onAWS() {
			c.SitesURL = "https://{host}"
		}
	}
	if _, set := settings["TROY_PROPAGATION_DELAY"]; !set {
		c.PropagationDelay = 2 * time.Second
		if c.onAWS() {
			c.PropagationDelay = 20 * time.Second
		}
	}
	// A setting that could not be read has no value to check.
	for _, f := range c.faults() {
		if !slices.ContainsFunc(failed, func(known fault) bool { return known.setting == f.setting }) {
			failed = append(failed, f)
		}
	}
	return c, join(failed)
}

// fault is an error in a setting.
type fault struct{ setting, said string }

// join makes one error of faults, in the order of their settings.
func join(all []fault) error {
	slices.SortStableFunc(all, func(a, b fault) int { return strings.Compare(a.setting, b.setting) })
	var errs []error
	for _, f := range all {
		errs = append(errs, errors.New(f.setting+": "+f.said))
	}
	return errors.Join(errs...)
}

// faults lists unreadable settings by variable.
func faults(err error) []fault {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return nil
	}
	var out []fault
	for _, e := range all.Errors {
		var p env.ParseError
		if errors.As(e, &p) {
			// All nested settings are texts, which are always readable.
			field, _ := reflect.TypeFor[config]().FieldByName(p.Name)
			said := p.Err.Error()
			if field.Type == reflect.TypeFor[slog.Level]() { // it parses itself, with its own errors
				said = "expected debug, info, warn or error"
			}
			out = append(out, fault{field.Tag.Get("env"), said})
			continue
		}
		out = append(out, fault{"environment", e.Error()})
	}
	return out
}

// parsers read the settings that are not text. Their errors say what was
// expected.
func parsers() map[reflect.Type]env.ParserFunc {
	return map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[int](): func(v string) (any, error) {
			n, err := wholeNumber(v)
			return int(n), err
		},
		reflect.TypeFor[int64](): func(v string) (any, error) { return wholeNumber(v) },
		reflect.TypeFor[bool](): func(v string) (any, error) {
			switch strings.ToLower(v) {
			case "true", "1":
				return true, nil
			case "false", "0":
				return false, nil
			}
			return nil, fmt.Errorf("%q is neither true nor false", v)
		},
		reflect.TypeFor[time.Duration](): func(v string) (any, error) {
			d, err := time.ParseDuration(v)
			if err != nil {
				return nil, fmt.Errorf("%q is not a duration like 90s, 10m or 168h", v)
			}
			return d, nil
		},
	}
}

func wholeNumber(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is too large a number", v)
	case err != nil:
		return 0, fmt.Errorf("%q is not a whole number", v)
	}
	return n, nil
}

// foreign lists variables named TROY_… that belong to other programs: the
// command line and docker-compose.yml.
func foreign() []string {
	return []string{
		"TROY_TOKEN",
		"TROY_DATABASE_PASSWORD", "TROY_SITES_SCHEME", "TROY_SITES_PORT",
	}
}

// warnUnknown warns of each unknown variable TROY_… in the environment, and
// suggests the most similar setting.
func warnUnknown(w io.Writer, environment []string) {
	var known []string
	for _, field := range settingsOf(reflect.TypeFor[config]()) {
		known = append(known, field.Tag.Get("env"))
	}
	for _, pair := range slices.Sorted(slices.Values(environment)) {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "TROY_") || strings.HasPrefix(name, "TROY_TEST_") || slices.Contains(known, name) || slices.Contains(foreign(), name) {
			continue
		}
		hint := "docs/config.md lists the settings"
		if n := nearest(name, known); n != "" {
			hint = "did you mean " + n + "?"
		}
		// Standard error is the only output at this point.
		_, _ = fmt.Fprintf(w, "troyd: %s is not a setting and is ignored; %s\n", name, hint)
	}
}

// settingsOf returns the settings among the fields of a struct and its nested
// structs.
func settingsOf(t reflect.Type) (out []reflect.StructField) {
	for field := range t.Fields() {
		if field.Type.Kind() == reflect.Struct {
			out = append(out, settingsOf(field.Type)...)
			continue
		}
		out = append(out, field)
	}
	return out
}

// nearest returns the word with the fewest edits from name, if they are few
// enough for a typing error.
func nearest(name string, words []string) string {
	best, least := "", max(2, len(name)/4)+1
	for _, w := range words {
		if d := distance(name, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance returns the optimal string alignment distance of two words: the
// number of letters to add, remove, replace or swap with their neighbour.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
