package web

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/troy-iaas/troy/web/reply"
)

// docsView is what /docs shows of the API's document.
type docsView struct {
	frame
	Summary string
	Intro   []prose
	Access  []docsField
	Tags    []docsTag
	Objects []docsObject
	Errors  []docsError
}

type docsTag struct {
	Name        string
	Description prose
	Operations  []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Role, Access string
	Description                             []prose
	Parameters, Body                        []docsField
	BodyType                                *docsType
	BodyMedia                               string
	BodyNote                                prose
	Answers                                 []docsAnswer
}

type docsAnswer struct {
	Status      string
	Description prose
	Media       string
	Type        *docsType
	Fields      []docsField
}

// docsField is a parameter or a member of an object.
type docsField struct {
	Name, In    string
	Type        docsType
	Required    bool
	Description prose
}

// docsType is a schema in words. Ref names an object of the page.
type docsType struct {
	List bool
	Ref  string
	Text string
	More string // after it
}

type docsObject struct {
	Name        string
	Description prose
	Type        docsType
	Fields      []docsField
}

type docsError struct {
	Code   string
	Status int
	Title  string
	Advice prose
}

// prose is text in which backticks enclose code.
type prose string

type span struct {
	Text string
	Code bool
}

// Spans splits the text at its backticks.
func (p prose) Spans() []span {
	var spans []span
	for i, text := range strings.Split(string(p), "`") {
		spans = append(spans, span{text, i%2 == 1})
	}
	return spans
}

// paragraphs splits the text at its empty lines.
func (p prose) paragraphs() []prose {
	var out []prose
	for text := range strings.SplitSeq(strings.TrimSpace(string(p)), "\n\n") {
		if text != "" {
			out = append(out, prose(text))
		}
	}
	return out
}

// apiRoutes adds the document and its page.
func (s *server) apiRoutes(e *gin.Engine) error {
	document, err := openAPIJSON()
	if err != nil {
		return err
	}
	page, policy, err := s.pages.docs(document)
	if err != nil {
		return err
	}
	for route, h := range map[string]gin.HandlerFunc{
		"/openapi.json": s.fixed("application/json; charset=utf-8", "", document),
		"/troy.d.ts":    s.fixed("text/plain; charset=utf-8", "", typeScript),
		"/docs":         s.fixed("text/html; charset=utf-8", policy, page),
	} {
		e.Match([]string{http.MethodGet, http.MethodHead}, route, h)
	}
	return nil
}

// docs renders the page of the API's document, and its content security policy.
func (p *pages) docs(document []byte) (page []byte, policy string, err error) {
	var d apiDocument
	if err := jsonv2.Unmarshal(document, &d); err != nil {
		return nil, "", fmt.Errorf("read the document of the API: %w", err)
	}
	more, err := pageFiles.ReadFile("templates/docs.css")
	if err != nil {
		return nil, "", fmt.Errorf("read the style of the API's page: %w", err)
	}
	view := d.view()
	view.frame = p.frame
	view.Style += template.CSS(more) //nolint:gosec // it is this repository's own
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, "docs.html", view); err != nil {
		return nil, "", fmt.Errorf("write the page of the API: %w", err)
	}
	digest := sha256.Sum256([]byte(view.Style))
	policy = fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
		base64.StdEncoding.EncodeToString(digest[:]))
	return b.Bytes(), policy, nil
}

func (d *apiDocument) view() docsView {
	v := docsView{Summary: d.Info.Summary, Intro: d.Info.Description.paragraphs()}
	for _, t := range d.Tags {
		tag := docsTag{Name: t.Name, Description: t.Description}
		for _, p := range d.Paths {
			for _, o := range p.Value.operations() {
				if slices.Contains(o.Value.Tags, t.Name) {
					tag.Operations = append(tag.Operations, d.operation(p.Name, p.Value, o.Name, o.Value))
				}
			}
		}
		v.Tags = append(v.Tags, tag)
	}
	for _, s := range d.Components.Schemas {
		object := docsObject{Name: s.Name, Description: s.Value.Description, Fields: s.Value.fields("")}
		if len(object.Fields) == 0 {
			object.Type = s.Value.view()
		}
		v.Objects = append(v.Objects, object)
	}
	for _, c := range reply.Classes() {
		v.Errors = append(v.Errors, docsError{string(c.Kind), c.Status, c.Title, prose(c.Advice)})
	}
	return v
}

func (p apiPath) operations() []named[*apiOperation] {
	all := []named[*apiOperation]{{"GET", p.Get}, {"POST", p.Post}, {"PUT", p.Put}, {"PATCH", p.Patch}, {"DELETE", p.Delete}}
	return slices.DeleteFunc(all, func(o named[*apiOperation]) bool { return o.Value == nil })
}

