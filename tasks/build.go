package tasks

import "github.com/google/uuid"

// TypeBuild is the type of Build's tasks.
const TypeBuild = "deployment:build"

// Build builds the commit of an automated deployment.
func Build(deployment uuid.UUID) Task { return Task{TypeBuild, deployment} }
