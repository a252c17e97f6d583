//go:build chaos

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// life is one pipeline with the team that pushes to it.
type life struct {
	c    *chaos
	slug string
	t    *team
	away bool // the app was uninstalled once
}

// habit is an action of teams. It returns false if the action was not possible.
// Excused means that the newest commit need not be live afterwards, because the
// team cancelled it or rolled back.
type habit struct {
	name string
	do   func(l *life, first uuid.UUID) (excused, ok bool)
}

func habits() []habit {
	return []habit{
		{"pushes in a row", (*life).pushesInARow},
		{"a force push", (*life).forcePush},
		{"a rollback during a build", (*life).rollbackDuringBuild},
		{"a cancel during a publish", (*life).cancelDuringPublish},
		{"a deleted branch", (*life).deleteBranch},
		{"the app uninstalled and installed", (*life).reinstall},
	}
}

// work makes the team act for a while: HABITS (1) of its habits, and a push at
// the end, whose commit must be live.
func (l *life) work(first uuid.UUID) bool {
	all := habits()
	for range environmentInt("HABITS", 1) {
		h := all[l.t.r.IntN(len(all))]
		l.c.tell(h.name)
		l.changesRequests()
		excused, ok := h.do(l, first)
		if !ok || !l.settles(h.name, excused) {
			return false
		}
	}
	l.changesRequests()
	l.pushed()
	l.endsRequests()
	return l.settles("the last push", false) && l.requestsSettle()
}

// pushed commits and pushes.
func (l *life) pushed() string {
	before := l.t.head(production)
	after := l.t.commit(production)
	l.t.push(production, before, after, false)
	return after
}

func (l *life) pause(most time.Duration) { l.t.wait(time.Duration(l.t.r.Int64N(int64(most)))) }

// pushesInARow pushes two or three times, while the first is being built or
// before.
func (l *life) pushesInARow(uuid.UUID) (excused, ok bool) {
	for range 2 + l.t.r.IntN(2) {
		l.pushed()
		l.pause(900 * time.Millisecond)
	}
	return false, true
}

// forcePush replaces a commit that may be under way.
func (l *life) forcePush(uuid.UUID) (excused, ok bool) {
	replaced := l.pushed()
	l.pause(900 * time.Millisecond)
	l.t.push(production, replaced, l.t.commit(production), true)
	return false, true
}

// reaches waits until the deployment of a commit has one of the states, or has
// ended.
func (l *life) reaches(commit string, states ...troy.DeploymentState) (found client.Deployment, ok bool) {
	ok = l.c.within("not done", "a deployment of "+commit[:7]+" of "+l.slug, func(ctx context.Context) error {
		for d, err := range l.c.api().Deployments(ctx, l.slug) {
			if err != nil {
				return err
			}
			if d.Commit == commit && (d.State.Ended() || slices.Contains(states, d.State)) {
				found = d
				return nil
			}
		}
		return errors.New("there is none yet")
	})
	return found, ok
}

func (l *life) rollbackDuringBuild(first uuid.UUID) (excused, ok bool) {
	if _, ok := l.reaches(l.pushed(), troy.Building, troy.Publishing); !ok {
		return false, false
	}
	return true, l.c.within("not done", "the rollback of "+l.slug, func(ctx context.Context) error {
		_, err := l.c.api().Rollback(ctx, l.slug, first)
		if kind := troy.KindOf(err); kind == troy.Conflict || kind == troy.NotFound {
			return nil // it is already live, or was removed
		}
		return err
	})
}

func (l *life) cancelDuringPublish(uuid.UUID) (excused, ok bool) {
	d, ok := l.reaches(l.pushed(), troy.Publishing)
	if !ok {
		return false, false
	}
	return true, l.c.within("not done", "the cancellation of "+l.slug, func(ctx context.Context) error {
		_, err := l.c.api().CancelDeployment(ctx, l.slug, d.ID)
		if troy.KindOf(err) == troy.Conflict {
			return nil // it has ended
		}
		return err
	})
}

