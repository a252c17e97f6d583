package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// RerunAction is the identifier of the button on a check run that failed or was
// cancelled, in addition to GitHub's own re-run button.
const RerunAction = "troy_build_again"

// ApproveAction is the identifier of the button on a commit that waits for an
// approval.
const ApproveAction = "troy_approve"

const (
	pageSize = 100
	// maxText is the maximum length of each text of a check run in bytes;
	// GitHub accepts 65,535 characters.
	maxText = 60_000
	// maxPages bounds the search for earlier reports.
	maxPages = 3
)

// Report implements forge.Forge: one check run for each deployment, found again
// by its external_id and, unless the environment is empty, one GitHub
// deployment, found again by its payload. It writes each only when it changes,
// since GitHub limits writes to some 80 a minute.
func (c *Client) Report(ctx context.Context, r forge.Repository, report forge.Report) error {
	if err := forge.CheckCommit(report.Commit); err != nil {
		return err
	}
	if report.Deployment == "" || report.Name == "" {
		return troy.Errorf(troy.Invalid, "github: a report without a deployment or a name")
	}
	what := fmt.Sprintf("github: report %s of %s", report.Deployment, name(r))
	check := c.with(ctx, r, writeChecks, func(g grant) error { return c.reportCheck(ctx, g, report) })
	check = failed(what+" as a check run", forge.ErrNoCommit, check)
	if _, limited := errors.AsType[*forge.RateLimitError](check); limited || report.Environment == "" {
		return check
	}
	deployment := c.with(ctx, r, writeDeployments, func(g grant) error { return c.reportDeployment(ctx, g, report) })
	return errors.Join(check, failed(what+" as a deployment", forge.ErrNoCommit, deployment))
}

// checkRun is the body for writing a check run
// (docs.github.com/rest/checks/runs#create-a-check-run).
type checkRun struct {
	Name        string        `json:"name"`
	HeadSHA     string        `json:"head_sha,omitempty"` // when it is created
	DetailsURL  string        `json:"details_url,omitempty"`
	ExternalID  string        `json:"external_id"`
	Status      string        `json:"status"`
	Conclusion  string        `json:"conclusion,omitempty"`
	StartedAt   *time.Time    `json:"started_at,omitempty"`
	CompletedAt *time.Time    `json:"completed_at,omitempty"`
	Output      checkOutput   `json:"output"`
	Actions     []checkAction `json:"actions,omitempty"`
}

type checkOutput struct {
	Title   string `json:"title"`
	Summary string `json:"summary"`
	Text    string `json:"text,omitempty"`
}

// checkAction is a button: at most 20, 40 and 20 characters.
type checkAction struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"`
}

// within shortens a text to most bytes of valid UTF-8. GitHub documents its
// limits in characters; in bytes a text is within both.
func within(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const end = "…"
	return strings.ToValidUTF8(s[:most-len(end)], "") + end
}

func checkOf(report forge.Report) checkRun {
	run := checkRun{
		Name: forge.Line(report.Name, 100), HeadSHA: report.Commit, DetailsURL: webURL(report.DetailsURL),
		ExternalID: report.Deployment, StartedAt: known(report.Started),
		Output: checkOutput{Title: within(forge.Line(report.Title, 255), 255), Summary: within(report.Summary, maxText), Text: within(report.Text, maxText)},
	}
	if run.Output.Title == "" {
		run.Output.Title = report.State.String()
	}
	if run.Output.Summary == "" {
		run.Output.Summary = run.Output.Title
	}
	again := []checkAction{{Label: "Build again", Description: "Build and deploy this commit again", Identifier: RerunAction}}
	switch report.State {
	case troy.Waiting:
		run.Status = "queued"
	case troy.Building, troy.Publishing:
		run.Status = "in_progress"
	case troy.Succeeded:
		run.Conclusion = "success"
	case troy.Failed:
		run.Conclusion, run.Actions = "failure", again
	case troy.Cancelled:
		run.Conclusion, run.Actions = "cancelled", again
	case forge.Skipped: // neutral satisfies a required check
		run.Conclusion = "neutral"
	case forge.NeedsApproval:
		run.Conclusion = "action_required"
		run.Actions = []checkAction{{Label: "Approve", Description: "Build this commit's preview", Identifier: ApproveAction}}
	default: // superseded: whether the commit has a fault is unknown
		run.Conclusion = "neutral"
	}
	if run.Conclusion != "" {
		run.Status, run.CompletedAt = "completed", known(report.Ended)
	}
	return run
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// webURL drops addresses for which GitHub would refuse the whole report.
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return s
}

