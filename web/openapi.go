package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the document
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/troy-iaas/troy/web/reply"
)

//go:embed openapi.yaml
var openAPI []byte

// typeScript has the types of the document. web/typescript writes it.
//
//go:embed troy.d.ts
var typeScript []byte

// openAPIJSON returns the document of the API as JSON, with its members in
// their order.
func openAPIJSON() ([]byte, error) {
	text, err := yaml.YAMLToJSON(openAPI)
	if err != nil {
		return nil, fmt.Errorf("read the document of the API: %w", err)
	}
	document := jsontext.Value(text)
	if err := document.Compact(); err != nil {
		return nil, fmt.Errorf("encode the document of the API: %w", err)
	}
	return document, nil
}

// fixed makes a route of content that is the same for all and changes only with
// the program.
func (s *server) fixed(contentType, policy string, content []byte) gin.HandlerFunc {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return s.anonymous(func(c *gin.Context) error {
		reply.Limit(c.Writer)
		c.Header("Content-Type", contentType)
		c.Header("ETag", tag)
		c.Header("Cache-Control", "public, max-age=300")
		if policy != "" {
			c.Header("Content-Security-Policy", policy)
		}
		http.ServeContent(c.Writer, c.Request, "", time.Time{}, bytes.NewReader(content))
		return nil
	})
}

// apiDocument has what the page shows of the document.
type apiDocument struct {
	Info struct {
		Summary     string `json:"summary"`
		Description prose  `json:"description"`
	} `json:"info"`
	Tags []struct {
		Name        string `json:"name"`
		Description prose  `json:"description"`
	} `json:"tags"`
	Paths      ordered[apiPath] `json:"paths"`
	Components struct {
		Parameters      map[string]apiParameter `json:"parameters"`
		RequestBodies   map[string]apiBody      `json:"requestBodies"`
		Responses       map[string]apiResponse  `json:"responses"`
		Schemas         ordered[apiSchema]      `json:"schemas"`
		SecuritySchemes map[string]struct {
			Type        string `json:"type"`
			Scheme      string `json:"scheme"`
			Name        string `json:"name"`
			Description prose  `json:"description"`
		} `json:"securitySchemes"`
	} `json:"components"`
}

type apiPath struct {
	Parameters []apiParameter `json:"parameters"`
	Get        *apiOperation  `json:"get"`
	Post       *apiOperation  `json:"post"`
	Put        *apiOperation  `json:"put"`
	Patch      *apiOperation  `json:"patch"`
	Delete     *apiOperation  `json:"delete"`
}

type apiOperation struct {
	Tags        []string              `json:"tags"`
	ID          string                `json:"operationId"`
	Summary     string                `json:"summary"`
	Description prose                 `json:"description"`
	Role        string                `json:"x-role"`
	Parameters  []apiParameter        `json:"parameters"`
	RequestBody *apiBody              `json:"requestBody"`
	Responses   ordered[apiResponse]  `json:"responses"`
	Security    []map[string][]string `json:"security"`
}

type apiParameter struct {
	Ref         string    `json:"$ref"`
	Name        string    `json:"name"`
	In          string    `json:"in"`
	Required    bool      `json:"required"`
	Description prose     `json:"description"`
	Schema      apiSchema `json:"schema"`
}

type apiBody struct {
	Ref         string            `json:"$ref"`
	Description prose             `json:"description"`
	Required    bool              `json:"required"`
	Content     ordered[apiMedia] `json:"content"`
}

type apiResponse struct {
	Ref         string            `json:"$ref"`
	Description prose             `json:"description"`
	Content     ordered[apiMedia] `json:"content"`
}

type apiMedia struct {
	Schema apiSchema `json:"schema"`
}

type apiSchema struct {
	Ref         string             `json:"$ref"`
	Type        oneOrMore          `json:"type"`
	Format      string             `json:"format"`
	Description prose              `json:"description"`
	Enum        []string           `json:"enum"`
	Default     jsontext.Value     `json:"default"`
	Required    []string           `json:"required"`
	Properties  ordered[apiSchema] `json:"properties"`
	Items       *apiSchema         `json:"items"`
	OneOf       []apiSchema        `json:"oneOf"`
	Minimum     *int64             `json:"minimum"`
	Maximum     *int64             `json:"maximum"`
	MaxLength   *int64             `json:"maxLength"`
	MaxItems    *int64             `json:"maxItems"`
}

// ordered is a JSON object whose members keep their order.
type ordered[T any] []named[T]

type named[T any] struct {
	Name  string
	Value T
}

// UnmarshalJSONFrom reads the members one by one.
func (o *ordered[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		member := named[T]{Name: name.String()}
		if err := jsonv2.UnmarshalDecode(d, &member.Value); err != nil {
			return err
		}
		*o = append(*o, member)
	}
	_, err := d.ReadToken()
	return err
}

// oneOrMore is a text or a list of texts.
type oneOrMore []string

// UnmarshalJSONFrom reads both forms.
func (o *oneOrMore) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '[' {
		return jsonv2.UnmarshalDecode(d, (*[]string)(o))
	}
	var one string
	err := jsonv2.UnmarshalDecode(d, &one)
	*o = oneOrMore{one}
	return err
}
