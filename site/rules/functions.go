package rules

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/troy-iaas/troy/site"
)

// The limits of rules on CloudFront, whose functions read them from values of
// 1 KB.
const (
	// maxFunctionRules is the maximum number of redirects that a function
	// evaluates.
	maxFunctionRules = 100
	// MaxProgram is the maximum size of a program in bytes.
	MaxProgram = 11_000
	// maxObjects is the maximum number of redirects that are objects.
	maxObjects = 10_000
	// MaxKeys is the maximum number of objects of a tree whose existence a
	// function can look up.
	MaxKeys = 3_000
)

// FunctionPlan is how CloudFront's functions obey rules.
type FunctionPlan struct {
	// Objects are redirects of one path each, without conditions: empty objects
	// where the site has no file.
	Objects []RedirectObject
	// Program is what the viewer-request function interprets, as JSON in ASCII,
	// or nil.
	Program []byte
	// Keys means that the program asks which objects the tree has.
	Keys bool
	// FileNames means that pages answer to their file's name alone.
	FileNames bool
	omitted   []omission
}

// RedirectObject is a redirect in the form of an object.
type RedirectObject struct {
	Path string // decoded
	// Text is the status, 1 if a slash may follow the path, the path and the
	// target, both escaped, with spaces between them.
	Text string
}

// omission is a rule that the functions don't obey.
type omission struct {
	redirect *Redirect
	header   *HeaderRule
	why      string
}

// functionWhere is a Where in a function's form.
type functionWhere struct {
	Path    string `json:"p,omitempty"`
	Slash   int    `json:"l,omitempty"`
	Begin   string `json:"b,omitempty"` // the text at the start of a pattern
	Pattern string `json:"x,omitempty"` // a regular expression for what follows
	Host    string `json:"o,omitempty"`
}

type functionRedirect struct {
	functionWhere
	Query  [][]string `json:"q,omitempty"`
	To     []any      `json:"t"` // texts and numbers of values
	Status int        `json:"s"`
	Force  bool       `json:"f,omitempty"`
}

type functionHeaders struct {
	functionWhere
	Origins []string `json:"a,omitempty"`
	Values  [][]any  `json:"v,omitempty"`
}

type functionProgram struct {
	Redirects []functionRedirect `json:"r,omitempty"`
	Headers   []functionHeaders  `json:"h,omitempty"`
	SPA       bool               `json:"spa,omitempty"`
	NotFound  string             `json:"m,omitempty"`
	CleanURLs *int               `json:"c,omitempty"`
}

// Functions returns how CloudFront's functions obey the rules for a tree with
// these files and this number of objects.
func (r Rules) Functions(files site.Paths, keys int) (FunctionPlan, error) {
	m, err := New(r)
	if err != nil {
		return FunctionPlan{}, err
	}
	b := planBuilder{m: m, rules: r, files: files, where: make([]byte, len(r.Redirects))}
	b.sort()
	b.objects()
	if keys+len(b.plan.Objects) > MaxKeys {
		b.keysUnknown = true
	}
	b.redirects()
	b.headers()
	b.site()
	b.plan.Program, err = b.encode()
	return b.plan, err
}

type planBuilder struct {
	m           *Matcher
	rules       Rules
	files       site.Paths
	where       []byte // of each redirect: asObject, inFunction or nowhere
	plan        FunctionPlan
	program     functionProgram
	size        int
	keysUnknown bool
}

const (
	nowhere byte = iota
	asObject
	inFunction
)

func (b *planBuilder) omit(o omission) { b.plan.omitted = append(b.plan.omitted, o) }

// simple reports whether a redirect can be an object.
func simple(r *Redirect) bool {
	to, fixed := static(r.To)
	path, _, _ := cutTarget(to)
	return fixed && r.Pattern == nil && r.Host == "" && len(r.Query) == 0 && !r.Force && redirects(r.Status) &&
		!strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c > '~' }) && len(to)+3*len(r.Path) < 1_800 && len(r.Path) < 800 &&
		plainPath(r.Path) && (isAbsolute(to) || !samePath(path, r.Path))
}

// plainPath reports whether a path can be a key, and its object's only path.
func plainPath(p string) bool {
	last := p[strings.LastIndexByte(p, '/')+1:]
	return site.CheckPath(strings.Trim(p, "/")+"x") == nil && !strings.Contains(p, "//") && last != "index.html"
}

// FunctionKey returns the key below its tree that the viewer-request function
// requests for a decoded path.
func FunctionKey(path string) string {
	key := strings.TrimPrefix(path, "/")
	last := key[strings.LastIndexByte(key, '/')+1:]
	switch {
	case last == "":
		return key + "index.html"
	case !strings.Contains(last, "."):
		return key + "/index.html"
	}
	return key
}

// addresses returns the paths that a rule without a pattern matches.
func (w *Where) addresses() []string {
	if w.Slash && w.Path != "/" {
		return []string{w.Path, w.Path + "/"}
	}
	return []string{w.Path}
}