func (c *Client) reportCheck(ctx context.Context, g grant, report forge.Report) error {
	run := checkOf(report)
	for page := 1; page <= maxPages; page++ {
		var answer struct {
			CheckRuns []struct {
				ID int64 `json:"id"`
				checkRun
			} `json:"check_runs"`
		}
		list := call("GET", repoPath(g)+"/commits/"+report.Commit+"/check-runs", "Bearer "+g.token, nil, &answer)
		list.Query = url.Values{
			"check_name": {run.Name}, "filter": {"all"},
			"per_page": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(page)},
		}
		if _, err := c.api.Do(ctx, list); err != nil {
			return err
		}
		for _, old := range answer.CheckRuns {
			if old.ExternalID != run.ExternalID {
				continue
			}
			same := old.Status == run.Status && old.Conclusion == run.Conclusion &&
				old.Output == run.Output && (old.DetailsURL == run.DetailsURL || run.DetailsURL == "")
			if same || old.Status == "completed" && run.Status != "completed" {
				return nil
			}
			run.HeadSHA = ""
			_, err := c.api.Do(ctx, call("PATCH", repoPath(g)+"/check-runs/"+strconv.FormatInt(old.ID, 10), "Bearer "+g.token, run, nil))
			return err
		}
		if len(answer.CheckRuns) < pageSize {
			break
		}
	}
	_, err := c.api.Do(ctx, call("POST", repoPath(g)+"/check-runs", "Bearer "+g.token, run, nil))
	return err
}

// deploymentPayload is the payload of Troy's GitHub deployments.
type deploymentPayload struct {
	Deployment string `json:"troy_deployment"`
}

// deploymentState returns the state of a GitHub deployment
// (docs.github.com/rest/deployments/statuses#create-a-deployment-status), and
// whether it is worth making one for it.
func deploymentState(s troy.DeploymentState) (state string, worth bool) {
	switch s {
	case troy.Waiting:
		return "queued", false
	case troy.Building, troy.Publishing:
		return "in_progress", true
	case troy.Succeeded:
		return "success", true
	case troy.Failed:
		return "failure", true
	}
	return "inactive", false
}

func (c *Client) reportDeployment(ctx context.Context, g grant, report forge.Report) error {
	state, worth := deploymentState(report.State)
	id, err := c.findDeployment(ctx, g, report)
	if err != nil {
		return err
	}
	if id == 0 && !worth {
		return nil
	}
	base := repoPath(g) + "/deployments"
	if id == 0 {
		// It merges nothing and waits for no other check: Troy builds this
		// commit, and decides whether it may.
		ask := map[string]any{
			"ref": report.Commit, "task": "deploy", "auto_merge": false, "required_contexts": []string{},
			"environment": report.Environment, "description": forge.Line(report.Name, 140),
			"payload": deploymentPayload{report.Deployment},
			// GitHub shows transient environments apart, and does not set the
			// deployments of others inactive.
			"transient_environment": report.Transient, "production_environment": !report.Transient,
		}
		var made struct {
			ID int64 `json:"id"`
		}
		if _, err := c.api.Do(ctx, call("POST", base, "Bearer "+g.token, ask, &made)); err != nil {
			return err
		}
		if id = made.ID; id == 0 {
			return errors.New("the new deployment has no id")
		}
	}
	return c.reportStatus(ctx, g, base+"/"+strconv.FormatInt(id, 10)+"/statuses", state, report)
}

// findDeployment returns the id of the GitHub deployment, or 0.
func (c *Client) findDeployment(ctx context.Context, g grant, report forge.Report) (int64, error) {
	for page := 1; page <= maxPages; page++ {
		var answer []struct {
			ID      int64           `json:"id"`
			Payload json.RawMessage `json:"payload"`
		}
		list := call("GET", repoPath(g)+"/deployments", "Bearer "+g.token, nil, &answer)
		list.Query = url.Values{
			"sha": {report.Commit}, "environment": {report.Environment}, "task": {"deploy"},
			"per_page": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(page)},
		}
		if _, err := c.api.Do(ctx, list); err != nil {
			return 0, err
		}
		for _, d := range answer {
			// Other apps' payloads may have any form.
			var p deploymentPayload
			if json.Unmarshal(d.Payload, &p) == nil && p.Deployment == report.Deployment {
				return d.ID, nil
			}
		}
		if len(answer) < pageSize {
			break
		}
	}
	return 0, nil
}

type deploymentStatus struct {
	State          string `json:"state"`
	Description    string `json:"description"`
	EnvironmentURL string `json:"environment_url,omitempty"`
	LogURL         string `json:"log_url,omitempty"`
}

func (c *Client) reportStatus(ctx context.Context, g grant, path, state string, report forge.Report) error {
	want := deploymentStatus{State: state, Description: forge.Line(report.Title, 140), LogURL: webURL(report.DetailsURL)}
	if state == "success" {
		want.EnvironmentURL = webURL(report.SiteURL)
	}
	var newest []deploymentStatus
	list := call("GET", path, "Bearer "+g.token, nil, &newest)
	list.Query = url.Values{"per_page": {"1"}}
	if _, err := c.api.Do(ctx, list); err != nil {
		return err
	}
	if len(newest) > 0 {
		switch old := newest[0]; {
		case old.State == "inactive":
			// GitHub does this itself when a later one succeeded.
			return nil
		case old.State == want.State && old.Description == want.Description && old.EnvironmentURL == want.EnvironmentURL:
			return nil
		case (old.State == "success" || old.State == "failure") && !report.State.Ended():
			return nil
		}
	}
	_, err := c.api.Do(ctx, call("POST", path, "Bearer "+g.token, want, nil))
	return err
}
