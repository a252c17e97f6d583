package toolchain

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/troy-iaas/troy"
	"golang.org/x/net/http/httpproxy"
)

// PublicRegistry is npm's default (docs.npmjs.com/cli/using-npm/config#registry).
const PublicRegistry = "https://registry.npmjs.org/"

// npmConfig is the part of npm's configuration that says where packages come
// from (docs.npmjs.com/cli/configuring-npm/npmrc).
type npmConfig struct {
	keys   map[string]string
	caFile string
	// proxy are the proxies that builds use, or else those of this process.
	proxy httpproxy.Config
}

// readNpmConfig reads the configuration of the machine and the user.
// environment takes precedence over files, registry over both.
func readNpmConfig(registry string, environment map[string]string, npmrcs []string) (npmConfig, error) {
	c := npmConfig{keys: map[string]string{}}
	for _, file := range npmrcs {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it does not exist, or is another user's
		}
		lines := bufio.NewScanner(bytes.NewReader(data))
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			key, value, found := strings.Cut(line, "=")
			if !found || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
				continue
			}
			value = strings.Trim(strings.TrimSpace(value), `"'`)
			c.keys[strings.TrimSpace(key)] = npmVariable.ReplaceAllStringFunc(value, func(name string) string {
				return os.Getenv(name[2 : len(name)-1])
			})
		}
	}
	for name, value := range environment {
		if key, found := strings.CutPrefix(strings.ToLower(name), "npm_config_"); found && value != "" {
			c.keys[key] = value
		}
	}
	c.proxy = *httpproxy.FromEnvironment()
	for _, p := range []struct {
		into *string
		name string
	}{{&c.proxy.HTTPProxy, "http_proxy"}, {&c.proxy.HTTPSProxy, "https_proxy"}, {&c.proxy.NoProxy, "no_proxy"}} {
		// Lower case counts, as in curl and Go.
		*p.into = cmp.Or(environment[p.name], environment[strings.ToUpper(p.name)], *p.into)
	}
	c.caFile = c.keys["cafile"]
	if file := environment["NODE_EXTRA_CA_CERTS"]; file != "" {
		c.caFile = file
	}
	if registry != "" {
		c.keys["registry"] = registry
	}
	if c.keys["registry"] == "" {
		c.keys["registry"] = PublicRegistry
	}
	if _, err := parseRegistry(c.keys["registry"]); err != nil {
		return c, err
	}
	return c, nil
}

// npmVariable matches a variable in an npmrc file.
var npmVariable = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// npmrcFiles are the files of npm's configuration, the later ones first to be
// obeyed.
func npmrcFiles() []string {
	all := []string{"/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"}
	if home, err := os.UserHomeDir(); err == nil {
		all = append(all, filepath.Join(home, ".npmrc"))
	}
	return all
}

func parseRegistry(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return nil, troy.Errorf(troy.Invalid, "the npm registry is not an http or https address without a query")
	}
	return u, nil
}

// CheckRegistry returns an Invalid error for an address that can't be an npm
// registry.
func CheckRegistry(text string) error {
	_, err := parseRegistry(text)
	return err
}

// registryOf returns the registry of a package, with a slash at the end.
func (c npmConfig) registryOf(name string) string {
	base := c.keys["registry"]
	if scope, _, found := strings.Cut(name, "/"); found && c.keys[scope+":registry"] != "" {
		base = c.keys[scope+":registry"]
	}
	return strings.TrimSuffix(base, "/") + "/"
}

// authorization returns the header with which npm would authenticate at an
// address: the keys of the longest path that contains it.
func (c npmConfig) authorization(u *url.URL) string {
	dir := "//" + u.Host + "/" + strings.TrimPrefix(u.Path, "/")
	for {
		dir = dir[:strings.LastIndex(dir, "/")+1]
		if token := c.keys[dir+":_authToken"]; token != "" {
			return "Bearer " + token
		}
		if basic := c.keys[dir+":_auth"]; basic != "" {
			return "Basic " + basic
		}
		if user, secret := c.keys[dir+":username"], c.keys[dir+":_password"]; user != "" && secret != "" {
			if plain, err := base64.StdEncoding.DecodeString(secret); err == nil {
				return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+string(plain)))
			}
		}
		if dir = strings.TrimSuffix(dir, "/"); dir == "//"+u.Host {
			return ""
		}
	}
}

// archive returns the address of a release's archive. Like npm, it gets an
// archive that is at npm's public registry from the configured one
// (docs.npmjs.com/cli/using-npm/config#replace-registry-host). It refuses other
// hosts.
func (c npmConfig) archive(rel release) (string, error) {
	base, err := parseRegistry(c.registryOf(rel.Package))
	if err != nil {
		return "", err
	}
	public, err := url.Parse(PublicRegistry)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(rel.Tarball)
	if err == nil && u.Host == public.Host {
		if u.Host != base.Host {
			u.Path = strings.TrimSuffix(base.Path, "/") + u.Path
		}
		u.Scheme, u.Host, u.User = base.Scheme, base.Host, base.User
	}
	if err != nil || u.Host != base.Host || u.Scheme != base.Scheme {
		return "", troy.Errorf(troy.Invalid, "the registry names another host for the package %s@%s; expected its own", rel.Package, rel.Version)
	}
	return u.String(), nil
}
