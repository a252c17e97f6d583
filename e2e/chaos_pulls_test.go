//go:build chaos

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
)

// chaosPulls is how many pull requests each team has.
const chaosPulls = 3

// previewWait is how long the builds of previews let those of sites go first.
const previewWait = 5 * time.Minute

func (t *team) requested() *pulls { return &t.pulls }

func topic(number int) string { return "topic-" + strconv.Itoa(number) }

// request changes a pull request, and sends its webhook. It returns false if the
// change is not possible.
func (t *team) request(number int, action string) bool {
	t.c.g.mu.Lock()
	pr := t.pulls.open[number]
	t.c.g.mu.Unlock()
	open := pr != nil && pr["state"] == "open"
	switch {
	case action == "opened" && pr != nil, action == "reopened" && (pr == nil || open), action != "opened" && action != "reopened" && !open:
		return false
	}
	head := t.head(topic(number))
	if action == "opened" || action == "synchronize" {
		head = t.commit(topic(number))
	}
	at := time.Now().UTC().Format(time.RFC3339)
	// An answer that is being written has the old one.
	now := map[string]any{
		"number": number, "state": "open", "title": "Change it", "user": map[string]any{"id": 3, "login": "ada", "type": "User"},
		"head": map[string]any{"ref": topic(number), "sha": head, "repo": t.about()}, "base": map[string]any{"ref": production, "repo": t.about()},
		"updated_at": at, "html_url": fmt.Sprintf("https://github.example/%s/pull/%d", t.full(), number),
	}
	switch action {
	case "closed":
		now["state"] = "closed"
	case "edited":
		now["title"], now["base"] = "Change it at "+at, map[string]any{"ref": "next", "repo": t.about()}
	}
	t.c.g.mu.Lock()
	t.pulls.open[number] = now
	t.c.g.mu.Unlock()
	t.c.tell("pull requests " + action)
	t.send("pull_request", map[string]any{"action": action, "number": number, "pull_request": now}, true)
	return true
}

// changesRequests changes each of the team's pull requests, or not, while its
// pushes are built.
func (l *life) changesRequests() {
	actions := []string{"opened", "synchronize", "synchronize", "closed", "reopened", "edited", ""}
	for number := range chaosPulls {
		for range 2 {
			l.t.mu.Lock()
			action := actions[l.t.r.IntN(len(actions))]
			l.t.mu.Unlock()
			if action != "" && !l.t.request(number+1, action) {
				l.t.request(number+1, "opened")
			}
			l.t.mu.Lock()
			pause := time.Duration(l.t.r.IntN(300)) * time.Millisecond
			l.t.mu.Unlock()
			l.t.wait(pause)
		}
	}
}

// endsRequests leaves the first pull request open with another commit, and the
// second one closed.
func (l *life) endsRequests() {
	for _, action := range []string{"opened", "reopened", "synchronize"} {
		l.t.request(1, action)
	}
	l.t.request(2, "opened")
	l.t.request(2, "closed")
}

// requestsSettle waits until nothing is left of the closed pull requests, and
// each open one shows its newest commit, or that its build failed.
func (l *life) requestsSettle() bool {
	l.t.arrive()
	l.t.c.g.mu.Lock()
	list := map[int]bool{} // whether each is open
	for number, pr := range l.t.pulls.open {
		list[number] = pr["state"] == "open"
	}
	l.t.c.g.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(list)) {
		ok := l.c.withinTime(l.c.stepTime+previewWait, "pull requests", fmt.Sprintf("%s pull request %d", l.slug, number), func(ctx context.Context) error {
			if list[number] {
				return l.previewed(ctx, number)
			}
			return l.leavesNothing(ctx, number)
		})
		if !ok {
			return false
		}
	}
	return true
}

