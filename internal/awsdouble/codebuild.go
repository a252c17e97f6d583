package awsdouble

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
)

// codebuild is CodeBuild. It runs a build's phases on this machine, in their
// own process namespace. Sources and artifacts are in the S3 server behind the
// double (docs.aws.amazon.com/codebuild/latest/APIReference).
type codebuild struct {
	d *Double

	mu       sync.Mutex
	projects map[string]bool
	builds   map[string]*build
	order    []string          // ids, newest first
	tokens   map[string]string // idempotency token → id
	running  sync.WaitGroup
}

type build struct {
	id, project string
	number      int
	request     [sha256.Size]byte
	in          startBuild
	status      string
	start, end  time.Time
	phases      []*phase
	lines       []logEvent
	ctx         context.Context
	cancel      context.CancelFunc
}

type phase struct {
	kind, status string
	start, end   time.Time
	message      string
}

type logEvent struct {
	at      time.Time
	message string
}

// startBuild is the part of StartBuild's input that the double reads.
type startBuild struct {
	ProjectName            string `json:"projectName"`
	IdempotencyToken       string `json:"idempotencyToken"`
	SourceTypeOverride     string `json:"sourceTypeOverride"`
	SourceLocationOverride string `json:"sourceLocationOverride"`
	BuildspecOverride      string `json:"buildspecOverride"`
	TimeoutMinutes         int    `json:"timeoutInMinutesOverride"`
	ArtifactsOverride      struct {
		Type      string `json:"type"`
		Location  string `json:"location"`
		Path      string `json:"path"`
		Name      string `json:"name"`
		Packaging string `json:"packaging"`
	} `json:"artifactsOverride"`
	Variables []map[string]string `json:"environmentVariablesOverride"`
}

func newCodeBuild(d *Double) *codebuild {
	return &codebuild{d: d, projects: map[string]bool{}, builds: map[string]*build{}, tokens: map[string]string{}}
}

// MakeProject creates a CodeBuild project.
func (d *Double) MakeProject(name string) {
	d.codebuild.mu.Lock()
	defer d.codebuild.mu.Unlock()
	d.codebuild.projects[name] = true
}

// Builds returns the builds' ids and statuses, newest first.
func (d *Double) Builds() []string {
	d.codebuild.mu.Lock()
	defer d.codebuild.mu.Unlock()
	var all []string
	for _, id := range d.codebuild.order {
		all = append(all, id+" "+d.codebuild.builds[id].status)
	}
	return all
}

// BreakBuilds ends all running builds with FAULT, like a failure of CodeBuild's
// machines.
func (d *Double) BreakBuilds() {
	c := d.codebuild
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.builds {
		if b.status == "IN_PROGRESS" {
			c.finish(b, "FAULT")
		}
	}
}

func (c *codebuild) action(r *http.Request, _ []byte) string {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return action
}

func (c *codebuild) fail(w http.ResponseWriter, status int, code, message string) {
	if code == "Throttling" {
		code = "ThrottlingException"
	}
	answerJSON(w, status, map[string]string{"__type": code, "message": message})
}

