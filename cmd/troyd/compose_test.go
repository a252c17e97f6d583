package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// compose is the part of docker-compose.yml that these tests read.
type compose struct {
	Services map[string]struct {
		Image       string
		Command     []string
		Environment map[string]string
		Volumes     []string
		Ports       []string
		Networks    []string
		ReadOnly    bool                                  `yaml:"read_only"`
		CapDrop     []string                              `yaml:"cap_drop"`
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Healthcheck struct{ Test []string }
	}
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]struct{}
}

// TestCompose reads docker-compose.yml without Docker, which may not be
// installed.
func TestCompose(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var c compose
	// A key beside `<<` replaces the merged one; this parser reports it as a
	// duplicate.
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	var names []string
	settings := map[string]bool{}
	for field := range reflect.TypeFor[config]().Fields() {
		settings[field.Tag.Get("env")] = true
	}
	for name, s := range c.Services {
		names = append(names, name)
		if len(s.Healthcheck.Test) == 0 && name != "migrate" {
			t.Errorf("%s has no health check", name)
		}
		if !s.ReadOnly || len(s.Networks) == 0 {
			t.Errorf("%s: read-only is %t, its networks are %v", name, s.ReadOnly, s.Networks)
		}
		for setting := range s.Environment {
			if strings.HasPrefix(setting, "TROY_") && !settings[setting] {
				t.Errorf("%s sets %s, which is not a setting", name, setting)
			}
		}
		for _, volume := range s.Volumes {
			if source, _, _ := strings.Cut(volume, ":"); !contains(c.Volumes, source) {
				t.Errorf("%s mounts %s, which is not a named volume", name, volume)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s is published on %s; there is no TLS here", name, port)
			}
		}
		for other, on := range s.DependsOn {
			if _, known := c.Services[other]; !known || on.Condition == "" {
				t.Errorf("%s waits for %s to be %q", name, other, on.Condition)
			}
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"edge", "migrate", "postgres", "redis", "web", "work"}, names); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	for name, command := range map[string][]string{"migrate": {"migrate", "up"}, "web": {"web"}, "work": {"work"}, "edge": {"edge"}} {
		s := c.Services[name]
		if !slices.Equal(s.Command, command) {
			t.Errorf("%s runs %v, want %v", name, s.Command, command)
		}
		if !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s keeps capabilities", name)
		}
		if name != "edge" && (s.Environment["TROY_DATABASE_URL"] == "" || s.Environment["TROY_REDIS_URL"] == "") {
			t.Errorf("%s has no Postgres or no Redis", name)
		}
		if on := s.DependsOn["migrate"].Condition; (name == "web" || name == "work") && on != "service_completed_successfully" {
			t.Errorf("%s starts when migrate is %q", name, on)
		}
	}
	redis := strings.Join(c.Services["redis"].Command, " ")
	for _, flag := range []string{"--appendonly yes", "--maxmemory-policy noeviction"} {
		if !strings.Contains(redis, flag) {
			t.Errorf("Redis runs without %s: %s", flag, redis)
		}
	}
	for name, folder := range map[string]string{"postgres": "postgres:/var/lib/postgresql/data", "redis": "redis:/data", "web": "data:/data", "work": "data:/data", "edge": "data:/data"} {
		if !slices.Contains(c.Services[name].Volumes, folder) {
			t.Errorf("%s has the volumes %v, want %s", name, c.Services[name].Volumes, folder)
		}
	}
	for _, name := range []string{"postgres", "redis"} {
		if s := c.Services[name]; len(s.Ports) != 0 || !slices.Equal(s.Networks, []string{"inside"}) || !c.Networks["inside"].Internal {
			t.Errorf("%s is reached from outside: ports %v, networks %v", name, s.Ports, s.Networks)
		}
	}

	// docs/operations.md explains every variable of the .env file.
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\$\{(TROY_\w+):\?`).FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(string(manual), m[1]+"=") {
			t.Errorf("docs/operations.md has no example of %s, which must be set", m[1])
		}
	}
}

func contains[K comparable, V any](m map[K]V, key K) bool {
	_, found := m[key]
	return found
}
