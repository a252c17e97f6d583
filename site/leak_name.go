package site

import (
	"path"
	"slices"
	"strings"
)

// namedLeaks are names of files that programs keep secrets in. Names that
// something else has too (Keynote's talk.key, a certificate's site.pem) are
// missing on purpose: what is in them tells.
func namedLeaks() map[string][]string {
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

// harmlessEnv are the last parts of names like .env.example, which show what
// variables there are.
func harmlessEnv() []string {
	return []string{".example", ".sample", ".template", ".tmpl", ".dist", ".defaults", ".schema"}
}

// NamedLeak returns what secret a file of this path holds by its name, or "".
func NamedLeak(p string) string {
	name := strings.ToLower(path.Base(p))
	if slices.Contains(harmlessEnv(), path.Ext(name)) {
		return ""
	}
	for reason, patterns := range namedLeaks() {
		for _, pattern := range patterns {
			if matched, _ := path.Match(pattern, name); matched {
				return reason
			}
		}
	}
	return ""
}
