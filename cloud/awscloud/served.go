package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// redirectKey is the metadata key of an object that is a redirect.
const redirectKey = "troy-redirect"

const (
	// maxValue is the maximum size of a value of the KeyValueStore in bytes
	// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
	maxValue = 1024
	// tagSize is the number of characters of the deployment's id at the start
	// of each part.
	tagSize = 8
	// maxKeyParts is the maximum number of parts with a tree's keys. With the
	// parts of the program and the pointer, a flip writes at most 48 keys.
	maxKeyParts = 36
	maxServed   = 128 << 10
)

// served is what the viewer-request function reads of a tree's rules. Its texts
// are ASCII.
type served struct {
	// Program has the parts of the program.
	Program []string `json:"program,omitempty"`
	// Keys has, in part i of n, the hashes of the tree's keys whose hash leaves
	// i when it is divided by n.
	Keys []string `json:"keys,omitempty"`
	// Pages is 1 if each page has one key (onePerPage).
	Pages int `json:"pages,omitempty"`
}

// newServed returns what the function reads of a program and a tree's keys.
func newServed(program []byte, keys map[string]bool) (served, error) {
	var out served
	for text := string(program); text != ""; {
		n := min(len(text), maxValue-tagSize)
		out.Program, text = append(out.Program, text[:n]), text[n:]
	}
	for n := 1; len(keys) > 0 && n <= maxKeyParts; n++ {
		if parts, ok := keyParts(keys, n); ok {
			out.Keys = parts
			return out, nil
		}
	}
	if len(keys) > 0 {
		return out, fmt.Errorf("the tree has %d keys, which don't fit %d parts", len(keys), maxKeyParts)
	}
	return out, nil
}

// keyParts returns the keys' hashes in n parts, or false if a part is too
// large.
func keyParts(keys map[string]bool, n int) ([]string, bool) {
	parts := make([]strings.Builder, n)
	for key := range keys {
		hash := keyHash(key)
		part := &parts[hash%uint32(n)]
		if part.Len() > 0 {
			part.WriteByte(' ')
		}
		part.WriteString(strconv.FormatUint(uint64(hash), 36))
		if part.Len() > maxValue-tagSize {
			return nil, false
		}
	}
	all := make([]string, n)
	for i := range parts {
		all[i] = parts[i].String()
	}
	return all, true
}

// keyHash is FNV-1a over UTF-16, which JavaScript's strings consist of.
func keyHash(key string) uint32 {
	hash := uint32(2166136261)
	for _, unit := range utf16.Encode([]rune(key)) {
		hash = (hash ^ uint32(unit)) * 16777619
	}
	return hash
}

// tagOf is how the parts of a pointer's tree begin.
func tagOf(p site.Pointer) string {
	id := p.Deployment.String()
	return id[len(id)-tagSize:]
}

// values returns a distribution's parts by their keys in the KeyValueStore.
func (s served) values(id string, p site.Pointer) map[string]string {
	all := make(map[string]string, len(s.Program)+len(s.Keys))
	for i, text := range s.Program {
		all[programPart(id, i)] = tagOf(p) + text
	}
	for i, text := range s.Keys {
		all[keyPart(id, i)] = tagOf(p) + text
	}
	return all
}

func programPart(id string, i int) string { return fmt.Sprintf("%s/r%d", id, i) }
func keyPart(id string, i int) string     { return fmt.Sprintf("%s/n%d", id, i) }

// servedOf returns what the functions read of a sealed tree's rules.
func servedOf(ctx context.Context, work bucket, p site.Pointer) (served, error) {
	return readServed(ctx, work, site.Tree{Pipeline: p.Pipeline, Deployment: p.Deployment})
}

func readServed(ctx context.Context, work bucket, t site.Tree) (out served, err error) {
	key := servedKey(t)
	text, err := work.Get(ctx, key, maxServed)
	if errors.Is(err, cloud.ErrNotFound) {
		return out, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return out, fmt.Errorf("read %s: %w", key, err)
	}
	return out, nil
}

// functionPlan returns how the functions obey a tree's rules.
func functionPlan(m site.Manifest) (rules.FunctionPlan, error) {
	if m.Rules == nil {
		return rules.FunctionPlan{}, nil
	}
	r, err := rules.Decode(m.Rules)
	if err != nil {
		return rules.FunctionPlan{}, err
	}
	return r.Functions(site.NewPathSet(m.Files), rules.TreeKeys(m.Files))
}

// publishRules writes the redirects of a tree's rules that are objects, and
// what the functions read of the others and of the layout. It adds the objects'
// keys to own, which has the keys of the tree's own files.
func (s *Store) publishRules(ctx context.Context, t site.Tree, plan rules.FunctionPlan, l layout, own map[string]bool, carried []site.Carried) error {
	group, parallel := errgroup.WithContext(ctx)
	group.SetLimit(awsapi.Parallel)
	kept := map[string]bool{}
	for _, c := range carried {
		kept[l.fileKey(c.Path)] = true
	}
	for _, o := range plan.Objects {
		key := l.objectKey(o.Path)
		if own[key] || kept[key] {
			continue // a file answers
		}
		own[key] = true
		group.Go(func() error { return s.sites.putRedirect(parallel, treePrefix(t)+key, o.Text) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if plan.Program == nil && l != onePerPage {
		return s.work.Remove(ctx, servedKey(t)) // of an earlier seal
	}
	var keys map[string]bool
	if plan.Keys {
		keys = make(map[string]bool, len(own)+len(kept))
		for key := range own {
			keys[key] = true
		}
		for key := range kept {
			if len(keys) < rules.MaxKeys {
				keys[key] = true
			}
		}
	}
	out, err := newServed(plan.Program, keys)
	if err != nil {
		return err
	}
	if l == onePerPage {
		out.Pages = 1
	}
	text, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode the rules for CloudFront: %w", err)
	}
	return s.work.Put(ctx, servedKey(t), text, "application/json", false)
}

// putRedirect writes an object that is a redirect.
func (b bucket) putRedirect(ctx context.Context, key, text string) error {
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*s3.PutObjectOutput, error) {
		return b.Client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &b.Name, Key: &key, ContentType: aws.String("text/plain; charset=utf-8"), CacheControl: aws.String(cacheControl("index.html")),
			Metadata: map[string]string{redirectKey: text},
		})
	})
	return awsapi.Failed("write "+key, err)
}
