package tasks

import "github.com/google/uuid"

// TypePollDistroDisabled is the type of PollDistroDisabled's tasks.
const TypePollDistroDisabled = "pipeline:poll-distro-disabled"

// PollDistroDisabled looks whether a distribution is disabled everywhere, and comes back
// later when it is not.
func PollDistroDisabled(pipeline uuid.UUID) Task { return Task{TypePollDistroDisabled, pipeline} }
