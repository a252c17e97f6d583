package codebuild

import (
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// The builds' keys in the work bucket, which also has the sites' manifests.
//
//	records/<pipeline>/<deployment>            a build's record
//	records/<pipeline>/<deployment>.files      the list of its output's files, which CodeBuild's role can't write
//	builds/<pipeline>/<deployment>/<secret>/   its source and output, which CodeBuild's role reads and writes
//	caches/<pipeline>/<epoch>/<scope>/<manager> a dependency cache, which CodeBuild's role can't read or write
const (
	records, builds, caches = "records/", "builds/", "caches/"
	listName                = ".files"
)

func recordPrefix(pipeline uuid.UUID) string { return records + pipeline.String() + "/" }
func recordKey(t site.Tree) string           { return recordPrefix(t.Pipeline) + t.Deployment.String() }
func listKey(t site.Tree) string             { return recordKey(t) + listName }
func buildsPrefix(pipeline uuid.UUID) string { return builds + pipeline.String() + "/" }
func cachesPrefix(pipeline uuid.UUID) string { return caches + pipeline.String() + "/" }
func buildPrefix(t site.Tree) string         { return buildsPrefix(t.Pipeline) + t.Deployment.String() + "/" }
