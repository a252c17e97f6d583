package site

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/troy-iaas/troy"
)

// made returns a random text that is the same for each seed. Secrets are made
// here so that this file contains none.
func made(seed int64, n int, alphabet string) string {
	r := rand.New(rand.NewSource(seed))
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.Intn(len(alphabet))]
	}
	return string(b)
}

const (
	smallLetters = "abcdefghijklmnopqrstuvwxyz"
	digits       = "0123456789"
	alnum        = smallLetters + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits
	base64s      = alnum + "+/"
)

func privateKey(label, lineEnd string) string {
	text := "-----BEGIN " + label + "-----" + lineEnd
	for i := range 4 {
		text += made(int64(i), 64, base64s) + lineEnd
	}
	return text + "-----END " + label + "-----" + lineEnd
}

func TestFindLeak(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		privateKey("PRIVATE KEY", "\n"):                "a private key on line 1",
		"\r\n" + privateKey("RSA PRIVATE KEY", "\r\n"): "a private key on line 2",
		privateKey("OPENSSH PRIVATE KEY", "\n"):        "a private key on line 1",
		privateKey("PGP PRIVATE KEY BLOCK", "\n\n"):    "a private key on line 1",
		"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n" + made(1, 64, base64s):                                    "a private key on line 1",
		`{"type": "service_account", "private_key": "` + privateKey("PRIVATE KEY", `\n`) + `"}`:                                                           "a private key on line 1",
		"const k = `" + privateKey("EC PRIVATE KEY", "\n") + "`":                                                                                          "a private key on line 1",
		"key: AKIA" + made(1, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") + "\n":                                                                              "an AWS access key on line 1",
		"x\ny\nt=ghp_" + made(1, 36, alnum):                                                                                                               "a GitHub token on line 3",
		`"ghs_` + made(1, 6, digits) + "_" + made(2, 200, alnum+"-._") + `"`:                                                                              "a GitHub token on line 1",
		"github_pat_" + made(1, 22, alnum) + "_" + made(2, 59, alnum):                                                                                     "a GitHub token on line 1",
		"glpat-" + made(1, 20, alnum+"_-"):                                                                                                                "a GitLab token on line 1",
		"glpat-" + made(1, 27, alnum) + ".01." + made(1, 9, smallLetters):                                                                                 "a GitLab token on line 1",
		"xoxb-" + made(1, 12, digits) + "-" + made(2, 12, digits) + "-" + made(3, 24, alnum):                                                              "a Slack token on line 1",
		"https://hooks.slack.com/services/T" + made(1, 9, "ABCDEFGH0123") + "/B" + made(2, 9, "ABCDEFGH0123") + "/" + made(3, 24, alnum):                  "a Slack webhook on line 1",
		"sk_live_" + made(1, 24, alnum):                                                                                                                   "a Stripe live key on line 1",
		"rk_live_" + made(1, 99, alnum):                                                                                                                   "a Stripe live key on line 1",
		"//npm.example.com/:_authToken=npm_" + made(1, 36, alnum):                                                                                         "an npm token on line 1",
		"GOCSPX-" + made(1, 28, alnum+"-_"):                                                                                                               "a Google OAuth client's secret on line 1",
		"SG." + made(1, 22, alnum) + "." + made(2, 43, alnum):                                                                                             "a SendGrid key on line 1",
		"sk-proj-" + made(1, 74, alnum) + "T3Blbk" + "FJ" + made(2, 74, alnum):                                                                            "an OpenAI key on line 1",
		"sk-ant-api03-" + made(1, 93, alnum+"-_") + "AA":                                                                                                  "an Anthropic key on line 1",
		"AccountKey=" + made(1, 86, base64s) + "==;EndpointSuffix=core.windows.net":                                                                       "an Azure storage key on line 1",
		"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\nAccountKey=" + made(1, 86, base64s) + "==": "an Azure storage key on line 2",
		"troy_" + made(1, 43, alnum+"-_"):                                                                                                                 "a token of Troy on line 1",

		// Texts that only resemble a secret.
		"":                            "",
		"-----BEGIN PRIVATE KEY-----": "",
		`return"-----BEGIN PRIVATE KEY-----\n"+e.replace(/(.{64})/g,"$1\n")+"\n-----END…"`: "",
		privateKey("PUBLIC KEY", "\n"):                                    "",
		privateKey("CERTIFICATE", "\n"):                                   "",
		"-----BEGIN PRIVATE KEY-----\nMIIEvQ…\n-----END PRIVATE KEY-----": "",
		"-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("x", 64):         "",
		"AKIAIOSFODNN7EXAMPLE":                                            "",
		"AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;":            "",
		"AccountEndpoint=https://localhost:8081/;AccountKey=C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==;": "",
		"AKIA" + strings.Repeat("X", 16): "",
		"?X-Amz-Credential=ASIA" + made(1, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") + "%2F20260131%2F": "",
		"QUtJQQAKIA" + made(1, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):                                "",
		"ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx":                                                    "",
		"ghp_YOUR_TOKEN": "",
		"startsWith('ghp_')||startsWith('github_pat_')": "",
		"sk_test_" + made(1, 24, alnum):                 "",
		"pk_live_" + made(1, 24, alnum):                 "",
		"AIza" + made(1, 35, alnum):                     "",
		"npm_config_registry_and_other_words_of_it_all": "",
		"sk-spinner-" + made(1, 30, smallLetters):       "",
		"var SG.prototype":                              "",
		made(1, 1<<16, base64s):                         "",
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text))} {
			if len(text) > 1<<12 && name != "at once" {
				continue
			}
			got, err := FindLeak(r)
			if err != nil || got != want {
				t.Errorf("%.60q %s: %q, %v; want %q", text, name, got, err, want)
			}
		}
	}
}