func (d *apiDocument) operation(where string, p apiPath, method string, o *apiOperation) docsOperation {
	v := docsOperation{ID: o.ID, Method: method, Path: where, Summary: o.Summary, Role: o.Role, Description: o.Description.paragraphs(), Access: d.access(o)}
	for _, param := range slices.Concat(p.Parameters, o.Parameters) {
		if param.Ref != "" {
			param = d.Components.Parameters[path.Base(param.Ref)]
		}
		v.Parameters = append(v.Parameters, docsField{
			Name: param.Name, In: param.In, Type: param.Schema.view(), Required: param.Required, Description: param.Description,
		})
	}
	if o.RequestBody != nil {
		body := *o.RequestBody
		if body.Ref != "" {
			body = d.Components.RequestBodies[path.Base(body.Ref)]
		}
		v.BodyNote = body.Description
		if v.BodyNote == "" && !body.Required {
			v.BodyNote = "The body may be absent."
		}
		v.BodyMedia, v.BodyType, v.Body = content(body.Content)
	}
	for _, r := range o.Responses {
		v.Answers = append(v.Answers, d.answer(r.Name, r.Value))
	}
	return v
}

// access says what a request needs in place of a token.
func (d *apiDocument) access(o *apiOperation) string {
	switch {
	case o.Security == nil:
		return ""
	case len(o.Security) == 0:
		return "no token"
	}
	for name := range o.Security[0] {
		return "signature in " + d.Components.SecuritySchemes[name].Name
	}
	return ""
}

func (d *apiDocument) answer(status string, r apiResponse) docsAnswer {
	if r.Ref != "" {
		r = d.Components.Responses[path.Base(r.Ref)]
	}
	v := docsAnswer{Status: status, Description: r.Description}
	if status == "default" {
		v.Status = "other"
	}
	v.Media, v.Type, v.Fields = content(r.Content)
	return v
}

// content describes a body: its media types, and its schema by its name or by
// its members.
func content(c ordered[apiMedia]) (media string, t *docsType, fields []docsField) {
	var types []string
	for _, m := range c {
		types = append(types, m.Name)
	}
	if len(c) == 0 {
		return "", nil, nil
	}
	media = strings.Join(types, ", ")
	schema := c[0].Value.Schema
	if fields = schema.fields(""); len(fields) > 0 {
		return media, nil, fields
	}
	if schema.Ref == "" {
		return media, nil, nil
	}
	view := schema.view()
	return media, &view, nil
}

// fields lists the members of an object, and those of its objects by dotted
// names.
func (s apiSchema) fields(prefix string) []docsField {
	var out []docsField
	for _, p := range s.Properties {
		name := prefix + p.Name
		out = append(out, docsField{Name: name, Type: p.Value.view(), Required: slices.Contains(s.Required, p.Name), Description: p.Value.Description})
		out = append(out, p.Value.fields(name+".")...)
		if p.Value.Items != nil {
			out = append(out, p.Value.Items.fields(name+"[].")...)
		}
	}
	return out
}

func (s apiSchema) view() docsType {
	var t docsType
	var more []string
	for _, one := range s.OneOf {
		if one.Ref != "" {
			t.Ref = path.Base(one.Ref)
		} else {
			more = append(more, "or "+strings.Join(one.Type, " or "))
		}
	}
	types := slices.Clone(s.Type)
	if i := slices.Index(types, "null"); i >= 0 {
		types = slices.Delete(types, i, i+1)
		more = append(more, "or null")
	}
	switch {
	case s.Ref != "":
		t.Ref = path.Base(s.Ref)
	case s.Items != nil:
		t = s.Items.view()
		t.List = true
	case len(s.Enum) > 0:
		t.Text = strings.Join(s.Enum, " | ")
	case t.Ref == "":
		t.Text = cmp.Or(s.Format, strings.Join(types, " or "))
	}
	more = append(more, s.bounds()...)
	if s.Default != nil {
		more = append(more, "(default "+strings.Trim(string(s.Default), `"`)+")")
	}
	t.More = strings.Join(more, " ")
	return t
}

// bounds describes the limits of a value.
func (s apiSchema) bounds() (out []string) {
	for _, b := range []struct {
		words string
		n     *int64
	}{{"at least %d", s.Minimum}, {"at most %d", s.Maximum}, {"at most %d characters", s.MaxLength}, {"at most %d items", s.MaxItems}} {
		if b.n != nil {
			out = append(out, "("+fmt.Sprintf(b.words, *b.n)+")")
		}
	}
	return out
}
