//go:build chaos

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

// api is a client of one of the web processes.
func (c *chaos) api() *client.Client { return c.apis[mrand.IntN(len(c.apis))] }

// insist repeats a call until it succeeds or the step's time is over.
func (c *chaos) insist(what string, f func() error) bool {
	return c.within("not done", what, func(context.Context) error { return f() })
}

// within repeats a call, for at most ten seconds each time, until it succeeds.
// If it does not succeed within the step's time, the check fails.
func (c *chaos) within(check, what string, f func(ctx context.Context) error) bool {
	return c.withinTime(c.stepTime, check, what, f)
}

func (c *chaos) withinTime(most time.Duration, check, what string, f func(ctx context.Context) error) bool {
	deadline := time.Now().Add(most)
	attempt := func() error {
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		defer cancel()
		return f(ctx)
	}
	var err error
	for time.Now().Before(deadline) && c.ctx.Err() == nil {
		if err = attempt(); err == nil {
			return true
		}
		select {
		case <-time.After(time.Duration(100+mrand.IntN(400)) * time.Millisecond):
		case <-c.ctx.Done():
		}
	}
	if c.ctx.Err() == nil {
		c.violation(check, "%s: after %s: %v%s", what, most, err, c.rowsOf(what))
	}
	return false
}

// send posts an app event three times concurrently, each until it is accepted.
func (c *chaos) send(kind, app string, at time.Time, repository map[string]any) bool {
	about := map[string]any{"id": app, "name": app}
	if repository != nil {
		about["repository"] = repository
	}
	body, err := json.Marshal(map[string]any{"id": kind + "-" + app, "type": kind, "time": at.UTC(), "app": about})
	if err != nil {
		c.t.Error(err)
		return false
	}
	mac := hmac.New(sha256.New, []byte(appsSecret))
	mac.Write(body)
	signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	var group sync.WaitGroup
	var good atomic.Int32
	for range 1 + mrand.IntN(3) {
		group.Go(func() {
			ok := c.insist(kind+" of "+app, func() error {
				ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.api().BaseURL+"/events/apps", bytes.NewReader(body))
				if err != nil {
					return err
				}
				req.Header.Set("X-Troy-Signature-256", signature)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return err
				}
				defer func() { _ = resp.Body.Close() }()
				text, _ := io.ReadAll(resp.Body)
				if resp.StatusCode/100 != 2 {
					return fmt.Errorf("%d: %s", resp.StatusCode, text)
				}
				c.requests.Add(1)
				return nil
			})
			if ok {
				good.Add(1)
			}
		})
	}
	group.Wait()
	return good.Load() > 0
}

// release sends files and returns the deployment.
func (c *chaos) release(slug, version string) (d client.Deployment, ok bool) {
	content := slug + " " + version
	sum := sha256.Sum256([]byte(content))
	files := []site.File{
		{Path: "index.html", Size: int64(len(content)), SHA256: sum}, {Path: "app.js", Size: int64(len(content)), SHA256: sum},
		{Path: "only-in-" + version + ".txt", Size: int64(len(content)), SHA256: sum},
	}
	ok = c.insist("release "+version+" of "+slug, func() error {
		ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
		defer cancel()
		api := c.api()
		r, err := api.BeginRelease(ctx, slug, slug+"-"+version, client.NewRelease{Files: files})
		if err != nil {
			return err
		}
		if !r.Finalized {
			if err := api.Upload(ctx, slug, r, client.Upload{Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}); err != nil {
				return err
			}
		}
		d, err = api.FinalizeRelease(ctx, slug, r.ID, client.Finalize{})
		return err
	})
	if ok {
		c.requests.Add(1)
		c.expect(d.ID, content)
	}
	return d, ok
}

// expect records the content of a deployment's pages.
func (c *chaos) expect(deployment uuid.UUID, content string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected[deployment.String()] = content
}

// ends waits for the end of a deployment. It records a failed one and retries
// it as an operator would.
func (c *chaos) ends(slug string, id uuid.UUID, what string) bool {
	return c.insist(what+" of "+slug, func() error {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		d, err := c.api().Deployment(ctx, slug, id)
		if err != nil {
			return err
		}
		switch d.State {
		case troy.Succeeded, troy.Superseded:
			return nil
		case troy.Failed:
			if strings.Contains(d.Cause, "its worker died each time") {
				c.count("builds given up after two workers' deaths")
				return nil // as intended: a build restarts once
			}
			c.violation("failed", "%s of %s: %s", what, slug, d.Cause)
			return nil
		}
		p, err := c.api().Pipeline(ctx, slug)
		if err != nil {
			return err
		}
		c.unblock(ctx, p)
		return fmt.Errorf("the deployment is %s, the pipeline %s (%s)", d.State, p.Status, p.Cause)
	})
}

// unblock records a Failed status, which no fault of the run should cause, and
// retries.
func (c *chaos) unblock(ctx context.Context, p client.Pipeline) {
	switch p.Status {
	case troy.FailedToProvision, troy.FailedToDelete:
		c.violation("failed", "%s is %s: %s", p.Slug, p.Status, p.Cause)
		kind := "pipeline:provision"
		if p.Status == troy.FailedToDelete {
			kind = "pipeline:teardown"
		}
		_, _ = c.api().RingTask(ctx, kind, p.ID.String())
	}
}

