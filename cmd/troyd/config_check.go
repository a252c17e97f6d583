package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/site"
)

// check returns all faults of the settings as one error.
func (c config) check() error { return join(c.faults()) }

// faults lists what is wrong with the settings.
func (c config) faults() []fault {
	var all []fault
	wrong := func(setting, format string, args ...any) {
		all = append(all, fault{setting, fmt.Sprintf(format, args...)})
	}
	c.checkAddresses(wrong)
	c.checkBuilds(wrong)
	forge.CheckSecret("TROY_APPS_SECRET", c.AppsSecret, wrong)
	c.Forges.check(wrong)
	c.checkOIDC(wrong)
	c.checkNotify(wrong)
	c.checkAccessLog(wrong)
	switch {
	case c.PreviewAccess != intake.PreviewsPublic && c.PreviewAccess != intake.PreviewsSignedIn:
		wrong("TROY_PREVIEW_ACCESS", "%q is neither public nor signed-in", c.PreviewAccess)
	case c.PreviewAccess == intake.PreviewsSignedIn && c.onAWS():
		wrong("TROY_PREVIEW_ACCESS", "is signed-in, but previews on AWS can't ask visitors to sign in to Troy; set it to public")
	}
	c.TLS.check(c, wrong)
	for setting, v := range map[string][3]int64{
		"TROY_WORKERS":                 {int64(c.Workers), 1, 1000},
		"TROY_BUILD_SLOTS":             {int64(c.BuildSlots), 1, 100},
		"TROY_PREVIEW_SLOTS":           {int64(c.PreviewSlots), 1, 100},
		"TROY_PREVIEW_MAX":             {int64(c.PreviewMax), 1, 1000},
		"TROY_KEEP_DEPLOYMENTS":        {int64(c.KeepDeployments), 10, 10000},
		"TROY_EDGE_INDEX_MIB":          {c.EdgeIndexMiB, 1, 1 << 20},
		"TROY_EDGE_CONNECTIONS":        {int64(c.EdgeConns), 16, 1_000_000},
		"TROY_EDGE_CONNECTIONS_PER_IP": {int64(c.EdgePerIP), 0, 1_000_000},
		"TROY_BUILD_MEMORY_MIB":        {int64(c.BuildMemory), troy.MinBuildMemoryMiB, troy.MaxBuildMemoryMiB},
		"TROY_BUILD_PROCESSES":         {int64(c.BuildProcs), troy.MinBuildProcesses, troy.MaxBuildProcesses},
		"TROY_BUILD_CACHES_MIB":        {c.BuildCaches, 64, 1 << 30},
		"TROY_BUILD_CPUS":              {int64(c.BuildCPUs), 0, troy.MaxBuildCPUs},
		"TROY_BUILD_TOOLS_MIB":         {c.ToolsMiB, 256, 1 << 20},
		"TROY_MAX_FILES":               {int64(c.MaxFiles), 1, maxFiles},
		"TROY_MAX_FILE_BYTES":          {c.MaxFileBytes, 1, maxBytes},
		"TROY_MAX_TOTAL_BYTES":         {c.MaxTotalBytes, 1, maxBytes},
		"TROY_QUOTA_BYTES":             {c.QuotaBytes, 0, 1 << 50},
		"TROY_QUOTA_FILES":             {c.QuotaFiles, 0, 1 << 50},
		"TROY_QUOTA_OPEN_RELEASES":     {c.QuotaReleases, 0, 10_000},
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
		"TROY_DELETE_GRACE":      {c.DeleteGrace, 0, 30 * 24 * time.Hour},
		"TROY_BUILD_TIME":        {c.BuildTime, time.Minute, troy.MaxBuildMinutes * time.Minute},
		"TROY_CATCH_UP":          {c.CatchUp, time.Second, 24 * time.Hour},
		"TROY_PREVIEW_EXPIRY":    {c.PreviewExpiry, time.Minute, 365 * 24 * time.Hour},
	} {
		if v[0] < v[1] || v[0] > v[2] {
			wrong(setting, "%s is not from %s to %s", duration(v[0]), duration(v[1]), duration(v[2]))
		}
	}
	c.checkAWS(wrong)
	return all
}

// duration formats a duration as a setting: 10m, not 10m0s.
func duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// wrongly records what is wrong with a setting.
type wrongly = func(setting, format string, args ...any)

