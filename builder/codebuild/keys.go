package codebuild

import (
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// Where things lie in the work bucket, beside what is of sites.
//
//	records/<pipeline>/<deployment>            what is known of a build
//	builds/<pipeline>/<deployment>/<secret>/   its source and output, which CodeBuild's role reads and writes
const records, builds = "records/", "builds/"

func recordPrefix(pipeline uuid.UUID) string { return records + pipeline.String() + "/" }
func recordKey(t site.Tree) string           { return recordPrefix(t.Pipeline) + t.Deployment.String() }
func buildsPrefix(pipeline uuid.UUID) string { return builds + pipeline.String() + "/" }
func buildPrefix(t site.Tree) string         { return buildsPrefix(t.Pipeline) + t.Deployment.String() + "/" }
