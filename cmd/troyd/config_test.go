package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
)

// computed are the defaults that depend on other settings, as worded in
// docs/config.md. TestDefaults compares them with the values.
var computed = map[string]string{
	"TROY_URL":       "`http://` and `TROY_ADDR`",
	"TROY_SITES_URL": "`http://{host}` and the port of `TROY_EDGE_ADDR`; on AWS `https://{host}`",

	"TROY_PROPAGATION_DELAY": "`2s`, on AWS `20s`",
}

// withOIDC lets people sign in with an issuer.
func withOIDC(c *config) {
	c.OIDCIssuer, c.OIDCClientID, c.OIDCClientSecret, c.OIDCRoles = "https://id.example.com", "troy", "hunter2", []string{"platform=admin"}
}

// TestConfigPages compares the tables of docs/config.md and of the forges'
// pages with the settings: each once, with its default.
func TestConfigPages(t *testing.T) {
	t.Parallel()
	file := "docs/config.md"
	text := readPage(t, file)
	for _, p := range troy.Providers() {
		text += readPage(t, "docs/"+string(p)+".md")
		file += " and docs/" + string(p) + ".md"
	}
	got := map[string]string{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 5 || !strings.HasPrefix(cells[1], " `TROY_") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if _, twice := got[name]; twice {
			t.Errorf("%s lists %s twice", file, name)
		}
		if len(strings.TrimSpace(cells[3])) < 10 {
			t.Errorf("%s does not describe %s", file, name)
		}
		got[name] = strings.TrimSpace(cells[2])
	}
	want := map[string]string{}
	for _, field := range settingsOf(reflect.TypeFor[config]()) {
		name := field.Tag.Get("env")
		switch value, has := field.Tag.Lookup("envDefault"); {
		case name == "":
			t.Errorf("the setting %s has no variable", field.Name)
		case has:
			want[name] = "`" + value + "`"
		case computed[name] != "":
			want[name] = computed[name]
		default:
			want[name] = "–"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the settings (-) against the table of %s (+):\n%s", file, diff)
	}
}

func readPage(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// defaults are the settings of an empty environment.
func defaults(t *testing.T) config {
	t.Helper()
	var c config
	if err := env.ParseWithOptions(&c, env.Options{Environment: map[string]string{}}); err != nil {
		t.Fatal(err)
	}
	c.URL, c.SitesURL = "http://127.0.0.1:8080", "http://{host}:8081"
	c.PropagationDelay = 2 * time.Second
	return c
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if err := defaults(t).check(); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	for _, c := range []struct {
		setting string
		set     func(*config)
		says    string
	}{
		{"TROY_ADDR", func(c *config) { c.Addr = "8080" }, `"8080" is not host:port`},
		{"TROY_ADDR", func(c *config) { c.Addr = "" }, "is not host:port"},
		{"TROY_ADDR", func(c *config) { c.Addr = "127.0.0.1:http" }, "has no port"},
		{"TROY_ADDR", func(c *config) { c.Addr = "127.0.0.1:65536" }, "has no port"},
		{"TROY_ADDR", func(c *config) { c.Addr = "127.0.0.1:-1" }, "has no port"},
		{"TROY_EDGE_ADDR", func(c *config) { c.EdgeAddr = "::1" }, "is not host:port"},
		{"TROY_EDGE_PROXIES", func(c *config) { c.EdgeProxies = []string{"10.0.0.1/8"} }, `"10.0.0.1/8" has bits set after its prefix; expected 10.0.0.0/8`},
		{"TROY_EDGE_PROXIES", func(c *config) { c.EdgeProxies = []string{"::1", "0.0.0.0/0"} }, `"0.0.0.0/0" contains every address`},
		{"TROY_EDGE_PROXIES", func(c *config) { c.EdgeProxies = []string{"proxy.test"} }, `"proxy.test" is not an address or a network`},
		{"TROY_EDGE_CONNECTIONS", func(c *config) { c.EdgeConns = 1 }, "1 is not from 16 to 1000000"},
		{"TROY_EDGE_CONNECTIONS_PER_IP", func(c *config) { c.EdgePerIP = -1 }, "-1 is not from 0"},
		{"TROY_EDGE_EARLY_HINTS", func(c *config) { c.EdgeHints = "http3" }, "neither http2 nor all nor off"},
		{"TROY_EDGE_ACCESS_LOG", func(c *config) { c.AccessLog = "access.log" }, "neither stdout nor an absolute path"},
		{"TROY_EDGE_ACCESS_LOG_FORMAT", func(c *config) { c.AccessLogFormat = "clf" }, "neither json nor combined"},
		{"TROY_EDGE_ACCESS_LOG_ADDRESSES", func(c *config) { c.AccessLogAddresses = "no" }, "neither anonymous nor full"},
		{"TROY_HEALTH_ADDR", func(c *config) { c.HealthAddr = "localhost" }, "is not host:port"},
		{"TROY_EDGE_TLS_ADDR", func(c *config) { c.TLS.EdgeAddr = "443" }, "is not host:port"},
		{"TROY_TLS_ADDR", func(c *config) { c.TLS.WebAddr, c.URL = "[::]:https", "https://troy.test" }, "has no port"},
		{"TROY_TLS_ADDR", func(c *config) { c.TLS.WebAddr, c.URL = ":443", "https://192.0.2.1" }, "has no name"},
		{"TROY_EDGE_HSTS", func(c *config) { c.TLS.EdgeHSTS = -time.Second }, "from 0 to 17520h"},
		{"TROY_EDGE_HSTS", func(c *config) { c.TLS.EdgeHSTS = time.Millisecond }, "whole seconds"},
		{"TROY_ACME_DIRECTORY", func(c *config) { c.TLS.ACMEDirectory = "http://ca.test/dir" }, "is not an https address"},
		{"TROY_ACME_EMAIL", func(c *config) { c.TLS.ACMEEmail = "ops" }, "is not an e-mail address"},
		{"TROY_ACME_CA_FILE", func(c *config) { c.TLS.ACMECAFile = "config_test.go" }, "no certificate in PEM form"},
		{"TROY_ACME_CA_FILE", func(c *config) { c.TLS.ACMECAFile = "missing.pem" }, "no such file"},
		{"TROY_ACME_DNS", func(c *config) { c.TLS.ACMEDNS = "bind" }, "neither route53 nor rfc2136"},
		{"TROY_ACME_DNS", func(c *config) { c.TLS.ACMEDNS = "rfc2136" }, "is not host:port"},
		{"TROY_ACME_DNS", func(c *config) {
			c.TLS.ACMEDNS, c.TLS.ACMEDNSServer, c.TLS.ACMEDNSKey = "rfc2136", "ns.test:53", "hunter2"
		}, "[algorithm:]name:secret"},
		{"TROY_ACME_DNS", func(c *config) { c.TLS.ACMEDNSServer = "ns.test:53" }, "expected route53 or rfc2136"},
		{"TROY_BUILD_TOOLS", func(c *config) { c.BuildTools = "no" }, `"no" is neither install nor machine`},
		{"TROY_BUILD_TOOLS_REGISTRY", func(c *config) { c.ToolsRegistry = "registry.lan" }, "not an http or https address"},
		{"TROY_BUILD_MEMORY_MIB", func(c *config) { c.BuildMemory = 255 }, "255 is not from 256 to 1048576"},
		{"TROY_BUILD_PROCESSES", func(c *config) { c.BuildProcs = 63 }, "63 is not from 64 to 1048576"},
		{"TROY_BUILD_CACHES_MIB", func(c *config) { c.BuildCaches = 0 }, "0 is not from 64 to 1073741824"},
		{"TROY_BUILD_CPUS", func(c *config) { c.BuildCPUs = -1 }, "-1 is not from 0 to 1024"},
		{"TROY_BUILD_TOOLS_MIB", func(c *config) { c.ToolsMiB = 1 }, "1 is not from 256 to 1048576"},
		{"TROY_SITES_SUFFIX", func(c *config) { c.SitesSuffix = "Sites.test" }, "lower-case host name"},
		{"TROY_SITES_SUFFIX", func(c *config) { c.SitesSuffix = "" }, "lower-case host name"},
		{"TROY_SITES_SUFFIX", func(c *config) { c.SitesSuffix = "a b" }, "lower-case host name"},
		{"TROY_PREVIEW_SUFFIX", func(c *config) { c.PreviewSuffix = "Previews.test" }, "lower-case host name"},
		{"TROY_URL", func(c *config) { c.PreviewSuffix, c.URL = "previews.test", "https://troy.previews.test" }, "a preview could take it over"},
		{"TROY_PREVIEW_ACCESS", func(c *config) { c.PreviewAccess = "password" }, "neither public nor signed-in"},
		{"TROY_PREVIEW_MAX", func(c *config) { c.PreviewMax = 0 }, "from 1 to 1000"},
		{"TROY_PREVIEW_EXPIRY", func(c *config) { c.PreviewExpiry = time.Second }, "from 1m"},
		{"TROY_URL", func(c *config) { c.URL = "troy.test" }, "is not an http or https address"},
		{"TROY_URL", func(c *config) { c.URL = "ftp://troy.test" }, "is not an http or https address"},
		{"TROY_URL", func(c *config) { c.URL = "http://%zz" }, "is not an http or https address"},
		{"TROY_URL", func(c *config) { c.URL = "http://:8080" }, "is not an http or https address"},
		{"TROY_URL", func(c *config) { c.URL = "https://troy.test/v1" }, "more than a scheme, a host and a port"},
		{"TROY_URL", func(c *config) { c.URL = "https://troy:hunter2@troy.test" }, "more than a scheme, a host and a port"},
		{"TROY_URL", func(c *config) { c.SitesSuffix, c.URL = "sites.test", "https://troy.sites.test." }, "a site could take it over"},
		{"TROY_URL", func(c *config) { c.SitesSuffix, c.URL = "sites.test", "https://Troy.SITES.test" }, "a site could take it over"},
		{"TROY_URL", func(c *config) { c.SitesSuffix, c.URL = "sites.test", "https://SITES.test.:443" }, "a site could take it over"},
		{"TROY_URL", func(c *config) { c.SitesSuffix, c.URL = "sites.test", "https://sites.test" }, "a site could take it over"},
		{"TROY_URL", func(c *config) { c.SitesSuffix, c.URL = "sites.test", "https://troy.sites.test:8443" }, "a site could take it over"},
		{"TROY_SITES_URL", func(c *config) { c.SitesURL = "https://sites.test" }, "with {host} in it"},
		{"TROY_SITES_URL", func(c *config) { c.SitesURL = "{host}" }, "http or https"},
		{"TROY_APPS_SECRET", func(c *config) { c.AppsSecret = "hunter2" }, "has 7 characters; expected at least 16"},
		{"TROY_WORKERS", func(c *config) { c.Workers = 0 }, "0 is not from 1 to 1000"},
		{"TROY_WORKERS", func(c *config) { c.Workers = 1001 }, "from 1 to 1000"},
		{"TROY_KEEP_DEPLOYMENTS", func(c *config) { c.KeepDeployments = 9 }, "from 10"},
		{"TROY_MAX_FILES", func(c *config) { c.MaxFiles = 1_000_001 }, "from 1 to 1000000"},
		{"TROY_MAX_FILE_BYTES", func(c *config) { c.MaxFileBytes = -1 }, "from 1"},
		{"TROY_MAX_TOTAL_BYTES", func(c *config) { c.MaxTotalBytes = 0 }, "from 1"},
		{"TROY_QUOTA_BYTES", func(c *config) { c.QuotaBytes = -1 }, "from 0"},
		{"TROY_QUOTA_FILES", func(c *config) { c.QuotaFiles = -1 }, "from 0"},
		{"TROY_QUOTA_OPEN_RELEASES", func(c *config) { c.QuotaReleases = 10_001 }, "from 0 to 10000"},
		{"TROY_LEASE", func(c *config) { c.Lease = 3 * time.Second }, "3s is not from 4s to 10m"},
		{"TROY_PROPAGATION_DELAY", func(c *config) { c.PropagationDelay = -1 }, "from 0s"},
		{"TROY_CARRY_ASSETS", func(c *config) { c.CarryAssets = -time.Hour }, "from 0s to 8760h"},
		{"TROY_UPLOADS_VALID", func(c *config) { c.UploadsValid = time.Second }, "1s is not from 1m to 720h"},
		{"TROY_OIDC_ROLES", func(c *config) { withOIDC(c); c.OIDCRoles = []string{"platform=root"} }, `"root"; expected one of [viewer deployer admin]`},
		{"TROY_OIDC_ROLES", func(c *config) { withOIDC(c); c.OIDCRoles = nil }, "expected groups and their roles"},
		{"TROY_OIDC_CLIENT_SECRET", func(c *config) { withOIDC(c); c.OIDCClientSecret = "" }, "not set, but TROY_OIDC_ISSUER is"},
		{"TROY_OIDC_CLIENT_ID", func(c *config) { withOIDC(c); c.OIDCClientID = "" }, "not set, but TROY_OIDC_ISSUER is"},
		{"TROY_OIDC_GROUPS_CLAIM", func(c *config) { withOIDC(c); c.OIDCGroupsClaim = "" }, "expected the name of a claim"},
		{"TROY_OIDC_ISSUER", func(c *config) { withOIDC(c); c.OIDCIssuer = "http://id.example.com" }, "expected one like https://id.example.com"},
		{"TROY_OIDC_ISSUER", func(c *config) { withOIDC(c); c.OIDCIssuer = "https://troy:hunter2@id.example.com" }, "expected one like https://id.example.com"},
		{"TROY_CI_ISSUERS", func(c *config) { c.CIIssuers = []string{"https://gitlab.example.com"} }, "does not begin with github=, gitlab= or bitbucket="},
		{"TROY_CI_ISSUERS", func(c *config) { c.CIIssuers = []string{"gitlab=http://gitlab.example.com"} }, "expected one like https://id.example.com"},
		{"TROY_OIDC_CLIENT_SECRET", func(c *config) { c.OIDCClientSecret = "hunter2" }, "TROY_OIDC_ISSUER is not; expected both or neither"},
	} {
		cfg := defaults(t)
		c.set(&cfg)
		err := cfg.check()
		if err == nil || !strings.HasPrefix(err.Error(), c.setting+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want it named, and %q", c.setting, err, c.says)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: one invalid setting, reported as %q", c.setting, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error reveals the secret: %v", c.setting, err)
		}
	}

	// All faults are reported at once.
	cfg := defaults(t)
	cfg.Addr, cfg.Workers, cfg.Lease = "nowhere", -1, 0
	err := cfg.check()
	for _, setting := range []string{"TROY_ADDR", "TROY_WORKERS", "TROY_LEASE"} {
		if err == nil || !strings.Contains(err.Error(), setting+": ") {
			t.Errorf("three settings are invalid; %s is missing in %v", setting, err)
		}
	}
	for name, set := range map[string]func(*config){
		"a host beside the suffix":  func(c *config) { c.SitesSuffix, c.URL = "sites.test", "https://mysites.test" },
		"an address below *":        func(c *config) { c.URL = "http://troy.localhost:8080" },
		"any port":                  func(c *config) { c.Addr, c.EdgeAddr = "127.0.0.1:0", "[::]:0" },
		"a secret that is long":     func(c *config) { c.AppsSecret = strings.Repeat("x", 16) },
		"sites behind a proxy":      func(c *config) { c.SitesURL = "https://{host}" },
		"health on another address": func(c *config) { c.HealthAddr = ":8082" },
		"an issuer":                 withOIDC,
		"an issuer of CI":           func(c *config) { c.CIIssuers = []string{"gitlab=https://gitlab.example.com"} },
		"an issuer on loopback":     func(c *config) { withOIDC(c); c.OIDCIssuer = "http://127.0.0.1:5556/dex" },
	} {
		cfg := defaults(t)
		set(&cfg)
		if err := cfg.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// environment sets exactly these settings for the test.
func environment(t *testing.T, settings map[string]string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "TROY_") {
			t.Setenv(name, value) // puts it back afterwards
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		t.Setenv(name, settings[name])
	}
}

// The settings come from the environment, so these tests do not run in
// parallel.

func TestDefaults(t *testing.T) {
	environment(t, map[string]string{"TROY_ADDR": "127.0.0.1:9090", "TROY_EDGE_ADDR": "127.0.0.1:9191"})
	c, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != "http://127.0.0.1:9090" || c.SitesURL != "http://{host}:9191" {
		t.Errorf("TROY_URL is %q and TROY_SITES_URL %q", c.URL, c.SitesURL)
	}
	if c.LogLevel != slog.LevelInfo || !c.AutoProvision {
		t.Errorf("the log level is %s, auto-provision %t", c.LogLevel, c.AutoProvision)
	}
	environment(t, map[string]string{"TROY_EDGE_ADDR": "0.0.0.0:80", "TROY_LOG_LEVEL": "debug", "TROY_AUTO_PROVISION": "false"})
	if c, err = loadConfig(); err != nil || c.SitesURL != "http://{host}" || c.LogLevel != slog.LevelDebug || c.AutoProvision {
		t.Errorf("with other settings: %+v, %v", c, err)
	}
}

func TestParseErrorsNameTheVariable(t *testing.T) {
	wrong := map[string]string{
		"TROY_AUTO_PROVISION": "perhaps", "TROY_WORKERS": "many", "TROY_LEASE": "8", "TROY_KEEP_DEPLOYMENTS": "1.5",
		"TROY_MAX_FILE_BYTES": "1GB", "TROY_LOG_LEVEL": "loud",
	}
	says := map[string]string{
		"TROY_AUTO_PROVISION": `"perhaps" is neither true nor false`, "TROY_WORKERS": `"many" is not a whole number`,
		"TROY_LEASE": `"8" is not a duration like 90s, 10m or 168h`, "TROY_KEEP_DEPLOYMENTS": `"1.5" is not a whole number`,
		"TROY_MAX_FILE_BYTES": `"1GB" is not a whole number`, "TROY_LOG_LEVEL": "expected debug, info, warn or error",
		"TROY_MAX_FILES": "9999999999999999999 is too large a number",
		// Readable settings are checked at the same time.
		"TROY_ADDR": `"nowhere" is not host:port`, "TROY_BUILD_SLOTS": "0 is not from 1 to 100",
	}
	wrong["TROY_MAX_FILES"], wrong["TROY_ADDR"], wrong["TROY_BUILD_SLOTS"] = "9999999999999999999", "nowhere", "0"
	settings := maps.Clone(wrong)
	settings["TROY_APPS_SECRET"] = "correct-horse-battery"
	settings["TROY_DATABASE_URL"] = "postgres://troy:hunter2@127.0.0.1/troy"
	environment(t, settings)
	_, err := loadConfig()
	if err == nil {
		t.Fatal("nothing was refused")
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if !strings.Contains("\n"+err.Error()+"\n", "\n"+name+": "+says[name]+"\n") {
			t.Errorf("%s: %s is missing in:\n%v", name, says[name], err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(wrong) {
		t.Errorf("%d settings are invalid, and %d lines reported:\n%v", len(wrong), lines, err)
	}
	for _, secret := range []string{"correct-horse", "hunter2"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error reveals a secret: %v", err)
		}
	}
}

func TestUnknownSettingsAreNamed(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	warnUnknown(&said, []string{
		"TROY_WORKRES=4", "TROY_DATABSE_URL=postgres://troy:hunter2@db/troy", "TROY_COLOUR=red", "PATH=/bin",
		"TROY_WORKERS=10", "TROY_TOKEN=troy_x", "TROY_TEST_ANYTHING=1", "TROYD=1",
	})
	want := `troyd: TROY_COLOUR is not a setting and is ignored; did you mean TROY_CLOUD?
troyd: TROY_DATABSE_URL is not a setting and is ignored; did you mean TROY_DATABASE_URL?
troyd: TROY_WORKRES is not a setting and is ignored; did you mean TROY_WORKERS?
`
	if diff := cmp.Diff(want, said.String()); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	said.Reset()
	warnUnknown(&said, []string{"TROY_X=1"})
	if want := "troyd: TROY_X is not a setting and is ignored; docs/config.md lists the settings\n"; said.String() != want {
		t.Errorf("a name unlike any setting: %q", said.String())
	}
}

func TestConnectionErrorsKeepPasswords(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"TROY_DATABASE_URL": "postgres://troy:hunter2@127.0.0.1:1/troy", "TROY_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0",
	}
	for _, c := range []struct{ setting, url string }{
		{"TROY_DATABASE_URL", "postgres://troy:hunter2@127.0.0.1:port/troy"},
		{"TROY_DATABASE_URL", "postgres://troy:hunter2%zz@127.0.0.1/troy"},
		{"TROY_DATABASE_URL", "postgres://troy:hunter2@127.0.0.1/troy?sslmode=perhaps"},
		{"TROY_DATABASE_URL", "host=127.0.0.1 password=hunter2 port=none"},
		{"TROY_DATABASE_URL", "hunter2"},
		{"TROY_REDIS_URL", "redis://:hunter2@127.0.0.1:port/0"},
		{"TROY_REDIS_URL", "redis://:hunter2%zz@127.0.0.1/0"},
		{"TROY_REDIS_URL", "redis://:hunter2@127.0.0.1/0\r"},
		{"TROY_REDIS_URL", "redis://:hunter2@127.0.0.1/zero"},
		{"TROY_REDIS_URL", "http://:hunter2@127.0.0.1/0"},
		{"TROY_REDIS_URL", "redis-cluster://:hunter2@127.0.0.1"},
	} {
		cfg := defaults(t)
		cfg.DatabaseURL, cfg.RedisURL = good["TROY_DATABASE_URL"], good["TROY_REDIS_URL"]
		if c.setting == "TROY_DATABASE_URL" {
			cfg.DatabaseURL = c.url
		} else {
			cfg.RedisURL = c.url
		}
		_, err := connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err == nil || exitStatus(err) != 2 || !strings.Contains(err.Error(), c.setting) {
			t.Errorf("%s=%q: %v; want it named, with exit status 2", c.setting, c.url, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s=%q: the error reveals the password: %v", c.setting, c.url, err)
		}
	}
}
