package tasks

import "github.com/google/uuid"

// TypeReport is the type of Report's tasks.
const TypeReport = "forge:report"

// Report tells the forge how an automated deployment stands, or why a commit is
// skipped. The subject is the id of either.
func Report(subject uuid.UUID) Task { return Task{TypeReport, subject} }