// TestLeakAnywhere puts a secret at each offset around the ends of the
// scanner's buffer and of the writes.
func TestLeakAnywhere(t *testing.T) {
	t.Parallel()
	secret := "ghp_" + made(1, 36, alnum)
	for _, before := range []int{0, 1, leakWindow - 50, leakWindow - 1, leakWindow, leakWindow + 1, 32<<10 - 20, 32 << 10, 1<<20 - 3} {
		text := strings.Repeat("a\n", before/2) + strings.Repeat(" ", before%2) + secret + strings.Repeat(" b", 900)
		got, err := FindLeak(strings.NewReader(text))
		if want := fmt.Sprintf("a GitHub token on line %d", before/2+1); err != nil || got != want {
			t.Errorf("after %d bytes: %q, %v; want %q", before, got, err, want)
		}
		if got, err := FindLeak(strings.NewReader("x" + strings.ReplaceAll(text, "\n", "g") + secret + "1")); err != nil || got != "" {
			if before%2 == 0 && before > 0 {
				t.Errorf("inside a word, after %d bytes: %q, %v", before, got, err)
			}
		}
	}
}

// TestLeakAtEachPosition compares a scan, which stops only at anchors, with a
// look at each position, in texts of parts of secrets.
func TestLeakAtEachPosition(t *testing.T) {
	t.Parallel()
	var prefixes []leakPrefix
	parts := []string{"a", " ", "\n", "-", "_", ".", "A", "--", "AK", made(1, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), made(2, 36, alnum), made(3, 70, alnum)}
	for _, f := range secretForms() {
		for _, text := range f.prefixes {
			if strings.IndexAny(text, leakAnchors) == 1 {
				t.Fatalf("the anchor of %q has only one byte before it", text)
			}
			prefixes = append(prefixes, leakPrefix{text: text, form: &f})
			parts = append(parts, text, text[:len(text)-1])
		}
	}
	naive := func(b []byte) string {
		for i := range b {
			for _, p := range prefixes {
				if p.match(b, i) {
					return fmt.Sprintf("%s on line %d", p.form.kind, bytes.Count(b[:i], []byte("\n"))+1)
				}
			}
		}
		return ""
	}
	random, found := rand.New(rand.NewSource(1)), 0
	for range 20_000 {
		var b []byte
		for range 1 + random.Intn(8) {
			b = append(b, parts[random.Intn(len(parts))]...)
		}
		want := naive(b)
		if got := leakIn(b); got != want {
			t.Fatalf("%q: %q, want %q", b, got, want)
		}
		if want != "" {
			found++
		}
	}
	if found < 500 {
		t.Errorf("only %d texts have a secret", found)
	}
}

