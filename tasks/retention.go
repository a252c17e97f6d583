package tasks

import "github.com/google/uuid"

// TypeRetention is the type of Retention's tasks.
const TypeRetention = "retention"

// Retention removes the trees and uploads that a pipeline need not keep, and what is
// left of a pipeline that is gone.
func Retention(pipeline uuid.UUID) Task { return Task{TypeRetention, pipeline} }
