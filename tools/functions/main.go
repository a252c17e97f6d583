// Functions shortens the code of CloudFront's functions, of which CloudFront
// accepts 10 KB. For each NAME.js with a handler in a folder it writes
// NAME.min.js there. A line `//#include NAME.js` stands for another file's code.
// `make generate` runs it.
//
// It only removes comments, white space and functions that nothing calls, and
// shortens names. It does not change the code's structure: CloudFront's engine
// does not know all syntax.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: functions FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(folder string) error {
	names, err := filepath.Glob(filepath.Join(folder, "*.js"))
	if err != nil {
		return err
	}
	for _, name := range names {
		base := strings.TrimSuffix(name, ".js")
		if strings.HasSuffix(base, ".min") {
			continue
		}
		code, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		whole, err := include(folder, string(code))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !strings.Contains(whole, "function handler(") {
			continue
		}
		short, err := shorten(whole)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(base+".min.js", []byte(short), 0o644); err != nil {
			return err
		}
	}
	return nil
}

var included = regexp.MustCompile(`(?m)^//#include (\w+\.js)$`)

// include puts the code of other files in the place of the lines that name them.
func include(folder, code string) (whole string, err error) {
	whole = included.ReplaceAllStringFunc(code, func(line string) string {
		other, failed := os.ReadFile(filepath.Join(folder, included.FindStringSubmatch(line)[1]))
		if failed != nil {
			err = failed
		}
		return string(other)
	})
	return whole, err
}

var exported = regexp.MustCompile(`export\{(\w+) as handler\};`)

// shorten returns code with its handler, whose name CloudFront knows, under
// that name.
func shorten(code string) (string, error) {
	out := api.Transform(code+"\nexport { handler };\n", api.TransformOptions{
		Format: api.FormatESModule, Target: api.ES2021, MinifyWhitespace: true, MinifyIdentifiers: true, TreeShaking: api.TreeShakingTrue, LegalComments: api.LegalCommentsNone,
	})
	if len(out.Errors) > 0 {
		return "", fmt.Errorf("%s", out.Errors[0].Text)
	}
	text := string(out.Code)
	if !exported.MatchString(text) {
		return "", fmt.Errorf("no function handler in %.100s", text)
	}
	return exported.ReplaceAllString(text, "function handler(e){return $1(e)}"), nil
}
