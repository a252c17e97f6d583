package web

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

// replySettings answers with a pipeline and the entity tag of its settings.
func (s *server) replySettings(c *gin.Context, p queries.Pipeline) error {
	tag, err := intake.SettingsTag(p)
	if err != nil {
		return err
	}
	c.Header("ETag", tag)
	return s.replyPipeline(c, http.StatusOK, p)
}

// The form of If-Match, without obsolete characters (RFC 9110 §8.8.3, §13.1.1).
var (
	entityTag  = regexp.MustCompile(`(?:W/)?"[\x21\x23-\x7e]*"`)
	entityTags = regexp.MustCompile(`^[ \t]*` + entityTag.String() + `(?:[ \t]*,[ \t]*` + entityTag.String() + `)*[ \t]*$`)
)

// ifMatch returns the condition of a request's If-Match on an entity tag, nil
// if it has none.
func ifMatch(r *http.Request) (func(tag string) bool, error) {
	values := r.Header.Values("If-Match")
	if len(values) == 0 {
		return nil, nil
	}
	text := strings.Join(values, ",")
	if strings.TrimSpace(text) == "*" {
		return func(string) bool { return true }, nil
	}
	if !entityTags.MatchString(text) {
		return nil, troy.Errorf(troy.Invalid, "it is %q; expected the ETag of an earlier answer with its quotes, or *", troy.Clip(text)).At("If-Match")
	}
	tags := entityTag.FindAllString(text, -1)
	return func(tag string) bool { return slices.Contains(tags, tag) }, nil
}

// unchanged makes the check of a pipeline's row under its lock. It keeps the
// row that it refuses.
func unchanged(matches func(tag string) bool, found *queries.Pipeline) func(queries.Pipeline) error {
	if matches == nil {
		return nil
	}
	return func(p queries.Pipeline) error {
		tag, err := intake.SettingsTag(p)
		if err != nil || matches(tag) {
			return err
		}
		*found = p
		return troy.Errorf(troy.Moved, "the settings of the pipeline are not those of If-Match; nothing was changed").At("If-Match")
	}
}

// replyMoved answers with a precondition that does not hold, and the pipeline
// as it is.
func (s *server) replyMoved(c *gin.Context, moved error, p queries.Pipeline) error {
	ctx := c.Request.Context()
	tag, err := intake.SettingsTag(p)
	if err != nil {
		return err
	}
	views, err := s.describe(ctx, p)
	if err != nil {
		return err
	}
	note(ctx).err = moved
	c.Header("ETag", tag)
	reply.ErrorAbout(c.Writer, visible(moved), views[0])
	return nil
}