func TestLeakScannerHoldsLittle(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"-----BEGIN PRIVATE KEY-----\n", "ghp_", "AccountKey=", "a"} {
		s := leakScanner{}
		chunk := bytes.Repeat([]byte(text), 32<<10/len(text))
		for range 64 {
			_, _ = s.Write(chunk)
		}
		if got := s.end(); got != "" || cap(s.held) > 128<<10 {
			t.Errorf("%q: %q, and %d bytes are held", text, got, cap(s.held))
		}
	}
}

func TestNamedLeak(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		".env", ".env.production", "config/prod.env", "a/.ENV", ".npmrc", ".htpasswd", "sub/id_rsa", "cert.p12", "Keys.KDBX", "terraform.tfstate", ".netrc", ".bash_history", ".git-credentials", "wp-config.php",
	} {
		if NamedLeak(p) == "" {
			t.Errorf("%s is not a secret", p)
		}
	}
	for _, p := range []string{
		".env.example", ".env.sample", "env", "environment.html", "talk.key", "site.pem", "id_rsa.pub", "npmrc.html", ".well-known/security.txt", "keys.json", ".htaccess", "env.js", "index.html",
	} {
		if reason := NamedLeak(p); reason != "" {
			t.Errorf("%s is %s", p, reason)
		}
	}
}

func TestSourceFindsLeaks(t *testing.T) {
	t.Parallel()
	token := "const t = 'ghp_" + made(1, 36, alnum) + "'"
	content := map[string]string{
		"index.html": "<h1>", ".env": "A=1", "a/app.js": "\n" + token, "a/allowed.js": token, "b/.npmrc": "x", "b/old.env": "x",
		"node_modules/x/.env": "x", "node_modules/x/index.js": token, ".git/config": token, ".github/x.js": token, "ignored/k.js": token,
		IgnoreFile: "/ignored/\nb/old.env\n",
	}
	dir := t.TempDir()
	writeFiles(t, dir, content)
	var entries []entry
	for name, text := range content {
		entries = append(entries, plainEntry(name, text))
	}
	for name, source := range map[string]string{"folder": dir, "zip": zipFile(t, makeZip(t, entries...)), "tar": tarFile(t, tarOf(content))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSource(t, source, Limits{}, LeavingOut(), FindingLeaks("./a/allowed.js", "b/.npmrc"))
			wantFiles(t, s, map[string]string{"index.html": "<h1>", "a/app.js": content["a/app.js"], "a/allowed.js": token, "b/.npmrc": "x"})
			want := []Leak{{".env", "a file of environment variables, by its name"}, {"a/app.js", "a GitHub token on line 2"}}
			if !slices.Equal(s.Leaks, want) {
				t.Errorf("leaks are %q, want %q", s.Leaks, want)
			}
			left := slices.Sorted(slices.Values(s.LeftOut))
			if want := []string{".github/", IgnoreFile, "b/old.env", "ignored/", "node_modules/"}; !slices.Equal(left, want) || s.Omitted != len(want) {
				t.Errorf("left out are %q, %d; want %q", left, s.Omitted, want)
			}
		})
	}
	s := openSource(t, dir, Limits{})
	if len(s.Files) != len(content)-1 || len(s.Leaks)+len(s.LeftOut) > 0 {
		t.Errorf("without options it left out %q and found %q in %d files", s.LeftOut, s.Leaks, len(s.Files))
	}
}