func (c *codebuild) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var in struct {
		IDs         []string `json:"ids"`
		ID          string   `json:"id"`
		ProjectName string   `json:"projectName"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		c.fail(w, http.StatusBadRequest, "InvalidInputException", err.Error())
		return
	}
	switch action := c.action(r, body); action {
	case "StartBuild":
		c.start(w, body)
	case "BatchGetBuilds":
		found, missing := []any{}, []string{}
		for _, id := range in.IDs {
			if b := c.builds[id]; b != nil {
				found = append(found, b.json())
			} else {
				missing = append(missing, id)
			}
		}
		answerJSON(w, http.StatusOK, map[string]any{"builds": found, "buildsNotFound": missing})
	case "ListBuildsForProject":
		if !c.projects[in.ProjectName] {
			c.fail(w, http.StatusBadRequest, "ResourceNotFoundException", "The provided project arn or project name does not exist")
			return
		}
		answerJSON(w, http.StatusOK, map[string]any{"ids": c.order[:min(len(c.order), 100)]})
	case "StopBuild":
		b := c.builds[in.ID]
		if b == nil {
			c.fail(w, http.StatusBadRequest, "ResourceNotFoundException", "Build "+in.ID+" was not found")
			return
		}
		if b.status == "IN_PROGRESS" {
			c.finish(b, "STOPPED")
		}
		answerJSON(w, http.StatusOK, map[string]any{"build": b.json()})
	case "BatchGetProjects":
		answerJSON(w, http.StatusOK, c.getProjects(body))
	default:
		c.fail(w, http.StatusBadRequest, "InvalidInputException", action)
	}
}

func (c *codebuild) getProjects(body []byte) map[string]any {
	var in struct {
		Names []string `json:"names"`
	}
	_ = json.Unmarshal(body, &in)
	found, missing := []any{}, []string{}
	for _, name := range in.Names {
		if c.projects[name] {
			found = append(found, map[string]any{"name": name})
		} else {
			missing = append(missing, name)
		}
	}
	return map[string]any{"projects": found, "projectsNotFound": missing}
}

// start requires the lock.
func (c *codebuild) start(w http.ResponseWriter, body []byte) {
	var in startBuild
	if err := json.Unmarshal(body, &in); err != nil {
		c.fail(w, http.StatusBadRequest, "InvalidInputException", err.Error())
		return
	}
	if !c.projects[in.ProjectName] {
		c.fail(w, http.StatusBadRequest, "ResourceNotFoundException", "Project cannot be found: arn:aws:codebuild:"+c.d.cfg.Region+":"+c.d.cfg.Account+":project/"+in.ProjectName)
		return
	}
	if in.TimeoutMinutes < 5 || in.TimeoutMinutes > 2160 {
		c.fail(w, http.StatusBadRequest, "InvalidInputException", "Invalid timeout: it must be between 5 and 2160")
		return
	}
	request := sha256.Sum256(body)
	if id, used := c.tokens[in.IdempotencyToken]; used && in.IdempotencyToken != "" {
		if c.builds[id].request != request {
			c.fail(w, http.StatusBadRequest, "InvalidInputException", "The idempotency token was used with other parameters")
			return
		}
		answerJSON(w, http.StatusOK, map[string]any{"build": c.builds[id].json()})
		return
	}
	if limit := c.d.cfg.MaxBuilds; limit > 0 {
		running := 0
		for _, b := range c.builds {
			if b.status == "IN_PROGRESS" {
				running++
			}
		}
		if running >= limit {
			c.fail(w, http.StatusBadRequest, "AccountLimitExceededException", "Cannot have more than "+fmt.Sprint(limit)+" builds in queue for the account")
			return
		}
	}
	b := &build{id: in.ProjectName + ":" + uuid.NewString(), project: in.ProjectName, number: len(c.order) + 1, request: request, in: in, status: "IN_PROGRESS", start: time.Now()}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	c.builds[b.id] = b
	c.order = slices.Insert(c.order, 0, b.id)
	if in.IdempotencyToken != "" {
		c.tokens[in.IdempotencyToken] = b.id
	}
	answerJSON(w, http.StatusOK, map[string]any{"build": b.json()})
	c.running.Go(func() { c.run(b) })
}

// finish requires the lock.
func (c *codebuild) finish(b *build, status string) {
	b.status, b.end = status, time.Now()
	if n := len(b.phases); n > 0 && b.phases[n-1].status == "" {
		b.phases[n-1].status, b.phases[n-1].end = status, b.end
	}
	b.phases = append(b.phases, &phase{kind: "COMPLETED", status: "SUCCEEDED", start: b.end, end: b.end})
	b.cancel()
	c.d.announce(b.event(c.d.cfg, "CodeBuild Build State Change"))
}

func (b *build) streamName() string {
	_, stream, _ := strings.Cut(b.id, ":")
	return stream
}

func (b *build) logGroup() string { return "/aws/codebuild/" + b.project }

func (b *build) json() map[string]any {
	phases := []any{}
	for _, p := range b.phases {
		one := map[string]any{"phaseType": p.kind, "startTime": seconds(p.start), "contexts": []any{}}
		if p.status != "" {
			one["phaseStatus"], one["endTime"] = p.status, seconds(p.end)
		}
		if p.message != "" {
			one["contexts"] = []any{map[string]any{"statusCode": "COMMAND_EXECUTION_ERROR", "message": p.message}}
		}
		phases = append(phases, one)
	}
	out := map[string]any{
		"id": b.id, "projectName": b.project, "buildStatus": b.status, "startTime": seconds(b.start), "phases": phases,
		"environment": map[string]any{"environmentVariables": b.in.Variables}, "buildNumber": b.number,
	}
	if len(b.lines) > 0 {
		out["logs"] = map[string]any{"groupName": b.logGroup(), "streamName": b.streamName()}
	}
	if !b.end.IsZero() {
		out["endTime"], out["buildComplete"] = seconds(b.end), true
	}
	return out
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// print appends a line of CodeBuild itself to a build's log.
func (c *codebuild) print(b *build, format string, args ...any) {
	c.say(b, fmt.Sprintf("[Container] %s %s\n", time.Now().Format("2006/01/02 15:04:05.000000"), fmt.Sprintf(format, args...)))
}

func (c *codebuild) say(b *build, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.lines = append(b.lines, logEvent{time.Now(), text})
}

// phase runs one phase, and reports whether the build continues.
func (c *codebuild) phase(b *build, kind string, f func() error) bool {
	c.mu.Lock()
	if b.status != "IN_PROGRESS" {
		c.mu.Unlock()
		return false
	}
	p := &phase{kind: kind, start: time.Now()}
	b.phases = append(b.phases, p)
	c.mu.Unlock()
	err := f()
	c.mu.Lock()
	if p.status != "" {
		c.mu.Unlock()
		return false // it was stopped
	}
	p.status, p.end = "SUCCEEDED", time.Now()
	if err != nil {
		p.status, p.message = "FAILED", err.Error()
	}
	status := p.status
	event := b.event(c.d.cfg, "CodeBuild Build Phase Change")
	c.mu.Unlock()
	c.print(b, "Phase complete: %s State: %s", kind, status)
	c.d.announce(event)
	return err == nil
}

func nothing() error { return nil }

// run runs a build from start to end.
func (c *codebuild) run(b *build) {
	dir, err := os.MkdirTemp("", "troy-codebuild-")
	if err == nil {
		err = os.Mkdir(dir+".machine", 0o700)
	}
	defer os.RemoveAll(dir + ".machine")
	defer os.RemoveAll(dir)
	if err != nil {
		c.end(b, "FAULT")
		return
	}
	client := c.d.newS3()
	var spec struct {
		Phases map[string]struct {
			Commands []string `json:"commands"`
		} `json:"phases"`
		Artifacts struct {
			Files []string `json:"files"`
		} `json:"artifacts"`
	}
	good := c.phase(b, "SUBMITTED", nothing) && c.phase(b, "QUEUED", nothing) && c.phase(b, "PROVISIONING", nothing) &&
		c.phase(b, "DOWNLOAD_SOURCE", func() error {
			if err := json.Unmarshal([]byte(b.in.BuildspecOverride), &spec); err != nil {
				return fmt.Errorf("YAML_FILE_ERROR: %w", err)
			}
			return download(b.ctx, client, b.in.SourceLocationOverride, dir)
		})
	for _, p := range []struct{ kind, name string }{{"INSTALL", "install"}, {"PRE_BUILD", "pre_build"}, {"BUILD", "build"}, {"POST_BUILD", "post_build"}} {
		good = good && c.phase(b, p.kind, func() error {
			for _, command := range spec.Phases[p.name].Commands {
				c.print(b, "Running command %s", command)
				if err := c.command(b, dir, command); err != nil {
					return fmt.Errorf("Error while executing command: %s. Reason: %w", command, err) //nolint:staticcheck // CodeBuild's own text
				}
			}
			return nil
		})
	}
	// AWS runs it after a failure as well.
	kept := c.phase(b, "UPLOAD_ARTIFACTS", func() error {
		for _, name := range spec.Artifacts.Files {
			if err := upload(b.ctx, client, b.in, dir, name); err != nil {
				return fmt.Errorf("CLIENT_ERROR: no matching artifact paths found: %w", err)
			}
		}
		return nil
	})
	c.phase(b, "FINALIZING", nothing)
	if good && kept {
		c.end(b, "SUCCEEDED")
	} else {
		c.end(b, "FAILED")
	}
}

func (c *codebuild) end(b *build, status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.status == "IN_PROGRESS" {
		c.finish(b, status)
	}
}

func download(ctx context.Context, client *s3.Client, location, dir string) error {
	bucket, key, _ := strings.Cut(location, "/")
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	data, err := io.ReadAll(out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return err
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	for _, f := range z.File {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		r, err := f.Open()
		if err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close(), os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, content, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

func upload(ctx context.Context, client *s3.Client, in startBuild, dir, name string) error {
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer file.Close()
	key := strings.Trim(in.ArtifactsOverride.Path, "/") + "/" + in.ArtifactsOverride.Name + "/" + name
	_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &in.ArtifactsOverride.Location, Key: &key, Body: file})
	return err
}
