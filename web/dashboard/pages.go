package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

//go:embed templates static
var files embed.FS

// file is one of static.
type file struct {
	// version is its digest, which is in its address, so that a browser may
	// keep the file as long as it likes.
	version      string
	text, zipped []byte
}

// statics are the files of static, by name.
var statics = sync.OnceValue(func() map[string]file {
	out := map[string]file{}
	names, err := fs.Glob(files, "static/*")
	if err != nil {
		panic(err) // the pattern is this one
	}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(text)
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		_, err = w.Write(text)
		if err = errors.Join(err, w.Close()); err != nil {
			panic(err) // a buffer takes all
		}
		out[path.Base(name)] = file{hex.EncodeToString(sum[:6]), text, zipped.Bytes()}
	}
	return out
})

func static(name string) string { return "/static/" + name + "?v=" + statics()[name].version }

func serveStatic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	f, known := statics()[name]
	if !known {
		http.NotFound(w, r)
		return
	}
	reply.Limit(w)
	if r.URL.Query().Get("v") == f.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Vary", "Accept-Encoding")
	text := f.text
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		text = f.zipped
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(text))
}

func parse() (*template.Template, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"static": static, "age": func(t time.Time) string { return age(time.Since(t)) }, "until": func(t time.Time) string { return until(time.Until(t)) }, "stamp": stamp, "machine": machine, "size": troy.Size, "provider": credentials.CIProviderName, "count": count, "short": short, "sentence": sentence,
		"browser": troy.BrowserName, "value": func(s troy.Status) string { return string(s) }, "list": func(all ...any) []any { return all },
		"deletion": func(p queries.Pipeline, a actionsView) nowView { return nowView{Pipeline: p, Actions: a} },
		"work":     workName, "day": func(t time.Time) string { return t.UTC().Format("2 January 2006") },
	}).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the pages: %w", err)
	}
	return t, nil
}

// frame is what every page has.
type frame struct {
	Title string
	Host  string // Troy's own
	Path  string
	Who   credentials.Holder
	Bare  bool // without the navigation, before signing in
}

func (d *Dashboard) frame(v *visit, title string) frame {
	return frame{Title: title, Host: d.cfg.Host, Path: v.r.URL.Path, Who: v.who, Bare: v.who.Name == ""}
}

// render makes a page or a part of one.
func (d *Dashboard) render(name string, view any) ([]byte, error) {
	var page bytes.Buffer
	if err := d.templates.ExecuteTemplate(&page, name, view); err != nil {
		return nil, fmt.Errorf("write the page %s: %w", name, err)
	}
	return page.Bytes(), nil
}

// show answers with a page.
func (d *Dashboard) show(v *visit, status int, name string, view any) error {
	page, err := d.render(name, view)
	if err != nil {
		return err
	}
	reply.Limit(v.w)
	v.w.Header().Set("Content-Security-Policy", policy)
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	// The only error left is a reader who is gone.
	_, _ = v.w.Write(page)
	return nil
}
