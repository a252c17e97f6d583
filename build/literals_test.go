package build

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadLiterals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		source string
		want   literals
	}{
		"a module": {`import x from "y"
			// outDir: 'no'
			export default defineConfig({ /* outDir: 'no' */ outDir: './www', "site": 'https://a.example', build: { format: "file", } })`,
			literals{"outDir": "./www", "site": "https://a.example", "build.format": "file"}},
		"CommonJS":             {"module.exports = {\n  output: 'export',\n  images: { unoptimized: true }\n}\n", literals{"output": "export", "images.unoptimized": "true"}},
		"a variable":           {"/** @type {import('next').NextConfig} */\nconst config: NextConfig = { output: 'export', distDir: `web` }\nexport default config;", literals{"output": "export", "distDir": "web"}},
		"wrappers":             {`module.exports = withA({ enabled: false })(withB({ output: 'export' }))`, literals{"enabled": "false", "output": "export"}},
		"a function":           {"module.exports = function (c) {\n  c.setOutputDirectory('www')\n  c.addFilter('a', () => ({ dir: { output: 'no' } }))\n  return { dir: { input: 'src', output: 'out' } }\n}", literals{"setOutputDirectory()": "www", "addFilter()": "a", "dir.input": "src", "dir.output": "out"}},
		"an arrow":             {`export default defineConfig(({ mode }) => ({ build: { outDir: 'www' } }))`, literals{"build.outDir": "www"}},
		"calls as values":      {`export default { kit: { adapter: adapter({ pages: 'www', fallback: '200.html' }), prerender: {} } }`, literals{"kit.adapter.pages": "www", "kit.adapter.fallback": "200.html"}},
		"calls in arrays":      {`export default { plugins: [a(), start({ prerender: { enabled: true } }), b({ outDir: 'x' })] }`, literals{"plugins.start().prerender.enabled": "true", "plugins.b().outDir": "x"}},
		"expressions":          {`export default { outDir: process.env.OUT, base: x ? 'a' : 'b', dest: 'a' + b, dist: path.join('a'), url: ` + "`a${b}`" + ` }`, literals{"outDir": "", "base": "", "dest": "", "dist": "", "url": ""}},
		"conditions":           {`export default { ...(dev && { outDir: 'no' }), outDir: 'yes' }`, literals{"outDir": "yes"}},
		"functions in objects": {`export default { webpack(c) { return { output: 'no' } }, f: () => ({ output: 'no' }), g: function () { return { output: 'no' } }, output: 'yes' }`, literals{"output": "yes"}},
		"given twice":          {`const a = { output: 'x' }; const b = { output: 'y' }`, literals{"output": ""}},
		"regular expressions":  {`export default { test: /["'{]/, outDir: 'www' }`, literals{"outDir": "www"}},
		"without commas":       {"a = {\n  outDir: 'www'\n  + x\n}", literals{}},
		"not closed":           {"a = { b: 'c", literals{}},
		"deep":                 {strings.Repeat("[", 1<<16) + "{a: 'b'}", literals{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := readLiterals(test.source)
			for key, value := range got {
				if value == "" && test.want[key] != "" {
					t.Errorf("%s is unknown", key)
				}
				if _, wanted := test.want[key]; !wanted && value == "" {
					delete(got, key) // unknown is as good as missing
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Fatalf("the literals (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzReadLiterals checks that any script is read to its end.
func FuzzReadLiterals(f *testing.F) {
	for _, seed := range []string{"", "a = { b: 'c' }", "/*", "`${", "/[/", "{[(", "a: /x/"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, source string) { readLiterals(source) })
}
