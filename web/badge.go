package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
)

// badgePath is where the badges are. Pages of other sites embed them, and they
// don't depend on who asks.
const badgePath = "/badges/"

// badgeImage is a badge. The widths are of a font that may differ, so the text
// is fitted to them.
var badgeImage = template.Must(template.New("badge").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="20" role="img" aria-label="{{.Slug}}: {{.State}}"><title>{{.Slug}}: {{.State}}</title>` +
	`<clipPath id="r"><rect width="{{.Width}}" height="20" rx="3"/></clipPath><g clip-path="url(#r)"><rect width="{{.Left}}" height="20" fill="#444"/><rect x="{{.Left}}" width="{{.Right}}" height="20" fill="{{.Colour}}"/></g>` +
	`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="6" y="14" textLength="{{.LeftText}}">{{.Slug}}</text><text x="{{.At}}" y="14" textLength="{{.RightText}}">{{.State}}</text></g></svg>` + "\n"))

type badgeView struct {
	Slug, State, Colour     string
	Width, Left, Right      int
	LeftText, RightText, At int
}

func newBadge(slug string, status troy.Status) badgeView {
	const letter = 7 // pixels
	v := badgeView{Slug: slug}
	switch status {
	case troy.Deployed:
		v.State, v.Colour = "live", "#18794e"
	case troy.FailedToDeploy:
		v.State, v.Colour = "failed", "#c4322f"
	case troy.Queued, troy.Deploying:
		v.State, v.Colour = "deploying", "#8a5a00"
	default:
		v.State, v.Colour = "not live", "#5c6370"
	}
	v.LeftText, v.RightText = letter*len(slug), letter*len(v.State)
	v.Left, v.Right = v.LeftText+12, v.RightText+12
	v.Width, v.At = v.Left+v.Right, v.Left+6
	return v
}

// badge answers with the badge of a pipeline that allows one. That a pipeline
// exists is not told otherwise.
func (s *server) badge(c *gin.Context) error {
	slug, isBadge := strings.CutSuffix(c.Param("badge"), ".svg")
	missing := troy.Errorf(troy.NotFound, "badge not found: %q; a pipeline has one after troy pipeline set P --badge", troy.Clip(c.Param("badge")))
	if !isBadge || troy.CheckSlug(slug) != nil {
		return missing
	}
	p, err := s.q.PipelineGetBySlug(c.Request.Context(), slug)
	if errors.Is(err, pgx.ErrNoRows) {
		return missing
	}
	if err != nil {
		return fmt.Errorf("find pipeline %q: %w", slug, err)
	}
	var settings troy.BuildSettings
	if err := json.Unmarshal(p.BuildSettings, &settings); err != nil {
		return fmt.Errorf("read the build settings of pipeline %s: %w", p.ID, err)
	}
	if !settings.Badge || p.Status.InDeletion() {
		return missing
	}
	var image strings.Builder
	v := newBadge(p.Slug, p.Status)
	if err := badgeImage.Execute(&image, v); err != nil {
		return fmt.Errorf("draw the badge of pipeline %s: %w", p.ID, err)
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "image/svg+xml")
	h.Set("Cache-Control", "public, max-age=60")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("ETag", `"`+strings.ReplaceAll(v.State, " ", "-")+`"`)
	http.ServeContent(c.Writer, c.Request, "", time.Time{}, strings.NewReader(image.String()))
	return nil
}
