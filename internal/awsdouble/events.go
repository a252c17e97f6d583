package awsdouble

import (
	"encoding/json"

	"github.com/google/uuid"
)

// timeForm is the format of times in CodeBuild's events.
const timeForm = "Jan 2, 2006 3:04:05 PM"

// event returns EventBridge's event for a build
// (docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html).
// It requires the lock.
func (b *build) event(cfg Config, kind string) []byte {
	arn := "arn:aws:codebuild:" + cfg.Region + ":" + cfg.Account + ":build/" + b.id
	variables := []any{}
	for _, v := range b.in.Variables {
		variables = append(variables, map[string]any{"name": v["name"], "value": v["value"], "type": v["type"]})
	}
	info := map[string]any{
		"build-complete": b.status != "IN_PROGRESS", "build-number": b.number, "initiator": "troy",
		"build-start-time": b.start.UTC().Format(timeForm), "environment": map[string]any{"environment-variables": variables},
		"logs": map[string]any{"group-name": nil, "stream-name": nil},
	}
	detail := map[string]any{"project-name": b.project, "build-id": arn, "additional-information": info, "build-status": b.status}
	if n := len(b.phases); n > 0 && kind == "CodeBuild Build Phase Change" {
		p := b.phases[n-1]
		delete(detail, "build-status")
		detail["completed-phase"], detail["completed-phase-status"] = p.kind, p.status
		detail["completed-phase-start"], detail["completed-phase-end"] = p.start.UTC().Format(timeForm), p.end.UTC().Format(timeForm)
	}
	text, _ := json.Marshal(map[string]any{
		"version": "0", "id": uuid.NewString(), "detail-type": kind, "source": "aws.codebuild", "account": cfg.Account,
		"region": cfg.Region, "resources": []string{arn}, "detail": detail,
	})
	return text
}

// announce passes an event to the listener.
func (d *Double) announce(event []byte) {
	if d.cfg.Event != nil {
		d.cfg.Event(event)
	}
	d.mu.Lock()
	topics := d.topics
	d.mu.Unlock()
	for _, t := range topics {
		t.publish(event)
	}
}
