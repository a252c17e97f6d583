package tasks

import "github.com/google/uuid"

// TypeReport is the type of Report's tasks.
const TypeReport = "forge:report"

// Report tells the forge where an automated deployment stands.
func Report(deployment uuid.UUID) Task { return Task{TypeReport, deployment} }
