package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/troy-iaas/troy/site"
)

// config is the environment of every troyd command. docs/config.md lists the
// same settings; a test compares the two.
type config struct {
	DatabaseURL string `env:"TROY_DATABASE_URL"`
	RedisURL    string `env:"TROY_REDIS_URL"`
	DataDir     string `env:"TROY_DATA_DIR" envDefault:".troy"`

	Addr       string `env:"TROY_ADDR" envDefault:"127.0.0.1:8080"`
	EdgeAddr   string `env:"TROY_EDGE_ADDR" envDefault:"127.0.0.1:8081"`
	HealthAddr string `env:"TROY_HEALTH_ADDR"`

	URL         string `env:"TROY_URL"`
	SitesSuffix string `env:"TROY_SITES_SUFFIX" envDefault:"localhost"`
	SitesURL    string `env:"TROY_SITES_URL"`

	AppsSecret    string `env:"TROY_APPS_SECRET"`
	AutoProvision bool   `env:"TROY_AUTO_PROVISION" envDefault:"true"`

	Workers          int           `env:"TROY_WORKERS" envDefault:"10"`
	Lease            time.Duration `env:"TROY_LEASE" envDefault:"6s"`
	PropagationDelay time.Duration `env:"TROY_PROPAGATION_DELAY"`
	KeepDeployments  int           `env:"TROY_KEEP_DEPLOYMENTS" envDefault:"10"`
	CarryAssets      time.Duration `env:"TROY_CARRY_ASSETS" envDefault:"168h"`
	UploadsValid     time.Duration `env:"TROY_UPLOADS_VALID" envDefault:"24h"`

	BuildSlots     int           `env:"TROY_BUILD_SLOTS" envDefault:"2"`
	BuildTime      time.Duration `env:"TROY_BUILD_TIME" envDefault:"30m"`
	BuildIsolation string        `env:"TROY_BUILD_ISOLATION" envDefault:"bubblewrap"`
	CatchUp        time.Duration `env:"TROY_CATCH_UP" envDefault:"5m"`
	SecretKey      string        `env:"TROY_SECRET_KEY"`

	GitHubURL       string `env:"TROY_GITHUB_URL" envDefault:"https://api.github.com"`
	GitHubAppID     string `env:"TROY_GITHUB_APP_ID"`
	GitHubClientID  string `env:"TROY_GITHUB_CLIENT_ID"`
	GitHubKeyFile   string `env:"TROY_GITHUB_KEY_FILE"`
	GitHubSecret    string `env:"TROY_GITHUB_SECRET"`
	BitbucketURL    string `env:"TROY_BITBUCKET_URL" envDefault:"https://api.bitbucket.org"`
	BitbucketToken  string `env:"TROY_BITBUCKET_TOKEN"`
	BitbucketSecret string `env:"TROY_BITBUCKET_SECRET"`

	Cloud           string `env:"TROY_CLOUD" envDefault:"local"`
	AWSRegion       string `env:"TROY_AWS_REGION"`
	AWSProfile      string `env:"TROY_AWS_PROFILE"`
	AWSRole         string `env:"TROY_AWS_ROLE"`
	AWSEndpoint     string `env:"TROY_AWS_ENDPOINT"`
	AWSS3Endpoint   string `env:"TROY_AWS_S3_ENDPOINT"`
	AWSSitesBucket  string `env:"TROY_AWS_SITES_BUCKET"`
	AWSWorkBucket   string `env:"TROY_AWS_WORK_BUCKET"`
	AWSZone         string `env:"TROY_AWS_ZONE"`
	AWSCertificate  string `env:"TROY_AWS_CERTIFICATE"`
	AWSPointerStore string `env:"TROY_AWS_POINTER_STORE"`
	AWSAppsQueue    string `env:"TROY_AWS_APPS_QUEUE"`
	AWSBuildsQueue  string `env:"TROY_AWS_BUILDS_QUEUE"`
	AWSProject      string `env:"TROY_AWS_PROJECT"`

	SNSTopics   []string `env:"TROY_SNS_TOPICS"`
	SNSCertFile string   `env:"TROY_SNS_CERT_FILE"`

	MaxFiles      int   `env:"TROY_MAX_FILES" envDefault:"100000"`
	MaxFileBytes  int64 `env:"TROY_MAX_FILE_BYTES" envDefault:"1073741824"`
	MaxTotalBytes int64 `env:"TROY_MAX_TOTAL_BYTES" envDefault:"10737418240"`

	LogLevel slog.Level `env:"TROY_LOG_LEVEL" envDefault:"info"`
	Faults   string     `env:"TROY_FAULTS"`
}

