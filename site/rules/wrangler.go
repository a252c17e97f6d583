package rules

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// wranglerNames are the names of Cloudflare's configuration file.
var wranglerNames = []string{"wrangler.toml", "wrangler.json", "wrangler.jsonc"}

func isWrangler(name string) bool { return slices.Contains(wranglerNames, name) }

// wranglerAssets are the settings of a wrangler file that say how the site is
// served (developers.cloudflare.com/workers/static-assets/routing).
type wranglerAssets struct {
	Assets struct {
		NotFound any `json:"not_found_handling,omitempty" toml:"not_found_handling,omitempty"`
		HTML     any `json:"html_handling,omitempty" toml:"html_handling,omitempty"`
	} `json:"assets" toml:"assets"`
}

// settings returns the settings with the names of troy.toml. Other values are
// the defaults of both.
func (w wranglerAssets) settings() map[string]any {
	settings := map[string]any{}
	if w.Assets.NotFound == "single-page-application" {
		settings["spa"] = true
	}
	switch w.Assets.HTML {
	case "force-trailing-slash":
		settings["trailing_slash"] = "always"
	case "drop-trailing-slash":
		settings["trailing_slash"] = "never"
	}
	return settings
}

func readWrangler(name string, data []byte) (w wranglerAssets, err error) {
	if path.Ext(name) != ".toml" {
		return w, json.Unmarshal(WithoutComments(data), &w)
	}
	if err = CheckTOML(data); err == nil {
		err = toml.Unmarshal(data, &w)
	}
	return w, err
}

// onlyAssets returns a wrangler file with nothing but the settings that count,
// or "". A file that is not valid has none; a build's log says so.
func onlyAssets(name string, data []byte) string {
	if len(data) > 4*MaxConfig {
		return ""
	}
	w, err := readWrangler(name, data)
	if err != nil || len(w.settings()) == 0 {
		return ""
	}
	encode := json.Marshal
	if path.Ext(name) == ".toml" {
		encode = toml.Marshal
	}
	text, err := encode(w)
	if err != nil || len(text) > MaxConfig {
		return ""
	}
	return string(text)
}

func parseWrangler(f ConfigFile) (d document, err error) {
	w, err := readWrangler(f.Name, []byte(f.Text))
	if err != nil {
		return d, fmt.Errorf("it can't be read: %w", err)
	}
	d.content = map[string]any{"site": w.settings()}
	return d, nil
}
