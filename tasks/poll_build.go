package tasks

import "github.com/google/uuid"

// TypePollBuild is the type of PollBuild's tasks.
const TypePollBuild = "deployment:poll-build"

// PollBuild looks at a build that goes on without its worker, and comes back
// until it has ended. One that nobody wants any more it stops, and what an ended
// one used it removes.
func PollBuild(deployment uuid.UUID) Task { return Task{TypePollBuild, deployment} }