// leavesNothing checks that a closed pull request has neither a preview, nor an
// address, nor a GitHub deployment, nor a build.
func (l *life) leavesNothing(ctx context.Context, number int) error {
	var open, running int
	var labels []string
	var distribution string
	if err := l.c.db.QueryRow(ctx, `
		SELECT count(DISTINCT v.id) FILTER (WHERE v.id IS NOT NULL AND v.removed_at IS NULL), count(*) FILTER (WHERE d.state IN ('waiting', 'building', 'publishing')),
		       coalesce(array_agg('d-' || d.number) FILTER (WHERE d.id IS NOT NULL), '{}') || array['pr-' || $2::int], coalesce(max(p.distribution_id), '')
		FROM pipelines p LEFT JOIN previews v ON v.pipeline_id = p.id AND v.number = $2::int LEFT JOIN deployments d ON d.preview_id = v.id
		WHERE p.slug = $1`, l.slug, number).Scan(&open, &running, &labels, &distribution); err != nil {
		return err
	}
	for _, label := range labels {
		if _, err := os.Stat(filepath.Join(l.c.w.dir, "data", "cloud", "previews", distribution, label+".json")); err == nil {
			return fmt.Errorf("it is closed, but %s has a pointer", label)
		}
	}
	status, body, _ := l.c.w.get(fmt.Sprintf("pr-%d--%s.localhost", number, l.slug), "/")
	switch left := l.t.deploymentsOf(topic(number)); {
	case open+running > 0:
		return fmt.Errorf("it is closed, but has %d previews and %d deployments that run", open, running)
	case status != http.StatusNotFound:
		return fmt.Errorf("it is closed, but its address shows %d %.60q", status, body)
	case len(left) > 0:
		return fmt.Errorf("it is closed, but GitHub has %v", left)
	}
	return nil
}

// previewed checks that the preview of an open pull request shows its newest
// commit.
func (l *life) previewed(ctx context.Context, number int) error {
	head := l.t.head(topic(number))
	want, _ := l.t.known(head)
	var state, cause string
	err := l.c.db.QueryRow(ctx, `
		SELECT d.state, d.cause FROM previews v JOIN pipelines p ON p.id = v.pipeline_id JOIN deployments d ON d.preview_id = v.id
		WHERE p.slug = $1 AND v.number = $2 AND v.closed_at IS NULL AND d.commit_sha = $3 ORDER BY d.number DESC LIMIT 1`, l.slug, number, head).Scan(&state, &cause)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("it is open, but its commit %s has no deployment", head[:7])
	}
	if err != nil {
		return err
	}
	switch {
	case state == string(troy.Failed) && want.broken && strings.Contains(cause, "3"):
		l.c.tell("builds that failed on their own")
		return nil
	case state == string(troy.Failed) && strings.Contains(cause, "its worker died each time"):
		l.c.count("builds given up after two workers' deaths")
		return nil
	case state == string(troy.Failed) && l.away && cause != "":
		l.c.tell("builds that failed while the app was away")
		return nil
	case state != string(troy.Succeeded):
		return fmt.Errorf("it is open, and the deployment of its commit %s is %s (%s)", head[:7], state, cause)
	}
	if status, body, _ := l.c.w.get(fmt.Sprintf("pr-%d--%s.localhost", number, l.slug), "/"); status != http.StatusOK || body != want.page {
		return fmt.Errorf("it is open, but its address shows %d %.60q, want %q", status, body, want.page)
	}
	// No deployment but the shown one's may stay at GitHub.
	if left := l.t.deploymentsOf(topic(number)); len(left) != 1 || !strings.HasPrefix(left[0], head[:7]) {
		return fmt.Errorf("it is open, and GitHub has %v, want one of %s", left, head[:7])
	}
	l.c.tell("previews that show their newest commit")
	return nil
}

// deploymentsOf lists GitHub's deployments of previews of a branch's commits; of
// all commits if the branch is empty.
func (t *team) deploymentsOf(branch string) (list []string) {
	t.mu.Lock()
	of := map[string]bool{}
	for id, c := range t.commits {
		of[id] = branch == "" || c.branch == branch
	}
	t.mu.Unlock()
	t.c.g.mu.Lock()
	defer t.c.g.mu.Unlock()
	for _, d := range t.pulls.deployments {
		ref := fmt.Sprint(d["ref"])
		if d["transient_environment"] == true && of[ref] {
			status, _ := d["status"].(map[string]any)
			list = append(list, fmt.Sprintf("%s %v %v", ref[:7], d["environment"], status["state"]))
		}
	}
	slices.Sort(list)
	return list
}

// deploymentsLeft lists GitHub's deployments of all teams' previews.
func (c *chaos) deploymentsLeft() (list []string) {
	c.g.mu.Lock()
	var teams []*team
	for _, repo := range c.g.hosts {
		if t, ok := repo.(*team); ok {
			teams = append(teams, t)
		}
	}
	c.g.mu.Unlock()
	for _, t := range teams {
		for _, d := range t.deploymentsOf("") {
			list = append(list, t.name+" "+d)
		}
	}
	return list
}
