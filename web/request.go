package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
)

const (
	maxJSON  = 64 << 10 // maximum body, except for a release's manifest
	maxEvent = 1 << 20  // maximum body of a hook

	defaultLimit = 50 // items of a page
	maxLimit     = 200
)

// decode reads a required JSON body of at most most bytes.
func decode(c *gin.Context, most int64, v any) error {
	if c.Request.ContentLength > most {
		return &http.MaxBytesError{Limit: most}
	}
	return intake.DecodeJSON(http.MaxBytesReader(c.Writer, c.Request.Body, most), v)
}

// decodeOptional reads a small JSON body, which may be absent.
func decodeOptional(c *gin.Context, v any) error {
	if c.Request.ContentLength == 0 || c.Request.Body == nil {
		return nil
	}
	r := bufio.NewReader(c.Request.Body)
	if _, err := r.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	c.Request.Body = io.NopCloser(r)
	return decode(c, maxJSON, v)
}

// page is the requested part of a list.
type page struct {
	limit int32
	after string // empty: from the start
}

// pageOf reads the query's limit and after.
func pageOf(c *gin.Context) (page, error) { return pageUpTo(c, maxLimit) }

// pageUpTo is pageOf with another maximum.
func pageUpTo(c *gin.Context, most int64) (page, error) {
	p := page{limit: defaultLimit, after: c.Query("after")}
	if text, given := c.GetQuery("limit"); given {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 || n > most {
			return p, troy.Errorf(troy.Invalid, "expected a limit from 1 to %d", most).At("limit")
		}
		p.limit = int32(n)
	}
	return p, nil
}

// number reads an after that is a number.
func (p page) number() (*int64, error) {
	if p.after == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(p.after, 10, 64)
	if err != nil || n < 0 {
		return nil, badAfter()
	}
	return &n, nil
}

// before reads an after that is an id, in a list with the newest first.
func (p page) before() (uuid.UUID, error) {
	if p.after == "" {
		return uuid.Max, nil
	}
	id, ok := parseID(p.after)
	if !ok {
		return id, badAfter()
	}
	return id, nil
}

// place reads an after that is a place, with the default for none.
func (p page) place(start lists.Place) (lists.Place, error) {
	if p.after == "" {
		return start, nil
	}
	return lists.ParsePlace(p.after)
}

func badAfter() error {
	return troy.Errorf(troy.Invalid, "expected the value of next from an earlier page").At("after")
}

// cut returns a page of a list that was read with one item more, and reports
// whether there are more.
func cut[T any](list []T, p page) ([]T, bool) {
	if len(list) > int(p.limit) {
		return list[:p.limit], true
	}
	return list, false
}

// parseID reads an id only in its usual form of 36 characters.
func parseID(text string) (uuid.UUID, bool) {
	if len(text) != 36 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(text)
	return id, err == nil
}

func noPipeline(ref string) error {
	return troy.Errorf(troy.NotFound, "pipeline not found: %q", troy.Clip(ref))
}

// pipeline finds the path's pipeline, by id or by slug. A pipeline without
// access for the caller is NotFound.
func (s *server) pipeline(ctx context.Context, c *gin.Context, who caller) (queries.Pipeline, error) {
	ref := c.Param("pipeline")
	p, err := s.findPipeline(ctx, ref)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !who.Sees(p.ID) {
		return queries.Pipeline{}, noPipeline(ref)
	}
	if err == nil {
		note(ctx).pipeline = p.ID.String()
	}
	return p, err
}

func (s *server) findPipeline(ctx context.Context, ref string) (queries.Pipeline, error) {
	if id, ok := parseID(ref); ok {
		p, err := s.q.PipelineGet(ctx, id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return p, err
		}
	}
	if troy.CheckSlug(ref) != nil {
		return queries.Pipeline{}, pgx.ErrNoRows
	}
	return s.q.PipelineGetBySlug(ctx, ref)
}

// pathID reads an id from the path; it returns NotFound if the id is not valid.
func pathID(c *gin.Context, name string) (uuid.UUID, error) {
	id, ok := parseID(c.Param(name))
	if !ok {
		return id, troy.Errorf(troy.NotFound, "%s not found: %q", name, troy.Clip(c.Param(name)))
	}
	if name == "deployment" || name == "release" {
		note(c.Request.Context()).deployment = id.String()
	}
	return id, nil
}
