package tasks

import "github.com/google/uuid"

// TypePurge is the type of Purge's tasks.
const TypePurge = "purge"

// Purge takes assets away that a pipeline's site carries from earlier
// deployments.
func Purge(pipeline uuid.UUID) Task { return Task{TypePurge, pipeline} }
