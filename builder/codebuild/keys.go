package codebuild

import (
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// Where things lie in the work bucket, beside what is of sites.
//
//	records/<pipeline>/<deployment>            what is known of a build
//	records/<pipeline>/<deployment>.files      what its output has, which CodeBuild's role can't write
//	builds/<pipeline>/<deployment>/<secret>/   its source and output, which CodeBuild's role reads and writes
const (
	records, builds = "records/", "builds/"
	listName        = ".files"
)

func recordPrefix(pipeline uuid.UUID) string { return records + pipeline.String() + "/" }
func recordKey(t site.Tree) string           { return recordPrefix(t.Pipeline) + t.Deployment.String() }
func listKey(t site.Tree) string             { return recordKey(t) + listName }
func buildsPrefix(pipeline uuid.UUID) string { return builds + pipeline.String() + "/" }
func buildPrefix(t site.Tree) string         { return buildsPrefix(t.Pipeline) + t.Deployment.String() + "/" }