// below reports whether a path's key would be in a folder that is a file or
// another object, which some stores can't hold.
func (b *planBuilder) below(path string, objects map[string]string) bool {
	key := FunctionKey(path)
	for i := range len(key) {
		if key[i] != '/' {
			continue
		}
		_, object := objects[key[:i]]
		_, file := b.files.Find(key[:i], "")
		if object || file && strings.Contains(key[strings.LastIndexByte(key[:i], '/')+1:i], ".") {
			return true
		}
	}
	return false
}

// sort decides which redirects become objects. An object answers before each
// rule of the function that has no Force, so a redirect can't be one where such
// a rule comes first.
func (b *planBuilder) sort() {
	all := b.rules.Redirects
	paths, first := map[string]string{}, map[string]int{} // by key and by path
	crowded := map[string]bool{}                          // paths that share a key
	for i := range all {
		if !simple(&all[i]) {
			b.where[i] = inFunction
			continue
		}
		key := FunctionKey(all[i].Path)
		if other, ok := paths[key]; ok && other != all[i].Path {
			crowded[key] = true
		}
		paths[key] = all[i].Path
		if _, again := first[all[i].Path]; !again {
			first[all[i].Path] = i
			b.where[i] = asObject
		}
	}
	var functions []int
	for i := range all {
		if b.where[i] == inFunction {
			functions = append(functions, i)
		}
	}
	functions = functions[:min(len(functions), maxFunctionRules)]
	for i := range all {
		if b.where[i] == asObject {
			key := FunctionKey(all[i].Path)
			b.where[i] = b.place(i, functions, crowded[key] || b.below(all[i].Path, paths))
		}
	}
}

// place returns where a simple redirect belongs, beside the functions' rules.
func (b *planBuilder) place(i int, functions []int, crowded bool) byte {
	r := &b.rules.Redirects[i]
	at := asObject
	if crowded {
		at = inFunction
	}
	hidden := 0
	addresses := r.addresses()
	for _, p := range addresses {
		for _, j := range functions {
			f := &b.rules.Redirects[j]
			conditional := f.Host != "" || len(f.Query) > 0
			if !b.matches(j, p) {
				continue
			}
			if j < i && !conditional {
				hidden++
				break
			}
			if (j < i) != f.Force {
				at = inFunction
			}
		}
	}
	switch hidden {
	case 0:
		return at
	case len(addresses):
		return nowhere // an earlier rule always counts
	}
	return inFunction
}

func (b *planBuilder) matches(i int, path string) bool {
	if p := b.m.patterns[i]; p != nil {
		_, ok := p.match(path, nil)
		return ok
	}
	return b.rules.Redirects[i].Matches(path)
}

func (b *planBuilder) objects() {
	n := 0
	for i := range b.rules.Redirects {
		r := &b.rules.Redirects[i]
		if b.where[i] != asObject {
			continue
		}
		if n++; n > maxObjects {
			b.omit(omission{redirect: r, why: fmt.Sprintf("on AWS at most %d redirects of one path count", maxObjects)})
			continue
		}
		to, _ := static(r.To)
		slash := 0
		if r.Slash {
			slash = 1
		}
		text := fmt.Sprintf("%d %d %s %s", r.Status, slash, (&url.URL{Path: r.Path}).EscapedPath(), to)
		// The path with a slash has the same key, unless it has a dot.
		b.plan.Objects = append(b.plan.Objects, RedirectObject{r.Path, text})
	}
}

func (b *planBuilder) redirects() {
	for i := range b.rules.Redirects {
		r := &b.rules.Redirects[i]
		if b.where[i] != inFunction {
			continue
		}
		switch {
		case len(b.program.Redirects) >= maxFunctionRules:
			b.omit(omission{redirect: r, why: fmt.Sprintf("on AWS at most %d rules with placeholders, conditions, ! or a status other than 3xx count", maxFunctionRules)})
		case b.keysUnknown && !r.Force:
			b.omit(omission{redirect: r, why: fmt.Sprintf("on AWS this rule needs ! if a site has more than %d pages and files", MaxKeys)})
		default:
			w, names := b.m.where(r.Where, b.m.patterns[i])
			f := functionRedirect{functionWhere: w, Status: r.Status, Force: r.Force}
			for _, q := range r.Query {
				if q.As != "" {
					names = append(names, q.As)
					f.Query = append(f.Query, []string{q.Name})
				} else {
					f.Query = append(f.Query, []string{q.Name, q.Value})
				}
			}
			f.To = functionParts(r.To, names)
			if !b.fits(f) {
				b.omit(omission{redirect: r, why: tooLarge})
				continue
			}
			b.plan.Keys = b.plan.Keys || !b.keysUnknown
			b.program.Redirects = append(b.program.Redirects, f)
		}
	}
}

const tooLarge = "on AWS the rules with placeholders, conditions and headers have no room for this one"

