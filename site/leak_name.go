package site

import (
	"path"
	"slices"
	"strings"
)

// NamedLeaks maps descriptions to patterns (path.Match) of the lower-case names
// of files in which programs keep secrets. Names that other files have too
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

// NamedLeak describes the secret that a file with this path holds, judging by
// its name, or returns "".
func NamedLeak(p string) string {
	name := strings.ToLower(path.Base(p))
	if slices.Contains(harmlessEnv(), path.Ext(name)) {
		return ""
	}
	for reason, patterns := range NamedLeaks() {
		for _, pattern := range patterns {
			if matched, _ := path.Match(pattern, name); matched {
				return reason
			}
		}
	}
	return ""
}
