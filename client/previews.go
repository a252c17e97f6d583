package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/troy-iaas/troy"
)

// Preview is a preview of a pipeline's site.
type Preview struct {
	// Label is the beginning of its host, such as "pr-12".
	Label     string            `json:"label"`
	Kind      troy.PreviewKind  `json:"kind"`
	State     troy.PreviewState `json:"state"`
	StateName string            `json:"state_name"`
	// Cause says why it failed, needs an approval or was deleted.
	Cause string `json:"cause,omitempty"`
	Host  string `json:"host,omitempty"`
	URL   string `json:"url,omitempty"`
	// PullRequest is the number of the pull request, and SourceURL its page.
	PullRequest int64  `json:"pull_request,omitempty"`
	SourceURL   string `json:"source_url,omitempty"`
	Branch      string `json:"branch,omitempty"`
	Title       string `json:"title,omitempty"`
	Author      string `json:"author,omitempty"`
	Commit      string `json:"commit,omitempty"`
	// Trusted means that the author may write to the repository.
	Trusted bool `json:"trusted"`
	// Deployment is the number of the newest deployment, and Shown that of the
	// one at the address; 0 means none.
	Deployment int64      `json:"deployment,omitempty"`
	Shown      int64      `json:"shown,omitempty"`
	ShownAt    *time.Time `json:"shown_at,omitempty"`
	// Pinned means that it neither expires nor makes room for others.
	Pinned    bool       `json:"pinned"`
	CreatedAt time.Time  `json:"created_at"`
	PushedAt  time.Time  `json:"pushed_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	ClosedAt  *time.Time `json:"closed_at,omitempty"`
}

// Previews yields the open previews of a pipeline's site, the newest push first.
// It stops after the first error.
func (c *Client) Previews(ctx context.Context, pipeline string) iter.Seq2[Preview, error] {
	path, err := pipelinePath(pipeline)
	return pages(func(after string) ([]Preview, string, error) {
		var p struct {
			Previews []Preview `json:"previews"`
			Next     string    `json:"next"`
		}
		if err == nil {
			err = c.get(ctx, path+"/previews", pageQuery(nil, after), &p)
		}
		return p.Previews, p.Next, err
	})
}

// Preview returns a preview, also one that was deleted.
func (c *Client) Preview(ctx context.Context, pipeline, label string) (Preview, error) {
	var v Preview
	path, err := previewPath(pipeline, label)
	if err != nil {
		return v, err
	}
	return v, c.get(ctx, path, nil, &v)
}

// PreviewBranch builds the head of a branch and shows it at an address of its
// own.
func (c *Client) PreviewBranch(ctx context.Context, pipeline, branch string) (Preview, error) {
	var v Preview
	path, err := pipelinePath(pipeline)
	if err != nil {
		return v, err
	}
	return v, c.post(ctx, path+"/previews", map[string]any{"branch": branch}, &v)
}

// DeletePreview deletes a preview. Deleting it again changes nothing.
func (c *Client) DeletePreview(ctx context.Context, pipeline, label string) (Preview, error) {
	var v Preview
	path, err := previewPath(pipeline, label)
	if err != nil {
		return v, err
	}
	return v, c.do(ctx, call{method: http.MethodDelete, path: path, repeatable: true}, &v)
}

// PinPreview keeps a preview from expiring and from making room for others.
func (c *Client) PinPreview(ctx context.Context, pipeline, label string) (Preview, error) {
	return c.changePreview(ctx, pipeline, label, "/pin")
}

// UnpinPreview lets a pinned preview expire.
func (c *Client) UnpinPreview(ctx context.Context, pipeline, label string) (Preview, error) {
	return c.changePreview(ctx, pipeline, label, "/unpin")
}

func (c *Client) changePreview(ctx context.Context, pipeline, label, action string) (Preview, error) {
	var v Preview
	path, err := previewPath(pipeline, label)
	if err != nil {
		return v, err
	}
	return v, c.post(ctx, path+action, nil, &v)
}

// ApprovePreview builds a stranger's commit. If the commit is not the newest, the error is of kind Moved.
func (c *Client) ApprovePreview(ctx context.Context, pipeline, label, commit string) (Preview, error) {
	var v Preview
	path, err := previewPath(pipeline, label)
	if err != nil {
		return v, err
	}
	return v, c.post(ctx, path+"/approve", map[string]any{"commit": commit}, &v)
}

// PromotePreview publishes what a preview shows as the site. If shown is not 0
// and the preview shows another deployment, the error is of kind Moved.
func (c *Client) PromotePreview(ctx context.Context, pipeline, label string, shown int64) (Deployment, error) {
	var d Deployment
	path, err := previewPath(pipeline, label)
	if err != nil {
		return d, err
	}
	return d, c.post(ctx, path+"/promote", map[string]any{"deployment": shown}, &d)
}

func previewPath(pipeline, label string) (string, error) {
	p, err := pipelinePath(pipeline)
	if err != nil {
		return "", err
	}
	if label == "" || label == "." || label == ".." || len(label) > 1000 {
		return "", troy.Errorf(troy.Invalid, "%q is not a preview; expected a label like pr-12", troy.Clip(label)).At("preview")
	}
	return p + "/previews/" + url.PathEscape(label), nil
}
