package site

import (
	"path"
	"slices"
	"strings"
	"sync"
)

// NamedLeaks maps descriptions to the lower-case names of files in which
// programs keep secrets; a * stands for any text. Names that other files have too
// (Keynote's talk.key, a certificate's site.pem) are missing on purpose; the
// scan of the content finds those.
func NamedLeaks() map[string][]string {
	return map[string][]string{
		"a file of credentials, by its name": {
			".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".netrc", "_netrc", ".git-credentials", ".dockercfg", ".dockerconfigjson",
			".pgpass", ".my.cnf", ".boto", ".s3cfg", ".terraformrc", ".vault-token", "wp-config.php", "secrets.yml", "secrets.yaml",
		},
		"a file of passwords, by its name":             {".htpasswd", ".htdigest"},
		"a private key, by its name":                   {"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk", "master.key"},
		"a history of commands, by its name":           {".bash_history", ".zsh_history", ".psql_history", ".mysql_history", ".node_repl_history", ".python_history"},
		"a store of keys, by its name":                 {"*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"},
		"the state of Terraform, by its name":          {"*.tfstate", "*.tfstate.backup", "*.tfvars"},
		"a file of environment variables, by its name": {".env", "*.env", ".env.*", ".envrc", ".dev.vars", ".flaskenv"},
	}
}

// harmlessEnv returns the last parts of names like .env.example, which document
// variables.
func harmlessEnv() []string {
	return []string{".example", ".sample", ".template", ".tmpl", ".dist", ".defaults", ".schema"}
}

// leakNames are NamedLeaks, for quick comparisons: the reasons by name, and the
// patterns with one *.
type leakNames struct {
	names    map[string]string
	patterns []leakPattern
}

type leakPattern struct{ before, after, reason string }

var namedLeaks = sync.OnceValue(func() leakNames {
	l := leakNames{names: map[string]string{}}
	for reason, patterns := range NamedLeaks() {
		for _, pattern := range patterns {
			if before, after, ok := strings.Cut(pattern, "*"); ok {
				l.patterns = append(l.patterns, leakPattern{before, after, reason})
			} else {
				l.names[pattern] = reason
			}
		}
	}
	return l
})

// NamedLeak describes the secret that a file with this path holds, judging by
// its name, or returns "".
func NamedLeak(p string) string {
	name := strings.ToLower(path.Base(p))
	known := namedLeaks()
	reason := known.names[name]
	for _, l := range known.patterns {
		if len(name) >= len(l.before)+len(l.after) && strings.HasSuffix(name, l.after) && strings.HasPrefix(name, l.before) {
			reason = l.reason
		}
	}
	if reason != "" && slices.Contains(harmlessEnv(), path.Ext(name)) {
		return ""
	}
	return reason
}