// The highest that TROY_MAX_FILES, and the two sizes, may be set to.
const (
	maxFiles = 1_000_000
	maxBytes = 1 << 40
)

// loadConfig reads and checks the environment. The error names each setting
// that is wrong.
func loadConfig() (config, error) {
	var c config
	err := env.ParseWithOptions(&c, env.Options{FuncMap: map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[slog.Level](): func(v string) (any, error) {
			var l slog.Level
			if err := l.UnmarshalText([]byte(v)); err != nil {
				return nil, errors.New("expected debug, info, warn or error")
			}
			return l, nil
		},
	}})
	if err != nil {
		return c, plain(err)
	}
	if c.URL == "" {
		c.URL = "http://" + c.Addr
	}
	if c.SitesURL == "" {
		c.SitesURL = "http://{host}" + portOf(c.EdgeAddr)
		if c.onAWS() {
			c.SitesURL = "https://{host}"
		}
	}
	if _, set := os.LookupEnv("TROY_PROPAGATION_DELAY"); !set {
		c.PropagationDelay = 2 * time.Second
		if c.onAWS() {
			c.PropagationDelay = 20 * time.Second
		}
	}
	return c, c.check()
}

func (c config) check() error {
	var errs []error
	wrong := func(setting, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", setting, fmt.Sprintf(format, args...)))
	}
	for setting, addr := range map[string]string{"TROY_ADDR": c.Addr, "TROY_EDGE_ADDR": c.EdgeAddr, "TROY_HEALTH_ADDR": c.HealthAddr} {
		if addr == "" && setting == "TROY_HEALTH_ADDR" {
			continue
		}
		if _, port, err := net.SplitHostPort(addr); err != nil {
			wrong(setting, "%q is not host:port", addr)
		} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			wrong(setting, "%q has no port from 0 to 65535", addr)
		}
	}
	suffix, err := site.NormalizeHost(c.SitesSuffix)
	if err != nil || suffix != c.SitesSuffix {
		wrong("TROY_SITES_SUFFIX", "%q is not a lower-case host name", c.SitesSuffix)
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		wrong("TROY_URL", "%q is not an http or https address", c.URL)
	} else if host := u.Hostname(); c.SitesSuffix != "localhost" && (host == c.SitesSuffix || strings.HasSuffix(host, "."+c.SitesSuffix)) {
		wrong("TROY_URL", "its host %q lies under TROY_SITES_SUFFIX %q: a site could take it over; use another domain", host, c.SitesSuffix)
	}
	if u, err := url.Parse(strings.ReplaceAll(c.SitesURL, "{host}", "host")); err != nil || !strings.Contains(c.SitesURL, "{host}") ||
		(u.Scheme != "http" && u.Scheme != "https") {
		wrong("TROY_SITES_URL", "%q is not an http or https address with {host} in it", c.SitesURL)
	}
	for setting, secret := range map[string]string{
		"TROY_APPS_SECRET": c.AppsSecret, "TROY_GITHUB_SECRET": c.GitHubSecret, "TROY_BITBUCKET_SECRET": c.BitbucketSecret,
	} {
		if n := len(secret); n > 0 && n < 16 {
			wrong(setting, "has %d characters; at least 16 are needed", n)
		}
	}
	if c.BuildIsolation != "bubblewrap" && c.BuildIsolation != "none" {
		wrong("TROY_BUILD_ISOLATION", "%q is neither bubblewrap nor none", c.BuildIsolation)
	}
	github := map[string]string{"TROY_GITHUB_CLIENT_ID": c.GitHubClientID, "TROY_GITHUB_KEY_FILE": c.GitHubKeyFile, "TROY_GITHUB_SECRET": c.GitHubSecret}
	for setting, value := range github {
		if value == "" && (c.GitHubClientID != "" || c.GitHubKeyFile != "" || c.GitHubSecret != "") {
			wrong(setting, "not set, but others of GitHub's app are; it takes all of client id, key file and secret")
		}
	}
	for setting, v := range map[string][3]int64{
		"TROY_WORKERS":          {int64(c.Workers), 1, 1000},
		"TROY_BUILD_SLOTS":      {int64(c.BuildSlots), 1, 100},
		"TROY_KEEP_DEPLOYMENTS": {int64(c.KeepDeployments), 10, 10000},
		"TROY_MAX_FILES":        {int64(c.MaxFiles), 1, maxFiles},
		"TROY_MAX_FILE_BYTES":   {c.MaxFileBytes, 1, maxBytes},
		"TROY_MAX_TOTAL_BYTES":  {c.MaxTotalBytes, 1, maxBytes},
	} {
		if v[0] < v[1] || v[0] > v[2] {
			wrong(setting, "%d is not from %d to %d", v[0], v[1], v[2])
		}
	}
	for setting, v := range map[string][3]time.Duration{
		"TROY_LEASE":             {c.Lease, 4 * time.Second, 10 * time.Minute},
		"TROY_PROPAGATION_DELAY": {c.PropagationDelay, 0, time.Hour},
		"TROY_CARRY_ASSETS":      {c.CarryAssets, 0, 365 * 24 * time.Hour},
		"TROY_UPLOADS_VALID":     {c.UploadsValid, time.Minute, 30 * 24 * time.Hour},
		"TROY_BUILD_TIME":        {c.BuildTime, time.Minute, 24 * time.Hour},
		"TROY_CATCH_UP":          {c.CatchUp, time.Second, 24 * time.Hour},
	} {
		if v[0] < v[1] || v[0] > v[2] {
			wrong(setting, "%s is not from %s to %s", v[0], v[1], v[2])
		}
	}
	return errors.Join(append(errs, c.checkAWS()...)...)
}