func (c config) checkAddresses(wrong wrongly) {
	for setting, addr := range map[string]string{"TROY_ADDR": c.Addr, "TROY_EDGE_ADDR": c.EdgeAddr, "TROY_HEALTH_ADDR": c.HealthAddr} {
		if addr == "" && setting == "TROY_HEALTH_ADDR" {
			continue
		}
		checkAddress(setting, addr, wrong)
	}
	if _, err := c.edgeProxies(); err != nil {
		wrong("TROY_EDGE_PROXIES", "%s", err)
	}
	if h := edge.EarlyHints(c.EdgeHints); h != edge.HintsHTTP2 && h != edge.HintsAll && h != edge.HintsOff {
		wrong("TROY_EDGE_EARLY_HINTS", "%q is neither http2 nor all nor off", h)
	}
	if _, err := c.edgeAddresses(); err != nil {
		wrong("TROY_EDGE_ADDRESSES", "%s", err)
	}
	if _, err := c.dns(); err != nil {
		wrong("TROY_DNS_RESOLVERS", "%s", err)
	}
	suffix, err := site.NormalizeHost(c.SitesSuffix)
	if err != nil || suffix != c.SitesSuffix {
		wrong("TROY_SITES_SUFFIX", "%q is not a lower-case host name", c.SitesSuffix)
	}
	if suffix, err := site.NormalizeHost(c.PreviewSuffix); c.PreviewSuffix != "" && (err != nil || suffix != c.PreviewSuffix) {
		wrong("TROY_PREVIEW_SUFFIX", "%q is not a lower-case host name", c.PreviewSuffix)
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		wrong("TROY_URL", "%q is not an http or https address", c.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "":
		wrong("TROY_URL", "%q has more than a scheme, a host and a port", u.Redacted())
	case c.PreviewSuffix != "" && c.PreviewSuffix != c.SitesSuffix && below(u.Hostname(), c.PreviewSuffix):
		wrong("TROY_URL", "its host %q is below TROY_PREVIEW_SUFFIX %q: a preview could take it over; use another domain", u.Hostname(), c.PreviewSuffix)
	case c.SitesSuffix != "localhost" && below(u.Hostname(), c.SitesSuffix):
		wrong("TROY_URL", "its host %q is below TROY_SITES_SUFFIX %q: a site could take it over; use another domain", u.Hostname(), c.SitesSuffix)
	}
	if u, err := url.Parse(strings.ReplaceAll(c.SitesURL, "{host}", "host")); err != nil || !strings.Contains(c.SitesURL, "{host}") ||
		(u.Scheme != "http" && u.Scheme != "https") {
		wrong("TROY_SITES_URL", "%q is not an http or https address with {host} in it", c.SitesURL)
	}
}

// edgeProxies returns the networks of TROY_EDGE_PROXIES, never nil.
func (c config) edgeProxies() ([]netip.Prefix, error) {
	networks := []netip.Prefix{}
	for _, text := range c.EdgeProxies {
		n, err := site.ParseNetwork(text)
		if err != nil {
			return nil, err
		}
		networks = append(networks, n)
	}
	return networks, nil
}

// below reports whether a host is a domain or is below it, in any spelling: DNS
// ignores case, and a trailing dot names the same host.
func below(host, domain string) bool {
	host = strings.ToLower(strings.TrimRight(host, "."))
	return host == domain || strings.HasSuffix(host, "."+domain)
}

func (c config) checkBuilds(wrong wrongly) {
	if c.BuildIsolation != "bubblewrap" && c.BuildIsolation != "none" {
		wrong("TROY_BUILD_ISOLATION", "%q is neither bubblewrap nor none", c.BuildIsolation)
	}
	if c.BuildTools != "install" && c.BuildTools != "machine" {
		wrong("TROY_BUILD_TOOLS", "%q is neither install nor machine", c.BuildTools)
	}
	if c.ToolsRegistry != "" {
		if err := toolchain.CheckRegistry(c.ToolsRegistry); err != nil {
			wrong("TROY_BUILD_TOOLS_REGISTRY", "%s", err)
		}
	}
	if err := forge.CheckSubmodules(c.Submodules); err != nil {
		wrong("TROY_SUBMODULES", "%s", err)
	}
	for setting, paths := range map[string][]string{"TROY_BUILD_PATH": c.BuildPath, "TROY_BUILD_VISIBLE": c.BuildVisible} {
		for _, path := range paths {
			if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
				wrong(setting, "%q is not an absolute path below /", path)
			} else if i := slices.IndexFunc(ownFolders(), func(own string) bool { return within(path, own) }); i >= 0 {
				wrong(setting, "%q is in %s, which is private to each build", path, ownFolders()[i])
			} else if data, err := filepath.Abs(c.DataDir); err == nil && (within(path, data) || within(data, path)) {
				wrong(setting, "%q would show builds the data folder %s", path, data)
			}
		}
	}
	if c.AWSProject != "" {
		for setting, value := range map[string][]string{"TROY_BUILD_VISIBLE": c.BuildVisible, "TROY_BUILD_ALLOW": c.BuildAllow} {
			if len(value) > 0 {
				wrong(setting, "is set, but builds on CodeBuild (TROY_AWS_PROJECT) can't use this machine and its network; set up the project's image and its VPC")
			}
		}
	}
	for _, text := range c.BuildAllow {
		if allowed, err := network(text); err != nil {
			wrong("TROY_BUILD_ALLOW", "%s", err)
		} else if allowed.Contains(netip.MustParseAddr(sandbox.Metadata)) {
			wrong("TROY_BUILD_ALLOW", "%q contains %s, where clouds give credentials of the machine; name addresses without it", text, sandbox.Metadata)
		}
	}
}

// ownFolders are the folders that are private to each build.
func ownFolders() []string { return []string{"/tmp", "/dev", "/proc", "/build"} }

// within reports whether a path is a folder or is below it.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// network parses an address or a network.
func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, fmt.Errorf("%q is neither an address like 10.1.2.3 nor a network like 10.1.2.0/24; for a host, use its address", text)
	}
	return prefix.Masked(), nil
}

// needConnections reports which of the command's two connections are not set.
func (c config) needConnections() error {
	var errs []error
	if c.DatabaseURL == "" {
		errs = append(errs, errors.New("TROY_DATABASE_URL: not set; expected the Postgres to use, like postgres://troy:secret@127.0.0.1/troy"))
	}
	if c.RedisURL == "" {
		errs = append(errs, errors.New("TROY_REDIS_URL: not set; expected the Redis to use, like redis://127.0.0.1:6379/0 or redis-sentinel://…"))
	}
	return errors.Join(errs...)
}