// deleteBranch pushes, deletes the production branch and restores it, with the
// same commit or another.
func (l *life) deleteBranch(uuid.UUID) (excused, ok bool) {
	before := l.pushed()
	l.pause(900 * time.Millisecond)
	l.t.mu.Lock()
	delete(l.t.heads, production)
	l.t.mu.Unlock()
	l.t.push(production, before, "", false)
	l.pause(2 * time.Second)
	after := before
	if l.t.r.IntN(2) == 0 {
		after = l.t.commit(production)
	} else {
		l.t.mu.Lock()
		l.t.heads[production] = before
		l.t.mu.Unlock()
	}
	l.t.push(production, "", after, false)
	return false, true
}

// reinstall removes the app, commits meanwhile, and installs it again. GitHub
// sends no webhook for the push.
func (l *life) reinstall(uuid.UUID) (excused, ok bool) {
	l.away = true
	l.t.uninstall()
	l.pause(2 * time.Second)
	l.pushed()
	l.pause(2 * time.Second)
	l.t.install()
	return false, true
}

// settles waits until all webhooks were sent and the pipeline rests, and checks
// that the newest commit of the production branch is live, or that its
// deployment has failed with a cause.
func (l *life) settles(what string, excused bool) bool {
	l.t.arrive()
	head := l.t.head(production)
	return l.c.within("newest commit", l.slug+" after "+what, func(ctx context.Context) error {
		p, err := l.c.api().Pipeline(ctx, l.slug)
		if err != nil {
			return err
		}
		switch p.Status {
		case troy.Deployed, troy.FailedToDeploy, troy.ReadyForDeployment:
		default:
			l.c.unblock(ctx, p)
			return fmt.Errorf("the pipeline is %s (%s)", p.Status, p.Cause)
		}
		live, newest, err := l.deployments(ctx, p, head)
		switch {
		case err != nil:
			return err
		case excused:
			return nil
		case live != nil && live.Commit == head:
			return l.served(p, head)
		case newest == nil:
			return fmt.Errorf("commit %s has no deployment; %s (%s)", head[:7], p.Status, p.SourceProblem)
		case newest.State == troy.Failed:
			return l.failed(what, *newest, head)
		}
		return fmt.Errorf("the deployment %d of commit %s is %s (%s)", newest.Number, head[:7], newest.State, newest.Cause)
	})
}

// deployments returns the live deployment and the newest one of a commit. All
// but those of previews must have ended.
func (l *life) deployments(ctx context.Context, p client.Pipeline, head string) (live, newest *client.Deployment, err error) {
	for d, err := range l.c.api().Deployments(ctx, l.slug) {
		if err != nil {
			return nil, nil, err
		}
		if d.Kind == troy.Preview {
			continue
		}
		if !d.State.Ended() {
			return nil, nil, fmt.Errorf("deployment %d is %s while the pipeline is %s", d.Number, d.State, p.Status)
		}
		if c, ok := l.t.known(d.Commit); ok && d.Kind == troy.Automated && d.State == troy.Succeeded {
			l.c.expect(d.ID, c.page)
		}
		if p.LiveDeploymentID != nil && d.ID == *p.LiveDeploymentID {
			live = &d
		}
		if d.Commit == head && (newest == nil || d.Number > newest.Number) {
			newest = &d
		}
	}
	return live, newest, nil
}

// served checks that the site shows a commit.
func (l *life) served(p client.Pipeline, commit string) error {
	want, _ := l.t.known(commit)
	if status, body, _ := l.c.w.get(p.Host, "/"); status != http.StatusOK || body != want.page {
		return fmt.Errorf("the site has %d %.60q, the live commit is %q", status, body, want.page)
	}
	return nil
}

// failed reports whether a commit's deployment may have failed.
func (l *life) failed(what string, d client.Deployment, head string) error {
	c, _ := l.t.known(head)
	switch {
	case c.broken && strings.Contains(d.Cause, "3"):
		l.c.tell("builds that failed on their own")
	case strings.Contains(d.Cause, "its worker died each time"):
		l.c.count("builds given up after two workers' deaths")
	case l.away && d.Cause != "":
		l.c.tell("builds that failed while the app was away")
	default:
		l.c.violation("failed", "deployment %d of %s after %s: %q", d.Number, l.slug, what, d.Cause)
	}
	return nil
}
