package tasks

import "github.com/google/uuid"

// TypeTeardown is the type of Teardown's tasks.
const TypeTeardown = "pipeline:teardown"

// Teardown removes a pipeline's distribution, DNS record, objects and row.
func Teardown(pipeline uuid.UUID) Task { return Task{TypeTeardown, pipeline} }
