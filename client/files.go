package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// File is a file of a deployment, or a folder with everything below it.
type File struct {
	Path   string       `json:"path"`             // a folder's ends with a slash
	Files  int          `json:"files,omitempty"`  // the number of files below a folder
	Size   int64        `json:"size"`             // bytes
	SHA256 *site.Digest `json:"sha256,omitempty"` // of a file
}

// Comparison is how a deployment's files differ from those of another one.
type Comparison struct {
	Deployment int64  `json:"deployment"`
	With       *int64 `json:"with"` // nil if there was nothing to compare with
	site.Difference
	Changes []site.Change `json:"changes"`
}

// Files yields all files of a deployment, sorted by path or, if folder is not
// nil, what is in that folder: its folders, then its files. It stops after the
// first error.
func (c *Client) Files(ctx context.Context, pipeline string, id uuid.UUID, folder *string) iter.Seq2[File, error] {
	query := url.Values{"limit": {strconv.Itoa(filesPageSize)}}
	if folder != nil {
		query.Set("folder", *folder)
	}
	type page struct {
		Files []File `json:"files"`
		Next  string `json:"next"`
	}
	return pages(func(after string) ([]File, string, error) {
		var p page
		path, err := pipelinePath(pipeline)
		if err == nil {
			err = c.get(ctx, path+"/deployments/"+id.String()+"/files", pageQuery(query, after), &p)
		}
		return p.Files, p.Next, err
	})
}

// Compare compares a deployment's files with those of another one, given by its
// number or id or, if with is empty, with what the site had before. It returns
// at most limit changes; 0 means all.
func (c *Client) Compare(ctx context.Context, pipeline string, id uuid.UUID, with string, limit int) (Comparison, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return Comparison{}, err
	}
	whole := Comparison{Changes: []site.Change{}}
	for after := ""; ; {
		query := pageQuery(url.Values{"limit": {strconv.Itoa(filesPageSize)}}, after)
		if with != "" {
			query.Set("with", with)
		}
		if rest := limit - len(whole.Changes); limit > 0 && rest < filesPageSize {
			query.Set("limit", strconv.Itoa(rest))
		}
		var page struct {
			Comparison
			Next string `json:"next"`
		}
		if err := c.get(ctx, path+"/deployments/"+id.String()+"/compare", query, &page); err != nil {
			return whole, err
		}
		page.Changes = append(whole.Changes, page.Changes...)
		whole = page.Comparison
		if page.Next == "" || page.Next == after || limit > 0 && len(whole.Changes) >= limit {
			return whole, nil
		}
		after = page.Next
	}
}
