package tasks

import "github.com/google/uuid"

// TypeTeardownStart is the type of TeardownStart's tasks.
const TypeTeardownStart = "pipeline:teardown-start"

// TeardownStart disables the distribution of a pipeline that is to be deleted.
func TeardownStart(pipeline uuid.UUID) Task { return Task{TypeTeardownStart, pipeline} }