// need reports which of the two connections that the command cannot do without
// are not set.
func (c config) needConnections() error {
	var errs []error
	if c.DatabaseURL == "" {
		errs = append(errs, errors.New("TROY_DATABASE_URL: not set; it names the Postgres, like postgres://troy:secret@127.0.0.1/troy"))
	}
	if c.RedisURL == "" {
		errs = append(errs, errors.New("TROY_REDIS_URL: not set; it names the Redis, like redis://127.0.0.1:6379/0 or redis-sentinel://…"))
	}
	return errors.Join(errs...)
}

// cloudRoot is the folder of the local cloud, which the edge serves.
func (c config) cloudRoot() string { return filepath.Join(c.DataDir, "cloud") }

func (c config) limits() site.Limits {
	l := site.DefaultLimits()
	l.Files, l.FileBytes, l.TotalBytes = c.MaxFiles, c.MaxFileBytes, c.MaxTotalBytes
	return l
}

func (c config) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
}

// readLimits bounds what is read back: the most that could ever be released,
// so that lowering a limit does not make what is live unreadable.
func (c config) readLimits() site.Limits {
	l := c.limits()
	l.Files, l.FileBytes, l.TotalBytes = maxFiles, maxBytes, maxBytes
	return l
}

// plain names the setting of each parse error by its variable.
func plain(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	var errs []error
	for _, e := range all.Errors {
		var p env.ParseError
		if errors.As(e, &p) {
			field, _ := reflect.TypeFor[config]().FieldByName(p.Name)
			errs = append(errs, fmt.Errorf("%s: %w", field.Tag.Get("env"), p.Err))
			continue
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// portOf returns ":8081" of an address, or nothing for the default port.
func portOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil || port == "80" {
		return ""
	}
	return ":" + port
}
