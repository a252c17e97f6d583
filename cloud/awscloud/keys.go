package awscloud

import (
	"fmt"
	"path"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// The keys in the two buckets.
//
//	sites bucket   sites/<pipeline>/<deployment>/<key>        a tree's files, as they are served; see layout
//	               errors/<reference>/404.html                a distribution's 404 page
//	               errors/<reference>/.troy/missing/404.html  the same at custom domains
//	work bucket    manifests/<pipeline>/open/<deployment>     a declared tree's manifest until it is sealed
//	               manifests/<pipeline>/sealed/<deployment>   a sealed tree's manifest
//	               manifests/<pipeline>/served/<deployment>   what the functions read of its rules
//	               manifests/<pipeline>/removed/<deployment>  a sealed tree's manifest while the tree is being removed
//	               manifests/pages                            exists if all functions know onePerPage
//	               manifests/changed                          when an upkeep changed functions, until then
//
// Builds on CodeBuild have records/ and builds/ in the work bucket.

// sitePrefix is the prefix of a pipeline's trees.
func sitePrefix(pipeline uuid.UUID) string { return "sites/" + pipeline.String() + "/" }

// treePrefix is the prefix of a tree's files. The viewer-request function
// prepends it to the requested path.
func treePrefix(t site.Tree) string { return sitePrefix(t.Pipeline) + t.Deployment.String() + "/" }

// errorKey is the key of the 404 page of the distribution with this reference.
// Deployments don't change it, since CloudFront keeps one path for it.
func errorKey(reference string) string { return "errors/" + reference + "/404.html" }

// tenantErrorPath is the path of the 404 page at custom domains. Their
// distribution looks for it in the folder of the tenant's site.
const tenantErrorPath = "/.troy/missing/404.html"

// tenantErrorKey is the key of that page.
func tenantErrorKey(reference string) string { return "errors/" + reference + tenantErrorPath }

func manifestPrefix(pipeline uuid.UUID) string { return "manifests/" + pipeline.String() + "/" }
func sealedPrefix(pipeline uuid.UUID) string   { return manifestPrefix(pipeline) + "sealed/" }
func sealedKey(t site.Tree) string             { return sealedPrefix(t.Pipeline) + t.Deployment.String() }
func openKey(t site.Tree) string {
	return openPrefix(t.Pipeline) + t.Deployment.String()
}
func openPrefix(pipeline uuid.UUID) string    { return manifestPrefix(pipeline) + "open/" }
func removedPrefix(pipeline uuid.UUID) string { return manifestPrefix(pipeline) + "removed/" }
func removedKey(t site.Tree) string           { return removedPrefix(t.Pipeline) + t.Deployment.String() }
func servedKey(t site.Tree) string {
	return manifestPrefix(t.Pipeline) + "served/" + t.Deployment.String()
}

// fileKey returns a file's key below its tree. The viewer-request function
// appends index.html to every path that does not end in a name with a dot, so a
// file whose name has none is stored under that key.
//
// Files that are never served (site.Private) have neither a dot nor index.html,
// so the function never requests their keys.
func fileKey(p string) string {
	if site.Private(p) {
		return p
	}
	if !strings.Contains(path.Base(p), ".") {
		return p + "/index.html"
	}
	return p
}

// canonicalKey returns a page's second key, under which its clean URL finds it:
// about/index.html for about.html. It is empty for anything else.
func canonicalKey(p string) string {
	base, page := strings.CutSuffix(p, ".html")
	if !page || path.Base(base) == "index" || path.Base(base) == "" || strings.HasSuffix(base, "/") {
		return ""
	}
	return base + "/index.html"
}

// pageKey returns a file's key in a tree whose pages have one key each, for all
// spellings of their address: about.html for about.html, about/index.html and
// about. Such a key needs no folder of its own on servers that have folders.
func pageKey(p string) string {
	folder, index := strings.CutSuffix(p, "/index.html")
	switch {
	case site.Private(p):
		return p
	case index && folder != "":
		return folder + ".html"
	case !strings.Contains(path.Base(p), "."):
		return p + ".html"
	}
	return p
}

// maxKey is the maximum length of a key in bytes
// (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
const maxKey = 1024

// MaxPath is the maximum length of an HTML file's path in bytes: its key has
// the tree's prefix, and its canonical key ends in /index.html. Other files may
// have up to six bytes more, those without a dot in their name five fewer.
const MaxPath = maxKey - len("sites/12345678-1234-1234-1234-123456789012/12345678-1234-1234-1234-123456789012/") - len("/index.html") + len(".html")

// checkKeys returns an Invalid error if a file's key would be longer than S3
// accepts.
func checkKeys(t site.Tree, m site.Manifest) error {
	room := maxKey - len(treePrefix(t))
	for i, f := range m.Files {
		over := max(len(fileKey(f.Path)), len(canonicalKey(f.Path))) - room
		if over > 0 {
			return troy.Errorf(troy.Invalid, "the path %q… has %d bytes; on AWS expected at most %d", f.Path[:64], len(f.Path), len(f.Path)-over).
				At(fmt.Sprintf("files[%d].path", i))
		}
	}
	return nil
}
