//go:build chaos

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // commit ids
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

const production = "main"

// team is a team's repository at GitHub, kept in memory: its content, the app's
// installation with access to it, and what happens to its webhooks.
type team struct {
	c     *chaos
	name  string // of the account
	id    int    // of the repository
	r     *rand.Rand
	sends sync.WaitGroup // webhooks in flight

	mu           sync.Mutex
	installation int
	heads        map[string]string // by branch
	commits      map[string]commit
	held         func() // the webhook that the next one overtakes
	pulls        pulls  // g.mu guards it
}

// commit is what a commit's build makes.
type commit struct {
	branch string
	page   string
	pause  time.Duration // duration of its build
	broken bool          // its build fails
}

// newTeam makes a team with a repository, one commit and an installation of the
// app.
func (c *chaos) newTeam(n int, r *rand.Rand) *team {
	t := &team{
		c: c, name: fmt.Sprintf("team-%d", n), id: 1000 + n, r: r, heads: map[string]string{}, commits: map[string]commit{},
		pulls: pulls{open: map[int]map[string]any{}, writers: map[string]int{"ada": 3}},
	}
	t.commit(production)
	c.g.mu.Lock()
	c.g.hosts[t.full()] = t
	c.g.mu.Unlock()
	t.install()
	return t
}

func (t *team) full() string { return t.name + "/site" }

func (t *team) about() map[string]any {
	return map[string]any{
		"id": t.id, "name": "site", "full_name": t.full(), "default_branch": production, "private": true,
		"owner": map[string]any{"login": t.name},
	}
}

func (t *team) installed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.installation
}

func (t *team) head(branch string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heads[branch]
}

func (t *team) known(id string) (commit, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.commits[id]
	return c, ok
}

func (t *team) message(id string) string {
	c, _ := t.known(id)
	return c.page
}

// commit puts a new commit at the head of a branch. Its build takes up to half
// a second; one in twelve fails.
func (t *team) commit(branch string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := fmt.Sprintf("%s's commit %d", t.name, len(t.commits)+1)
	sum := sha1.Sum([]byte(text)) //nolint:gosec // a commit id
	id := hex.EncodeToString(sum[:])
	t.commits[id] = commit{branch: branch, page: text, pause: time.Duration(t.r.IntN(500)) * time.Millisecond, broken: len(t.commits) > 0 && t.r.IntN(12) == 0}
	t.heads[branch] = id
	return id
}

