package updates

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/troy-iaas/troy"
)

// Variable is the environment variable with a build's deployment.
const Variable = "TROY_DEPLOYMENT"

// Event is CodeBuild's event about one of Troy's builds, or about something
// else.
type Event struct {
	// Deployment is the id of the deployment being built, from the build's
	// Variable, or empty.
	Deployment string
	// Words describe the event.
	Words string
}

// codeBuildEvent is the used part of EventBridge's event
// (docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html).
type codeBuildEvent struct {
	DetailType string `json:"detail-type"`
	Source     string `json:"source"`
	Detail     struct {
		BuildID     string `json:"build-id"`
		Status      string `json:"build-status"`
		Phase       string `json:"completed-phase"`
		PhaseStatus string `json:"completed-phase-status"`
		Info        struct {
			Environment struct {
				Variables []struct {
					Name  string `json:"name"`
					Value string `json:"value"`
				} `json:"environment-variables"`
			} `json:"environment"`
		} `json:"additional-information"`
	} `json:"detail"`
}

// ParseEvent reads the payload of a notification. It accepts other events than
// CodeBuild's, since a topic may carry them.
func ParseEvent(message string) Event {
	var e codeBuildEvent
	if err := json.Unmarshal([]byte(message), &e); err != nil || e.Source != "aws.codebuild" {
		return Event{Words: "not an event of CodeBuild"}
	}
	_, build, _ := strings.Cut(e.Detail.BuildID, ":build/")
	out := Event{Words: clean(e.DetailType, 64) + " of " + clean(build, 300)}
	switch {
	case e.Detail.Phase != "":
		out.Words += ": " + clean(e.Detail.Phase, 32) + " " + clean(e.Detail.PhaseStatus, 32)
	case e.Detail.Status != "":
		out.Words += ": " + clean(e.Detail.Status, 32)
	}
	for _, v := range e.Detail.Info.Environment.Variables {
		if v.Name == Variable {
			out.Deployment = clean(v.Value, 64)
		}
	}
	return out
}

// clean makes a text one line of valid UTF-8 with at most n characters.
func clean(s string, most int) string {
	return troy.Cut(strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), most)
}
