package troy

import (
	"fmt"
	"slices"
	"strings"
)

// Status is the status of a pipeline. Rows and JSON hold its value
// ("ready_for_deployment"); people see its name ("Ready for Deployment").
type Status string

// The thirteen statuses, in the order of a pipeline's life.
const (
	// PreProvisioned: created, without DNS record or distribution. The pipeline
	// rests here until a user requests provisioning.
	PreProvisioned Status = "pre_provisioned"
	// ProvisionRequest: queued for provisioning.
	ProvisionRequest Status = "provision_request"
	// Provisioning: a worker is creating the distribution and the DNS record.
	Provisioning Status = "provisioning"
	// FailedToProvision: provisioning failed. The resources made so far are
	// recorded, and a retry continues from there.
	FailedToProvision Status = "failed_to_provision"
	// ReadyForDeployment: provisioned, with nothing live.
	ReadyForDeployment Status = "ready_for_deployment"
	// Queued: a deployment is requested and not yet running.
	Queued Status = "queued"
	// Deploying: a deployment is building or publishing.
	Deploying Status = "deploying"
	// Deployed: a deployment is live and nothing waits.
	Deployed Status = "deployed"
	// FailedToDeploy: the newest deployment failed; the previous one stays
	// live.
	FailedToDeploy Status = "failed_to_deploy"
	// ScheduledForDeletion: deletion was requested. During the grace period it
	// can be undone. Then the distribution is being disabled, which takes
	// minutes on a real CDN.
	ScheduledForDeletion Status = "scheduled_for_deletion"
	// Deleting: the distribution, the record, the objects and the row are
	// being removed.
	Deleting Status = "deleting"
	// FailedToDelete: removal stopped; a retry continues from there.
	FailedToDelete Status = "failed_to_delete"
	// Deleted appears only in events: the row no longer exists.
	Deleted Status = "deleted"
)

// Statuses returns all thirteen statuses in the order of a pipeline's life.
func Statuses() []Status {
	return []Status{
		PreProvisioned, ProvisionRequest, Provisioning, FailedToProvision,
		ReadyForDeployment, Queued, Deploying, Deployed, FailedToDeploy,
		ScheduledForDeletion, Deleting, FailedToDelete, Deleted,
	}
}

// RowStatuses returns the twelve statuses that a pipeline's row can have.
func RowStatuses() []Status {
	all := Statuses()
	return all[:len(all)-1]
}

// next is the transition table. Next adds Scheduled for Deletion to the first
// nine.
var next = map[Status][]Status{
	PreProvisioned:       {ProvisionRequest},
	ProvisionRequest:     {Provisioning, FailedToProvision},
	Provisioning:         {ReadyForDeployment, FailedToProvision},
	FailedToProvision:    {ProvisionRequest},
	ReadyForDeployment:   {Queued},
	Queued:               {Deploying, FailedToDeploy, Deployed, ReadyForDeployment},
	Deploying:            {Deployed, FailedToDeploy, Queued, ReadyForDeployment},
	Deployed:             {Queued},
	FailedToDeploy:       {Queued},
	ScheduledForDeletion: {Deleting, FailedToDelete, PreProvisioned, ProvisionRequest, FailedToProvision, ReadyForDeployment, Deployed, FailedToDeploy},
	Deleting:             {Deleted, FailedToDelete},
	FailedToDelete:       {ScheduledForDeletion},
	Deleted:              {},
}

// Next returns the statuses that may follow s.
func (s Status) Next() []Status {
	out := slices.Clone(next[s])
	if _, known := next[s]; known && !s.InDeletion() {
		out = append(out, ScheduledForDeletion)
	}
	return out
}

// CanBecome reports whether a pipeline may change from s to t.
func (s Status) CanBecome(t Status) bool { return slices.Contains(s.Next(), t) }

// InDeletion reports whether s is one of the statuses that follow a request for
// deletion.
func (s Status) InDeletion() bool {
	switch s {
	case ScheduledForDeletion, Deleting, FailedToDelete, Deleted:
		return true
	}
	return false
}

// Resting reports whether a pipeline may stay in s indefinitely. Every other
// status has a deadline and work that takes the pipeline out of it.
func (s Status) Resting() bool {
	switch s {
	case PreProvisioned, FailedToProvision, ReadyForDeployment, Deployed, FailedToDeploy, FailedToDelete, Deleted:
		return true
	}
	return false
}

// String returns the name shown to people, such as "Ready for Deployment".
func (s Status) String() string {
	words := strings.Split(string(s), "_")
	for i, w := range words {
		if w != "" && w != "for" && w != "to" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// ParseStatus returns the status with the value s, or an error if there is
// none.
func ParseStatus(s string) (Status, error) {
	if slices.Contains(Statuses(), Status(s)) {
		return Status(s), nil
	}
	return "", fmt.Errorf("unknown pipeline status %q", s)
}
