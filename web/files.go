package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/reply"
)

// trees reads the files of deployments. It keeps the lists that were used last,
// with a limit on their total number of files, and reads few at a time.
type trees struct {
	store  cloud.Store
	flight singleflight.Group
	kept   *lru.Cache[site.Tree, []site.File]
	slots  chan struct{}
}

// readsOfTrees is how many lists of files are read at a time: one of 100,000
// files takes about 15 MB.
const readsOfTrees = 4

func newTrees(store cloud.Store, most int) *trees {
	return &trees{store: store, kept: lru.New[site.Tree, []site.File](int64(most)), slots: make(chan struct{}, readsOfTrees)}
}

// files returns the files that a deployment publishes, sorted by path. The
// error is NotFound if there are none yet or any more.
func (t *trees) files(ctx context.Context, d queries.Deployment) ([]site.File, error) {
	if d.PrunedAt != nil && d.State == troy.Succeeded {
		return nil, troy.Errorf(troy.NotFound, "the files of deployment %d were removed, because newer deployments replaced it", d.Number)
	}
	if d.PrunedAt != nil {
		return nil, noFiles(d)
	}
	tree := site.Tree{Pipeline: d.PipelineID, Deployment: d.TreeID}
	if files, ok := t.kept.Get(tree); ok {
		return files, nil
	}
	read := t.flight.DoChan(tree.Deployment.String(), func() (any, error) {
		// The others wait for it, too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		select {
		case t.slots <- struct{}{}:
			defer func() { <-t.slots }()
		case <-ctx.Done():
			return nil, troy.Errorf(troy.Unavailable, "too many lists of files are being read; try again in a moment")
		}
		m, err := t.store.Manifest(ctx, tree)
		if err == nil && d.State == troy.Succeeded { // the tree of another may still be replaced
			t.kept.Put(tree, m.Files, int64(len(m.Files)))
		}
		return m.Files, err
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-read:
		if errors.Is(r.Err, cloud.ErrNotFound) {
			return nil, noFiles(d)
		}
		if r.Err != nil {
			return nil, fmt.Errorf("read the files of deployment %s: %w", d.ID, r.Err)
		}
		return r.Val.([]site.File), nil
	}
}

func noFiles(d queries.Deployment) error {
	return troy.Errorf(troy.NotFound, "deployment %d has no files; it is %s", d.Number, d.State)
}

// maxFilesLimit is the maximum for one page of files. A site can have 100,000 files,
// which are in memory once the first page is read.
const maxFilesLimit = 5_000

// fileJSON is a file, or a folder with everything below it.
type fileJSON struct {
	Path   string       `json:"path"`
	Files  int          `json:"files,omitempty"` // of a folder
	Size   int64        `json:"size"`
	SHA256 *site.Digest `json:"sha256,omitempty"` // of a file
}

func (s *server) fileList(c *gin.Context, who caller) error {
	d, err := s.deployment(c, who)
	if err != nil {
		return err
	}
	pg, err := pageUpTo(c, maxFilesLimit)
	if err != nil {
		return err
	}
	files, err := s.trees.files(c.Request.Context(), d)
	if err != nil {
		return err
	}
	var entries []site.Entry
	var more bool
	if folder, given := c.GetQuery("folder"); given {
		if folder != "" && !strings.HasSuffix(folder, "/") {
			folder += "/"
		}
		entries, more = site.ListFolder(files, folder, pg.after, int(pg.limit))
	} else {
		entries, more = site.List(files, c.Query("prefix"), pg.after, int(pg.limit))
	}
	answer := struct {
		Files []fileJSON `json:"files"`
		Next  string     `json:"next,omitempty"`
	}{Files: make([]fileJSON, len(entries))}
	for i, e := range entries {
		answer.Files[i] = fileJSON{Path: e.Path, Size: e.Size}
		if e.IsFolder() {
			answer.Files[i].Files = e.Files
		} else {
			answer.Files[i].SHA256 = &e.SHA256
		}
	}
	if more {
		answer.Next = entries[len(entries)-1].Path
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// compareJSON says what a deployment changed.
type compareJSON struct {
	Deployment int64  `json:"deployment"`
	With       *int64 `json:"with"` // null: with nothing
	site.Difference
	Changes []site.Change `json:"changes"`
	Next    string        `json:"next,omitempty"`
}

func (s *server) deploymentCompare(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	d, err := s.deployment(c, who)
	if err != nil {
		return err
	}
	pg, err := pageUpTo(c, maxFilesLimit)
	if err != nil {
		return err
	}
	now, err := s.trees.files(ctx, d)
	if err != nil {
		return err
	}
	answer := compareJSON{Deployment: d.Number, Changes: []site.Change{}}
	with, err := s.comparedWith(ctx, d, c.Query("with"))
	if err != nil {
		return err
	}
	var before []site.File
	if with != nil {
		answer.With = &with.Number
		if before, err = s.trees.files(ctx, *with); err != nil {
			return err
		}
	}
	var changes []site.Change
	var more bool
	answer.Difference, changes, more = site.Compare(before, now, pg.after, int(pg.limit))
	answer.Changes = append(answer.Changes, changes...)
	if more {
		answer.Next = changes[len(changes)-1].Path
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// comparedWith finds the deployment to compare with: the given one or, if ref
// is empty, what the site had before. It is nil if there was nothing.
func (s *server) comparedWith(ctx context.Context, d queries.Deployment, ref string) (*queries.Deployment, error) {
	if ref != "" {
		other, err := s.deploymentOf(ctx, d.PipelineID, ref)
		return &other, at(err, "with")
	}
	other, err := s.q.DeploymentBefore(ctx, d.PipelineID, d.Number)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the deployment before %s: %w", d.ID, err)
	}
	return &other, nil
}

// at adds the field to an error for the caller.
func at(err error, field string) error {
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return e.At(field)
	}
	return err
}
