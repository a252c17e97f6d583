package main

import (
	"cmp"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

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

	PreviewSuffix string        `env:"TROY_PREVIEW_SUFFIX"`
	PreviewAccess string        `env:"TROY_PREVIEW_ACCESS" envDefault:"public"`
	PreviewSlots  int           `env:"TROY_PREVIEW_SLOTS" envDefault:"1"`
	PreviewExpiry time.Duration `env:"TROY_PREVIEW_EXPIRY" envDefault:"336h"`
	PreviewMax    int           `env:"TROY_PREVIEW_MAX" envDefault:"50"`

	AppsSecret    string `env:"TROY_APPS_SECRET"`
	AutoProvision bool   `env:"TROY_AUTO_PROVISION" envDefault:"true"`

	Workers          int           `env:"TROY_WORKERS" envDefault:"10"`
	Lease            time.Duration `env:"TROY_LEASE" envDefault:"6s"`
	PropagationDelay time.Duration `env:"TROY_PROPAGATION_DELAY"`
	KeepDeployments  int           `env:"TROY_KEEP_DEPLOYMENTS" envDefault:"10"`
	CarryAssets      time.Duration `env:"TROY_CARRY_ASSETS" envDefault:"168h"`
	UploadsValid     time.Duration `env:"TROY_UPLOADS_VALID" envDefault:"24h"`
	DeleteGrace      time.Duration `env:"TROY_DELETE_GRACE" envDefault:"10m"`
	Chromium         string        `env:"TROY_CHROMIUM" envDefault:"chromium"`

	EdgeIndexMiB int64 `env:"TROY_EDGE_INDEX_MIB" envDefault:"256"`
	EdgeConns    int   `env:"TROY_EDGE_CONNECTIONS" envDefault:"10000"`
	EdgePerIP    int   `env:"TROY_EDGE_CONNECTIONS_PER_IP" envDefault:"512"`
	EdgeLoop     bool  `env:"TROY_EDGE_LOOP" envDefault:"true"`
	EdgeTraffic  bool  `env:"TROY_EDGE_TRAFFIC" envDefault:"true"`

	EdgeHints  string `env:"TROY_EDGE_EARLY_HINTS" envDefault:"http2"`
	EdgeTiming bool   `env:"TROY_EDGE_SERVER_TIMING" envDefault:"false"`

	AccessLog          string   `env:"TROY_EDGE_ACCESS_LOG"`
	AccessLogFormat    string   `env:"TROY_EDGE_ACCESS_LOG_FORMAT" envDefault:"json"`
	AccessLogAddresses string   `env:"TROY_EDGE_ACCESS_LOG_ADDRESSES" envDefault:"anonymous"`
	EdgeProxies        []string `env:"TROY_EDGE_PROXIES" envDefault:"127.0.0.0/8,::1"`
	EdgeAddresses      []string `env:"TROY_EDGE_ADDRESSES"`
	DNSResolvers       []string `env:"TROY_DNS_RESOLVERS" envDefault:"1.1.1.1,8.8.8.8"`
	DNSReach           []string `env:"TROY_DNS_REACH"`

	BuildSlots     int           `env:"TROY_BUILD_SLOTS" envDefault:"2"`
	BuildTime      time.Duration `env:"TROY_BUILD_TIME" envDefault:"30m"`
	BuildMemory    int           `env:"TROY_BUILD_MEMORY_MIB" envDefault:"4096"`
	BuildProcs     int           `env:"TROY_BUILD_PROCESSES" envDefault:"2048"`
	BuildCPUs      int           `env:"TROY_BUILD_CPUS" envDefault:"0"`
	BuildCaches    int64         `env:"TROY_BUILD_CACHES_MIB" envDefault:"20480"`
	BuildIsolation string        `env:"TROY_BUILD_ISOLATION" envDefault:"bubblewrap"`
	BuildEnvFile   string        `env:"TROY_BUILD_ENV_FILE"`
	BuildPath      []string      `env:"TROY_BUILD_PATH"`
	BuildVisible   []string      `env:"TROY_BUILD_VISIBLE"`
	BuildAllow     []string      `env:"TROY_BUILD_ALLOW"`
	BuildTools     string        `env:"TROY_BUILD_TOOLS" envDefault:"install"`
	ToolsRegistry  string        `env:"TROY_BUILD_TOOLS_REGISTRY"`
	ToolsMiB       int64         `env:"TROY_BUILD_TOOLS_MIB" envDefault:"5120"`
	Submodules     []string      `env:"TROY_SUBMODULES"`
	CatchUp        time.Duration `env:"TROY_CATCH_UP" envDefault:"5m"`
	SecretKey      string        `env:"TROY_SECRET_KEY"`

	OIDCIssuer       string   `env:"TROY_OIDC_ISSUER"`
	OIDCClientID     string   `env:"TROY_OIDC_CLIENT_ID"`
	OIDCClientSecret string   `env:"TROY_OIDC_CLIENT_SECRET"`
	OIDCGroupsClaim  string   `env:"TROY_OIDC_GROUPS_CLAIM" envDefault:"groups"`
	OIDCRoles        []string `env:"TROY_OIDC_ROLES"`
	CIIssuers        []string `env:"TROY_CI_ISSUERS"`

	SMTPURL       string   `env:"TROY_SMTP_URL"`
	SMTPFrom      string   `env:"TROY_SMTP_FROM"`
	NotifyPrivate []string `env:"TROY_NOTIFY_PRIVATE"`

	TLS    tlsSettings
	Forges forgeSettings

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
	AWSPreviewZone  string `env:"TROY_AWS_PREVIEW_ZONE"`
	AWSPreviewCert  string `env:"TROY_AWS_PREVIEW_CERTIFICATE"`
	AWSPointerStore string `env:"TROY_AWS_POINTER_STORE"`
	AWSPriceClass   string `env:"TROY_AWS_PRICE_CLASS" envDefault:"PriceClass_All"`
	AWSLogBucket    string `env:"TROY_AWS_LOG_BUCKET"`
	AWSDomains      string `env:"TROY_AWS_DOMAINS" envDefault:"tenants"`
	AWSAppsQueue    string `env:"TROY_AWS_APPS_QUEUE"`
	AWSBuildsQueue  string `env:"TROY_AWS_BUILDS_QUEUE"`
	AWSProject      string `env:"TROY_AWS_PROJECT"`

	SNSTopics   []string `env:"TROY_SNS_TOPICS"`
	SNSCertFile string   `env:"TROY_SNS_CERT_FILE"`

	MaxFiles      int   `env:"TROY_MAX_FILES" envDefault:"100000"`
	MaxFileBytes  int64 `env:"TROY_MAX_FILE_BYTES" envDefault:"1073741824"`
	MaxTotalBytes int64 `env:"TROY_MAX_TOTAL_BYTES" envDefault:"10737418240"`

	QuotaBytes    int64 `env:"TROY_QUOTA_BYTES" envDefault:"0"`
	QuotaFiles    int64 `env:"TROY_QUOTA_FILES" envDefault:"0"`
	QuotaReleases int64 `env:"TROY_QUOTA_OPEN_RELEASES" envDefault:"50"`

	LogLevel slog.Level `env:"TROY_LOG_LEVEL" envDefault:"info"`
	Faults   string     `env:"TROY_FAULTS"`
}

