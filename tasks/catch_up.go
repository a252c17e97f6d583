package tasks

import "github.com/google/uuid"

// TypeCatchUp is the type of CatchUp's tasks.
const TypeCatchUp = "forge:catch-up"

// CatchUp compares the head of a pipeline's branch with what was heard of.
func CatchUp(pipeline uuid.UUID) Task { return Task{TypeCatchUp, pipeline} }