// fits reports whether a rule has room in the program, and takes it.
func (b *planBuilder) fits(rule any) bool {
	text, err := ascii(rule)
	if err != nil || b.size+len(text)+1 > MaxProgram {
		return false
	}
	b.size += len(text) + 1
	return true
}

// where returns a function's form of a condition, and the names of its values.
func (m *Matcher) where(w Where, p *pattern) (functionWhere, []string) {
	out := functionWhere{Path: w.Path, Host: w.Host}
	if p == nil {
		if w.Slash {
			out.Slash = 1
		}
		return out, nil
	}
	var x strings.Builder
	var names []string
	for i, part := range w.Pattern {
		switch {
		case i == 0 && part.Text != "":
			out.Begin = part.Text
		case part.Text != "":
			x.WriteString(regexp.QuoteMeta(part.Text))
		case part.One != "":
			x.WriteString(`([^/]+)`)
		case part.Any != "":
			x.WriteString(`([\s\S]*)`)
		default:
			x.WriteString(`(?:/([\s\S]*))?`)
		}
		if name := part.One + part.Any + part.Rest; name != "" {
			names = append(names, name)
		}
	}
	if w.Slash {
		x.WriteString(`/?`)
	}
	out.Pattern = x.String()
	return out, names
}

// functionParts replaces values by their numbers.
func functionParts(parts []Part, names []string) []any {
	all := []any{}
	for _, p := range parts {
		if p.Value == "" {
			all = append(all, p.Text)
		} else if i := slices.Index(names, p.Value); i >= 0 {
			all = append(all, i)
		}
	}
	return all
}

// fixedHeaders are headers that a viewer-response function can't set
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/edge-function-restrictions-all.html).
// It has a form of its own for cookies.
var fixedHeaders = regexp.MustCompile(`(?i)^(set-cookie|content-encoding|content-length|transfer-encoding|via|warning|x-accel-.*|x-amz-cf-.*|x-edge-.*|x-real-ip)$`)

func (b *planBuilder) headers() {
	for i := range b.rules.Headers {
		r := &b.rules.Headers[i]
		w, names := b.m.where(r.Where, b.m.headers.patterns[i])
		f := functionHeaders{functionWhere: w, Origins: r.Origins}
		for _, op := range r.Headers {
			if fixedHeaders.MatchString(op.Name) {
				b.omit(omission{header: r, why: "on AWS a rule can't change the header " + op.Name})
				continue
			}
			f.Values = append(f.Values, append([]any{op.Op, strings.ToLower(op.Name)}, functionParts(op.Value, names)...))
		}
		if len(f.Values) == 0 && f.Origins == nil {
			continue
		}
		if !b.fits(f) {
			b.omit(omission{header: r, why: tooLarge})
			continue
		}
		b.program.Headers = append(b.program.Headers, f)
	}
}

func (b *planBuilder) site() {
	s := b.rules.Site
	if c := s.CleanURLs; c != nil {
		n := 0
		if *c {
			n = 1
		}
		b.program.CleanURLs, b.plan.FileNames = &n, !*c
	}
	if !s.SPA && s.NotFound == "" {
		return
	}
	if b.keysUnknown {
		b.omit(omission{why: fmt.Sprintf("on AWS spa and not_found have no effect on a site with more than %d pages and files", MaxKeys)})
		return
	}
	b.plan.Keys, b.program.SPA, b.program.NotFound = true, s.SPA, s.NotFound
}

func (b *planBuilder) encode() ([]byte, error) {
	p := b.program
	if p.Redirects == nil && p.Headers == nil && !p.SPA && p.NotFound == "" && p.CleanURLs == nil {
		return nil, nil
	}
	return ascii(p)
}

// ascii encodes JSON without other characters than ASCII.
func ascii(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the rules for CloudFront: %w", err)
	}
	out := make([]byte, 0, len(text))
	for _, c := range string(text) {
		if c < 0x80 {
			out = append(out, byte(c))
			continue
		}
		for _, unit := range utf16.Encode([]rune{c}) {
			out = append(out, `\u`...)
			hex := strconv.FormatUint(uint64(unit), 16)
			out = append(append(out, "0000"[len(hex):]...), hex...)
		}
	}
	return out, nil
}

// lintFunctions reports the rules that CloudFront's functions don't obey.
func (c *compiler) lintFunctions(paths site.Paths, keys int) {
	plan, err := c.rules.Functions(paths, keys)
	if err != nil {
		c.error(position{}, CodeSyntax, "%s", err)
		return
	}
	for _, o := range plan.omitted {
		switch {
		case o.redirect != nil:
			c.warn(o.redirect.at, CodeNotObeyed, "%s", o.why)
		case o.header != nil:
			c.warn(o.header.at, CodeNotObeyed, "%s", o.why)
		case c.rules.Site.SPA:
			c.warn(c.spaAt, CodeNotObeyed, "%s", o.why)
		default:
			c.warn(c.notFoundAt, CodeNotObeyed, "%s", o.why)
		}
	}
}