func TestLeavingOut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rules string
		want  []string
	}{
		"by default":  {"", []string{".well-known/security.txt", "a/b.map", "a/index.html", "index.html"}},
		"taken in":    {"!.hidden\n!node_modules/\n!.htaccess", []string{".hidden/x", ".htaccess", ".well-known/security.txt", "a/b.map", "a/index.html", "index.html", "node_modules/m.js"}},
		"a pattern":   {"# maps\r\n*.map\r\n\r\n", []string{".well-known/security.txt", "a/index.html", "index.html"}},
		"all but one": {"/*\n!/index.html", []string{"index.html"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{
				"index.html": "i", "a/index.html": "i", "a/b.map": "m", ".well-known/security.txt": "s", ".hidden/x": "x", ".htaccess": "x",
				"node_modules/m.js": "m", "a/Thumbs.db": "x", IgnoreFile: test.rules,
			})
			var got []string
			for _, f := range openSource(t, dir, Limits{}, LeavingOut()).Files {
				got = append(got, f.Path)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("files are %q, want %q", got, test.want)
			}
		})
	}
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"index.html": "i", "a.lock": "l", "b.lock": "l", IgnoreFile: "!/b.lock"})
	if s := openSource(t, dir, Limits{}, LeavingOut("/*.lock")); len(s.Files) != 2 || s.Files[0].Path != "b.lock" {
		t.Errorf("with a rule of the caller's, which %s changes, the files are %v", IgnoreFile, s.Files)
	}
	writeFiles(t, dir, map[string]string{"index.html": "i", IgnoreFile: "*"})
	if _, err := OpenSource(t.Context(), dir, Limits{}, LeavingOut()); troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), "every file is left out") {
		t.Errorf("with everything left out: %v", err)
	}
	writeFiles(t, dir, map[string]string{IgnoreFile: strings.Repeat("#", maxIgnoreFile+1)})
	if _, err := OpenSource(t.Context(), dir, Limits{}, LeavingOut()); troy.KindOf(err) != troy.TooLarge || !strings.Contains(err.Error(), IgnoreFile) {
		t.Errorf("with a large file of rules: %v", err)
	}
}

// TestRulesAreThoseOfGit compares the rules with git.
func TestRulesAreThoseOfGit(t *testing.T) {
	t.Parallel()
	files := strings.Fields("a.txt b/a.txt b/c/d.log logs/x.log logs/keep.log foo foo.bar/x f/bar/baz/q a/b/c/x.map x.map build/out.js src/build/out.js " +
		"doc/frotz/a frotz/b A.TXT #hash !bang tmp/a tmp/b/c abc/def/x abc/x/y/def abcdef a?c data/1.csv data/sub/2.csv f/keep/k f/z")
	dir := t.TempDir()
	content := map[string]string{}
	for _, name := range files {
		content[name] = "x"
	}
	writeFiles(t, dir, content)
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %s: %v", args, err)
		}
		return string(out)
	}
	git("init", "-q")
	for _, rules := range []string{
		"*.log", "*.log\n!keep.log", "logs/\n!logs/keep.log", "/foo", "foo/", "**/build", "build/", "/build", "doc/frotz", "doc/frotz/", "**/frotz",
		"abc/**/def", "abc/**", "a/**/x.map", "!x.map\n*.map", "*.map\n!/x.map", "b/*", "b/*\n!b/c", "b/**/*.log", "\\#hash", "#hash", "\\!bang",
		"a.txt  ", "a?c", "[ab].txt", "[!a].txt", "[^a].txt", "*", "*\n!*.txt", "*\n!*/\n!*.txt", "/*\n!/foo", "data/*.csv", "data/**/*.csv", "tmp", "/tmp/",
		"**/tmp/**", "*/a.txt", "/*/a.txt", "**/a.txt", "foo*", "b/c/", "./a.txt", "**", "f/**\n!f/keep/", "f/**\n!f/keep\n!f/keep/k", "*.LOG",
	} {
		writeFiles(t, dir, map[string]string{".git/info/exclude": rules + "\n"})
		want := strings.FieldsFunc(git("ls-files", "-z", "--others", "--exclude-standard"), func(r rune) bool { return r == 0 })
		part := &sieve{leaveOut: true, rules: parseRules(rules)}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		list, err := newFolder(root).list(t.Context(), DefaultLimits(), part)
		if err = errorsOf(err, root.Close()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range list {
			got = append(got, f.Path)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q remain, expected %q as with git", rules, got, want)
		}
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestNoFalseAlarms scans the folder of published programs in TROY_TEST_SCAN,
// if it is set.
func TestNoFalseAlarms(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("TROY_TEST_SCAN")
	if dir == "" {
		t.Skip("TROY_TEST_SCAN is not set to a folder to scan")
	}
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		leak, err := FindLeak(f)
		if leak != "" {
			t.Errorf("%s: %s", name, leak)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkFindLeak(b *testing.B) {
	text := []byte(strings.Repeat(`function f(a,b){return a.style.setProperty("--x",b),this.skew+AK(SG.x)};`, 1<<14))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s := leakScanner{}
		_, _ = io.Copy(&s, struct{ io.Reader }{bytes.NewReader(text)})
		if s.end() != "" {
			b.Fatal("something was found")
		}
	}
}
