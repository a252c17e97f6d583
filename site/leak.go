package site

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"sync"
)

// Leak is a file that would publish a secret.
type Leak struct {
	Path string
	// Reason describes the secret: "a private key on line 3".
	Reason string
}

// leakWindow is the maximum number of bytes that identify a secret. It bounds
// the work at each possible beginning of one.
const leakWindow = 1 << 10

// secretForm describes one kind of secret: its text begins with one of the
// prefixes, and form matches there. The list has only forms that their issuers
// designed to be recognised, because a false alarm stops a release. Google's
// browser keys (AIza…), for example, are meant to be public.
type secretForm struct {
	kind     string
	prefixes []string
	form     *regexp.Regexp
	// sparse is the minimum entropy of the first group, in bits per character.
	// A placeholder such as ghp_xxxxxxxx has less.
	sparse float64
	// inside allows a letter or a digit directly before the prefix.
	inside bool
	refuse func(match []byte, rest []byte) bool
}

// likelyRandom is the entropy of the random part of a token: 36 random
// letters and digits have about 4.6 bits each, words and placeholders below 3.
const likelyRandom = 3

// secretForms follows the issuers' documentation and, for less documented
// forms, github.com/gitleaks/gitleaks (config/gitleaks.toml).
func secretForms() []secretForm {
	random := func(kind, form string, prefixes ...string) secretForm {
		return secretForm{kind: kind, prefixes: prefixes, form: regexp.MustCompile("^(?:" + form + ")"), sparse: likelyRandom}
	}
	forms := []secretForm{
		{
			kind: "a private key", prefixes: []string{"-----BEGIN "}, inside: true,
			// The label of RFC 7468 and its variants, headers (RFC 1421), then
			// at least 60 characters of base64, the minimum of a key. Line ends
			// may be escaped, as in JSON. A library that handles keys has the
			// label but not the base64.
			form: regexp.MustCompile(`^-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----` +
				`(?:\s|\\r|\\n)+(?:[A-Za-z-]+: [^\n\\]{1,200}(?:\s|\\r|\\n)+){0,5}` +
				`((?:[A-Za-z0-9+/=](?:\s|\\r|\\n){0,8}){60})`),
			sparse: likelyRandom,
		},
		{
			kind: "a PuTTY private key", prefixes: []string{"PuTTY-User-Key-File-"},
			form: regexp.MustCompile(`^PuTTY-User-Key-File-[23]: [a-z0-9-]+\r?\n(Encryption: )`),
		},
		{
			kind: "an AWS access key", prefixes: []string{"AKIA", "ASIA"}, sparse: likelyRandom,
			form: regexp.MustCompile(`^A[KS]IA([A-Z2-7]{16})`),
			// Not AWS's own examples, and not signed URLs, which contain the id
			// of the signing key (X-Amz-Credential=AKIA…/20260131/…).
			refuse: func(match, rest []byte) bool {
				return bytes.HasSuffix(match, []byte("EXAMPLE")) || signedURL.Match(rest)
			},
		},
		random("a GitHub token", `gh[pousr]_([A-Za-z0-9]{36,255})|ghs_([A-Za-z0-9._-]{36,})`, "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
		random("a GitHub token", `github_pat_([A-Za-z0-9]{22}_[A-Za-z0-9]{59})`, "github_pat_"),
		random("a GitLab token", `gl(?:pat|dt|rt|ptt|cbt|soat|ft|agent|imt|oas)-([A-Za-z0-9_-]{20,})`,
			"glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glagent-", "gloas-"),
		random("a Bitbucket token", `ATATT3x([A-Za-z0-9_=.-]{60,})|ATCTT3x([A-Za-z0-9_=.-]{60,})`, "ATATT3x", "ATCTT3x"),
		random("a Slack token", `xox[abeoprs]-(?:\d-)?(\d{8,}-[A-Za-z0-9-]{18,}|[A-Za-z0-9-]{40,})`, "xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"),
		random("a Slack token", `xapp-\d-[A-Z0-9]{8,}-\d{8,}-([a-z0-9]{32,})`, "xapp-"),
		random("a Slack webhook", `hooks\.slack\.com/(?:services|workflows|triggers)/[A-Z][A-Z0-9]{8,}/[A-Z0-9]{8,}/([A-Za-z0-9/]{20,})`, "hooks.slack.com/"),
		random("a Stripe live key", `[sr]k_live_([A-Za-z0-9]{24,})`, "sk_live_", "rk_live_"),
		random("a Stripe webhook's secret", `whsec_([A-Za-z0-9]{32,})`, "whsec_"),
		random("an npm token", `npm_([A-Za-z0-9]{36})`, "npm_"),
		random("a PyPI token", `pypi-AgE[IN]([A-Za-z0-9_-]{60,})`, "pypi-AgE"),
		random("a Google OAuth client's secret", `GOCSPX-([A-Za-z0-9_-]{28})`, "GOCSPX-"),
		random("a SendGrid key", `SG\.([A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})`, "SG."),
		random("an Anthropic key", `sk-ant-[a-z]{3,8}\d\d-([A-Za-z0-9_-]{80,})`, "sk-ant-"),
		random("an OpenAI key", `sk-(?:proj-|svcacct-|admin-)?([A-Za-z0-9_-]{20,74}T3BlbkFJ[A-Za-z0-9_-]{20,74})`, "sk-"),
		random("a Hugging Face token", `hf_([A-Za-z]{34})`, "hf_"),
		random("a DigitalOcean token", `do[opr]_v1_([a-f0-9]{64})`, "dop_v1_", "doo_v1_", "dor_v1_"),
		random("a Docker Hub token", `dckr_pat_([A-Za-z0-9_-]{27,})`, "dckr_pat_"),
		random("a Shopify token", `shp(?:at|ca|pa|ss)_([a-fA-F0-9]{32})`, "shpat_", "shpca_", "shppa_", "shpss_"),
		random("a Netlify token", `nfp_([A-Za-z0-9]{36})`, "nfp_"),
		random("a Vault token", `hv[sb]\.([A-Za-z0-9_-]{90,})`, "hvs.", "hvb."),
		random("a Grafana token", `glsa_([A-Za-z0-9]{32}_[a-f0-9]{8})`, "glsa_"),
		random("a Linear key", `lin_api_([A-Za-z0-9]{40})`, "lin_api_"),
		{
			kind: "an Azure storage key", prefixes: []string{"AccountKey="}, sparse: likelyRandom,
			form:   regexp.MustCompile(`^AccountKey=([A-Za-z0-9+/]{86}==)`),
			refuse: func(match, _ []byte) bool { return slices.Contains(emulatorKeys(), string(match)) },
		},
		random("an age secret key", `AGE-SECRET-KEY-1([0-9A-Z]{58})`, "AGE-SECRET-KEY-1"),
		random("a token of Troy", `troy_([A-Za-z0-9_-]{43})`, "troy_"),
	}
	return forms
}

// leakCode is the version of the scanner's code. Raise it with each change that
// could find another secret.
const leakCode = 1

// leakVersion identifies the scanner: its code and its forms.
var leakVersion = sync.OnceValue(func() []byte {
	h := sha256.New()
	_, _ = fmt.Fprintln(h, leakCode, leakWindow) // never fails
	for _, f := range secretForms() {
		_, _ = fmt.Fprintf(h, "%q %q %q %v %v %v\n", f.kind, f.prefixes, f.form, f.sparse, f.inside, f.refuse != nil)
	}
	return h.Sum(nil)
})

// emulatorKeys returns the fixed keys of Azure's emulators, which are the same
// on every machine and protect nothing: Azurite's
// (learn.microsoft.com/azure/storage/common/storage-connect-azurite) and Cosmos
// DB's (learn.microsoft.com/azure/cosmos-db/emulator).
func emulatorKeys() []string {
	return []string{
		"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
		"AccountKey=C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==",
	}
}

var signedURL = regexp.MustCompile(`^(?:/|%2F|%252F|\\/|\\u002F)\d{8}`)

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// entropy returns the Shannon entropy in bits per byte.
func entropy(text []byte) float64 {
	var counts [256]int
	for _, c := range text {
		counts[c]++
	}
	var bits float64
	for _, n := range counts {
		if n > 0 {
			share := float64(n) / float64(len(text))
			bits -= share * math.Log2(share)
		}
	}
	return bits
}

// FindLeak reads r to its end and describes the first secret in it ("a GitHub
// token on line 3"), or returns "" if there is none. Its run time is linear and
// its memory is small and constant.
func FindLeak(r io.Reader) (string, error) {
	var s leakScanner
	if _, err := io.Copy(&s, r); err != nil {
		return "", err
	}
	return s.end(), nil
}