// archive is a tarball with one folder at the top.
func (t *team) archive(id string) ([]byte, error) {
	c, ok := t.known(id)
	if !ok {
		return nil, fmt.Errorf("no commit %s", id)
	}
	command := fmt.Sprintf("mkdir dist && cp index.html app.js dist/ && sleep %.2f", c.pause.Seconds())
	if c.broken {
		command = "exit 3"
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for name, text := range map[string]string{
		"index.html": c.page, "app.js": c.page, "troy.toml": fmt.Sprintf("[build]\ncommand = %q\noutput = \"dist\"\n", command),
	} {
		if err := archive.WriteHeader(&tar.Header{Name: t.name + "-site-" + id[:7] + "/" + name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			return nil, err
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// push moves a branch and sends its webhook. An empty old id creates the
// branch, an empty new one removes it.
func (t *team) push(branch, before, after string, forced bool) {
	if branch == production && after != "" {
		t.c.tell("pushes")
	}
	if forced {
		t.c.tell("force pushes")
	}
	none := strings.Repeat("0", 40)
	change := map[string]any{
		"ref": "refs/heads/" + branch, "before": before, "after": after, "created": before == "", "deleted": after == "", "forced": forced,
		"commits": []any{}, "head_commit": nil, "pusher": map[string]any{"name": "ada"},
	}
	if before == "" {
		change["before"] = none
	}
	if after == "" {
		change["after"] = none
	} else {
		head := map[string]any{
			"id": after, "message": t.message(after), "author": map[string]any{"name": "Ada"},
			"added": []string{}, "modified": []string{"index.html"}, "removed": []string{},
		}
		change["head_commit"], change["commits"] = head, []any{head}
	}
	t.send("push", change, true)
}

// install and uninstall install the app in the team's account and remove it.
// Each installation has its own id.
func (t *team) install() {
	t.mu.Lock()
	t.installation = int(t.c.installations.Add(1))
	t.mu.Unlock()
	t.send("installation", map[string]any{"action": "created", "repositories": []any{t.about()}}, false)
}

func (t *team) uninstall() {
	t.send("installation", map[string]any{"action": "deleted", "repositories": []any{t.about()}}, false)
	t.mu.Lock()
	t.installation = 0
	t.mu.Unlock()
}

// send sends a webhook at random: at once, late, twice, after the next one, or
// not at all. A lost one is among the deliveries that Troy can request again,
// unless it may be lost for good.
func (t *team) send(event string, body map[string]any, silent bool) {
	installed := t.installed()
	if installed == 0 {
		return // GitHub sends nothing to an app that is not installed
	}
	body["sender"] = map[string]any{"login": "ada"}
	body["installation"] = map[string]any{"id": installed}
	if event != "installation" {
		body["repository"] = t.about()
	} else {
		body["installation"] = map[string]any{"id": installed, "app_id": 4711, "account": map[string]any{"login": t.name}, "repository_selection": "selected"}
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.c.t.Error(err)
		return
	}
	t.c.tell("webhooks")
	guid := uuid.NewString()
	t.mu.Lock()
	luck, late, quiet := t.r.IntN(100), time.Duration(t.r.IntN(3000))*time.Millisecond, silent && t.r.IntN(2) == 0
	before := t.held
	t.held = nil
	t.mu.Unlock()
	deliver := func() { t.deliver(event, guid, text) }
	switch {
	case luck < 15:
		t.c.tell("webhooks lost")
		if !quiet {
			t.c.g.tried(guid, event, http.StatusBadGateway, text)
		}
	case luck < 35:
		t.c.tell("webhooks late")
		t.sends.Go(func() { t.wait(late); deliver() })
	case luck < 50:
		t.c.tell("webhooks doubled")
		t.sends.Go(deliver)
		t.sends.Go(func() { t.wait(late / 4); deliver() })
	case luck < 60:
		t.c.tell("webhooks reordered")
		t.mu.Lock()
		t.held = deliver
		t.mu.Unlock()
	default:
		t.sends.Go(deliver)
	}
	if before != nil {
		t.sends.Go(func() { t.wait(late / 10); before() })
	}
}

// arrive waits until every webhook was sent.
func (t *team) arrive() {
	t.mu.Lock()
	held := t.held
	t.held = nil
	t.mu.Unlock()
	if held != nil {
		held()
	}
	t.sends.Wait()
}

func (t *team) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.c.ctx.Done():
	}
}

// deliver makes one attempt, as GitHub does: it never retries on its own.
func (t *team) deliver(event, guid string, body []byte) {
	status := t.c.hook(event, guid, body)
	if status/100 != 2 {
		t.c.tell("webhooks refused while web was down")
	}
	t.c.g.tried(guid, event, status, body)
}

// hook posts a signed webhook to one of the web processes, and returns the
// answer's status, or 502 if there was no answer.
func (c *chaos) hook(event, guid string, body []byte) int {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second) // GitHub's timeout
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.api().BaseURL+"/hooks/github", bytes.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return http.StatusBadGateway
	}
	mac := hmac.New(sha256.New, []byte(githubSecret))
	mac.Write(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("X-GitHub-Delivery", guid)
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return http.StatusBadGateway
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 == 4 {
		c.violation("webhooks", "%s got the answer %d", event, resp.StatusCode)
	}
	return resp.StatusCode
}