// watch tells readers whether a host has to answer.
func (c *chaos) watch(slug string, live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if live {
		c.live[slug+".localhost"] = true
	} else {
		delete(c.live, slug+".localhost")
	}
}

// drive takes one pipeline through its life. Half of the pipelines have a
// repository from the beginning, and get pushes while they are provisioned.
func (c *chaos) drive(n int) {
	slug := fmt.Sprintf("site-%d", n)
	born := time.Now()
	l := &life{c: c, slug: slug, t: c.newTeam(n, mrand.New(mrand.NewPCG(c.seed, uint64(n))))}
	initial := l.t.head(production)
	var repository map[string]any
	if l.t.r.IntN(2) == 0 {
		repository = map[string]any{"provider": "github", "full_name": l.t.full(), "branch": production}
	}
	if !c.send("Created", slug, born, repository) {
		return
	}
	if repository != nil {
		c.tell("a push during provisioning")
		l.pushed()
	}
	first, ok := c.release(slug, "one")
	if !ok || !c.ends(slug, first.ID, "the first release") {
		return
	}
	c.watch(slug, true)
	defer c.watch(slug, false)
	second, ok := c.release(slug, "two")
	if !ok || !c.ends(slug, second.ID, "the second release") {
		return
	}
	var back client.Deployment
	if !c.insist("the rollback of "+slug, func() error {
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		defer cancel()
		// A repetition after a lost answer would roll back further, so the
		// rollback names its deployment.
		var err error
		back, err = c.api().Rollback(ctx, slug, first.ID)
		if troy.KindOf(err) == troy.Conflict { // it rolled back before
			for d, listErr := range c.api().Deployments(ctx, slug) {
				if listErr == nil && d.Kind == troy.Rollback {
					back = d
					return nil
				}
			}
		}
		return err
	}) || !c.ends(slug, back.ID, "the rollback") {
		return
	}
	if !c.build(l, initial) || !l.work(first.ID) {
		return
	}
	c.watch(slug, false)
	if !c.send("Deleted", slug, born.Add(time.Minute), nil) {
		return
	}
	c.insist("the deletion of "+slug, func() error {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		p, err := c.api().Pipeline(ctx, slug)
		if troy.KindOf(err) == troy.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		c.unblock(ctx, p)
		return fmt.Errorf("the pipeline is %s (%s)", p.Status, cmp.Or(p.Cause, "no cause"))
	})
}

// build requests a build through the queue three times with the same id, and
// expects one deployment.
func (c *chaos) build(l *life, commit string) bool {
	slug := l.slug
	if !c.insist("binding "+slug, func() error {
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		defer cancel()
		return c.bind(ctx, slug, l.t.full())
	}) {
		return false
	}
	body, _ := json.Marshal(map[string]string{"id": "build-" + slug, "pipeline": slug, "commit": commit})
	for range 1 + mrand.IntN(3) {
		c.double.Send("builds", string(body))
	}
	c.requests.Add(1)
	var built client.Deployment
	if !c.insist("the build of "+slug, func() error {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		for d, err := range c.api().Deployments(ctx, slug) {
			if err != nil {
				return err
			}
			if d.Actor == "build request build-"+slug {
				built = d
				return nil
			}
		}
		return fmt.Errorf("the commit has no deployment")
	}) || !c.ends(slug, built.ID, "the build") {
		return false
	}
	page, _ := l.t.known(commit)
	c.expect(built.ID, page.page)
	// Wait until all messages are taken before counting.
	if !c.insist("the queue", func() error {
		if slices.Contains(c.double.Queued("builds"), string(body)) {
			return fmt.Errorf("the request is still in the queue")
		}
		return nil
	}) {
		return false
	}
	return c.insist("counting", func() error {
		var n int
		err := c.db.QueryRow(c.ctx, "SELECT count(*) FROM deployments WHERE actor = $1", "build request build-"+slug).Scan(&n)
		if err == nil && n != 1 {
			c.violation("once", "%s has %d builds of one request", slug, n)
		}
		return err
	})
}

// bind gives a pipeline the repository.
func (c *chaos) bind(ctx context.Context, slug, name string) error {
	provider, branch := troy.GitHub, production
	_, err := c.api().ConfigurePipeline(ctx, slug, client.PipelineChange{
		Repository: &client.RepositoryChange{Provider: &provider, FullName: &name, Branch: &branch},
	})
	return err
}

// read is a reader of all live sites.
func (c *chaos) read(ctx context.Context) {
	for ctx.Err() == nil {
		c.mu.Lock()
		hosts := sortedKeys(c.live)
		c.mu.Unlock()
		if len(hosts) == 0 {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		host := hosts[mrand.IntN(len(hosts))]
		for _, path := range []string{"/", "/app.js"} {
			status, body, deployment := c.w.get(host, path)
			c.hold(5 * time.Millisecond) // a reader, not a flood
			c.mu.Lock()
			still := c.live[host]
			c.mu.Unlock()
			if ctx.Err() != nil || !still {
				continue
			}
			c.answers.Add(1)
			if status != http.StatusOK {
				c.violation("readers", "%s%s: %d %.80q", host, path, status, body)
				continue
			}
			c.mu.Lock()
			before, known := c.seen[deployment]
			if !known {
				c.seen[deployment] = body
			}
			c.mu.Unlock()
			if known && before != body {
				c.violation("readers", "%s%s of deployment %s says %.60q, another page of it %.60q", host, path, deployment, body, before)
			}
		}
	}
}