// Upper limits of TROY_MAX_FILES and of the two sizes.
const (
	maxFiles = 1_000_000
	maxBytes = 1 << 40
)

// cloudRoot is the folder of the local cloud, which the edge serves.
func (c config) cloudRoot() string { return filepath.Join(c.DataDir, "cloud") }

func (c config) limits() site.Limits {
	l := site.DefaultLimits()
	l.Files, l.FileBytes, l.TotalBytes = c.MaxFiles, c.MaxFileBytes, c.MaxTotalBytes
	return l
}

// previewSuffix returns the suffix of the hosts of previews.
func (c config) previewSuffix() string { return cmp.Or(c.PreviewSuffix, c.SitesSuffix) }

func (c config) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
}

// readLimits bounds what is read back: the largest possible release, so that a
// lower limit does not make live sites unreadable.
func (c config) readLimits() site.Limits {
	l := c.limits()
	l.Files, l.FileBytes, l.TotalBytes = maxFiles, maxBytes, maxBytes
	return l
}

// sitesURL returns the address of the sites on this machine, with {host}.
func (c config) sitesURL() string {
	if _, port, err := net.SplitHostPort(c.TLS.EdgeAddr); err == nil {
		if port == "443" {
			return "https://{host}"
		}
		return "https://{host}:" + port
	}
	return "http://{host}" + portOf(c.EdgeAddr)
}

// portOf returns the port of an address, like ":8081", or the empty string for
// the default port.
func portOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil || port == "80" {
		return ""
	}
	return ":" + port
}
