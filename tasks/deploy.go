package tasks

import "github.com/google/uuid"

// TypeDeploy is the type of Deploy's tasks.
const TypeDeploy = "pipeline:deploy"

// Deploy publishes the deployment that a pipeline is Queued or Deploying for.
func Deploy(pipeline uuid.UUID) Task { return Task{TypeDeploy, pipeline} }
