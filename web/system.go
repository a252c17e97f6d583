package web

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

// systemShow describes the installation.
func (s *server) systemShow(c *gin.Context, who caller) error {
	if err := who.MustAll("only an unlimited admin may see the installation"); err != nil {
		return err
	}
	if s.deps.System == nil {
		return troy.Errorf(troy.NotFound, "this server does not describe itself")
	}
	system, err := s.deps.System.Look(c.Request.Context())
	if err != nil {
		return fmt.Errorf("describe the installation: %w", err)
	}
	reply.JSON(c.Writer, http.StatusOK, system)
	return nil
}

// userJSON is someone who signed in with OpenID Connect.
type userJSON struct {
	ID       uuid.UUID        `json:"id"`
	Name     string           `json:"name"`
	FullName string           `json:"full_name,omitempty"`
	Email    string           `json:"email,omitempty"`
	Role     credentials.Role `json:"role"`
	// Pipelines has slugs; it is null for someone with access to all.
	Pipelines  []string  `json:"pipelines"`
	Groups     []string  `json:"groups"`
	SignedInAt time.Time `json:"signed_in_at"`
	Expired    bool      `json:"expired"`
}

func (s *server) userList(c *gin.Context, who caller) error {
	if err := who.MustAll("only an unlimited admin may see users"); err != nil {
		return err
	}
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	before, err := pg.place(lists.Place{At: credentials.Later()})
	if err != nil {
		return err
	}
	rows, err := s.q.UserList(c.Request.Context(), queries.UserListParams{BeforeTime: before.At, BeforeID: before.ID, PageLimit: pg.limit + 1})
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	rows, more := cut(rows, pg)
	answer := struct {
		Users []userJSON `json:"users"`
		Next  string     `json:"next,omitempty"`
	}{Users: make([]userJSON, 0, len(rows))}
	for _, u := range rows {
		j := userJSON{
			ID: u.ID, Name: u.Name, FullName: u.FullName, Email: u.Email, Role: credentials.Role(u.Role), Groups: u.Groups,
			SignedInAt: u.SignedInAt.UTC(), Expired: u.Expired,
		}
		if u.Pipelines != nil {
			j.Pipelines = u.Slugs
		}
		answer.Users = append(answer.Users, j)
	}
	if more {
		last := rows[len(rows)-1]
		answer.Next = lists.Place{At: last.SignedInAt, ID: last.ID}.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// userForget signs a user out everywhere.
func (s *server) userForget(c *gin.Context, who caller) error {
	if err := who.MustAll("only an unlimited admin may sign users out"); err != nil {
		return err
	}
	id, err := pathID(c, "user")
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	err = s.deps.Intake.Recorded(ctx, func(db queries.DBTX) (intake.Change, error) {
		in := s.sessions
		in.DB = db
		user, err := in.Forget(ctx, id)
		return intake.Change{Action: intake.SessionRevoke, Subject: user.Actor(), Detail: "everywhere"}, err
	})
	if err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// sessionJSON is a browser that is signed in.
type sessionJSON struct {
	ID        string           `json:"id"`
	Kind      string           `json:"kind"` // token or user
	HolderID  uuid.UUID        `json:"holder_id"`
	Name      string           `json:"name"`
	Role      credentials.Role `json:"role"`
	CreatedAt time.Time        `json:"created_at"`
	SeenAt    time.Time        `json:"seen_at"`
	ExpiresAt time.Time        `json:"expires_at"`
	Browser   string           `json:"browser"` // its User-Agent
}

func (s *server) sessionList(c *gin.Context, who caller) error {
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	place, err := pg.place(lists.Place{})
	if err != nil {
		return err
	}
	list, err := s.sessions.List(c.Request.Context(), who, credentials.SessionPlace{At: place.At, ID: place.Last}, pg.limit+1)
	if err != nil {
		return err
	}
	list, more := cut(list, pg)
	answer := struct {
		Sessions []sessionJSON `json:"sessions"`
		Next     string        `json:"next,omitempty"`
	}{Sessions: make([]sessionJSON, 0, len(list))}
	for _, b := range list {
		answer.Sessions = append(answer.Sessions, sessionJSON{
			ID: b.ID, Kind: b.Holder.Kind(), HolderID: b.Holder.ID, Name: b.Holder.Name, Role: b.Holder.Role,
			CreatedAt: b.CreatedAt.UTC(), SeenAt: b.LastSeen.UTC(), ExpiresAt: b.ExpiresAt.UTC(), Browser: b.UserAgent,
		})
	}
	if more {
		last := list[len(list)-1]
		answer.Next = lists.Place{At: last.CreatedAt, Last: last.ID}.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

func (s *server) sessionRevoke(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	err := s.deps.Intake.Recorded(ctx, func(db queries.DBTX) (intake.Change, error) {
		in := s.sessions
		in.DB = db
		ended, err := in.Revoke(ctx, who, c.Param("session"))
		return intake.Change{Action: intake.SessionRevoke, Subject: ended.Holder.Actor(), Detail: troy.Clip(ended.UserAgent)}, err
	})
	if err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// storageJSON is what a pipeline stores.
type storageJSON struct {
	PipelineID  uuid.UUID `json:"pipeline_id"`
	Pipeline    string    `json:"pipeline"`
	Name        string    `json:"name"`
	Deployments int64     `json:"deployments"`
	Files       int64     `json:"files"`
	Bytes       int64     `json:"bytes"`
	UsedFiles   int64     `json:"used_files"`
	UsedBytes   int64     `json:"used_bytes"`
}

// storageList lists what the pipelines store that the caller may see, the
// largest first.
func (s *server) storageList(c *gin.Context, who caller) error {
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	before, id := int64(math.MaxInt64), uuid.Max
	if pg.after != "" {
		if before, id, err = storagePlace(pg.after); err != nil {
			return err
		}
	}
	rows, err := s.storage(c, who, queries.StorageListParams{BeforeBytes: before, BeforeID: id, PageLimit: pg.limit + 1})
	if err != nil {
		return fmt.Errorf("list storage: %w", err)
	}
	rows, more := cut(rows, pg)
	answer := struct {
		Storage []storageJSON `json:"storage"`
		Next    string        `json:"next,omitempty"`
	}{Storage: make([]storageJSON, 0, len(rows))}
	for _, r := range rows {
		answer.Storage = append(answer.Storage, storageJSON{r.PipelineID, r.Slug, r.Name, r.Deployments, r.Files, r.Bytes, max(r.UsedFiles, 0), max(r.UsedBytes, 0)})
	}
	if more {
		last := rows[len(rows)-1]
		answer.Next = fmt.Sprintf("%d.%s", last.UsedBytes, last.PipelineID)
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

func (s *server) storage(c *gin.Context, who caller, page queries.StorageListParams) ([]queries.StorageListRow, error) {
	if who.All() {
		return s.q.StorageList(c.Request.Context(), page)
	}
	rows, err := s.q.StorageOf(c.Request.Context(), queries.StorageOfParams{
		PipelineIds: who.Pipelines, BeforeBytes: page.BeforeBytes, BeforeID: page.BeforeID, PageLimit: page.PageLimit,
	})
	out := make([]queries.StorageListRow, len(rows))
	for i, r := range rows {
		out[i] = queries.StorageListRow(r)
	}
	return out, err
}

func storagePlace(after string) (int64, uuid.UUID, error) {
	text, rest, _ := strings.Cut(after, ".")
	bytes, err := strconv.ParseInt(text, 10, 64)
	id, ok := parseID(rest)
	if err != nil || !ok {
		return 0, id, badAfter()
	}
	return bytes, id, nil
}
