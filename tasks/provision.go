package tasks

import "github.com/google/uuid"

// TypeProvision is the type of Provision's tasks.
const TypeProvision = "pipeline:provision"

// Provision creates a pipeline's distribution and DNS record.
func Provision(pipeline uuid.UUID) Task { return Task{TypeProvision, pipeline} }
