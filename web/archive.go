package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// mostArchives is the maximum number of archives that a process receives or
// unpacks at a time. Each may need twice the maximum size of a site on the disk.
const mostArchives = 4

// archiveRelease releases an archive in one request, such as
// curl -T site.zip sends.
func (s *server) archiveRelease(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	asked, err := readArchiveOptions(c, who)
	if err != nil {
		return err
	}
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	if p.Status.InDeletion() {
		return intake.Refuse(p, intake.Deploy)
	}
	select {
	case s.archives <- struct{}{}:
		defer func() { <-s.archives }()
	default:
		return troy.Errorf(troy.Unavailable, "%d archives are being received; try again in a moment", mostArchives)
	}
	file, err := s.receiveArchive(c.Request)
	if err != nil {
		return err
	}
	source, err := site.OpenArchive(ctx, file, s.cfg.Limits, site.LeavingOut(), site.FindingLeaks(asked.allowed...))
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	if len(source.Leaks) > 0 {
		e := troy.Errorf(troy.Invalid, "%s would be published; nothing was stored; if they may be public, name their paths with allow_secret", troy.Count(len(source.Leaks), "secret", "secrets"))
		for _, leak := range source.Leaks {
			e.Details = append(e.Details, leak.Path+": "+leak.Reason)
		}
		return e
	}
	d, err := s.releaseSource(ctx, p, source, asked, who)
	if err != nil {
		return err
	}
	return s.replyDeployment(c, http.StatusAccepted, d)
}

// archiveOptions are the query of an archive's request.
type archiveOptions struct {
	finalization
	message string
	strict  bool
	allowed []string // paths of secrets to publish
	key     *string
}

func readArchiveOptions(c *gin.Context, who caller) (o archiveOptions, err error) {
	if o.key, err = idempotencyKey(c.Request); err != nil {
		return o, err
	}
	flag := func(name string) (*bool, error) {
		text, given := c.GetQuery(name)
		if !given {
			return nil, nil
		}
		yes, err := strconv.ParseBool(text)
		if err != nil {
			return nil, troy.Errorf(troy.Invalid, "it is %q; expected true or false", troy.Clip(text)).At(name)
		}
		return &yes, nil
	}
	if o.Publish, err = flag("publish"); err != nil {
		return o, err
	}
	strict, err := flag("strict")
	if err != nil {
		return o, err
	}
	o.strict = strict != nil && *strict
	o.message, o.ExpectLive, o.Preview, o.allowed = c.Query("message"), c.Query("expect_live"), c.Query("preview"), c.QueryArray("allow_secret")
	if err := intake.CheckMessage(o.message); err != nil {
		return o, err
	}
	return o, o.check(who)
}

// receiveArchive writes the body to a file that has no name any more, so that a
// crash leaves nothing.
func (s *server) receiveArchive(r *http.Request) (file *os.File, err error) {
	most := s.cfg.Limits.TotalBytes
	if r.ContentLength > most {
		return nil, troy.Errorf(troy.TooLarge, "the archive has %d bytes; expected at most %d", r.ContentLength, most).At("Content-Length")
	}
	if file, err = os.CreateTemp("", "troy-archive-*"); err != nil {
		return nil, fmt.Errorf("receive an archive: %w", err)
	}
	if err = os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("receive an archive: %w", err), file.Close())
	}
	n, err := io.Copy(file, io.LimitReader(r.Body, most+1))
	switch {
	case err != nil:
		err = fmt.Errorf("receive an archive: %w", err)
	case n > most:
		err = troy.Errorf(troy.TooLarge, "the archive has more than %d bytes", most)
	case n == 0:
		err = troy.Errorf(troy.Invalid, "the body is empty; expected a zip, or a tar that may be compressed with gzip or Zstandard")
	}
	if err != nil {
		// A sender that is still writing would see a reset instead of the answer.
		_, _ = io.CopyN(io.Discard, r.Body, discardedOfUpload)
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// releaseSource declares the files of a source, stores those that the store
// lacks, and makes a deployment.
func (s *server) releaseSource(ctx context.Context, p queries.Pipeline, source *site.Source, asked archiveOptions, who caller) (queries.Deployment, error) {
	config, err := configOf(source)
	if err != nil {
		return queries.Deployment{}, err
	}
	r, _, missing, err := s.begin(ctx, p, site.Manifest{Files: source.Files}, asked.message, declaredRules{config, asked.strict}, asked.key, who)
	if err != nil {
		return queries.Deployment{}, err
	}
	tree := site.Tree{Pipeline: p.ID, Deployment: r.ID}
	sending := s.toucher(ctx, r.ID)
	open := func(path string) (io.ReadCloser, error) {
		sending.note()
		return source.Open(path)
	}
	if err := cloud.PutFiles(ctx, s.deps.Store, tree, missing, open); err != nil {
		s.relieve(ctx, err)
		return queries.Deployment{}, fmt.Errorf("store the files of release %s: %w", r.ID, err)
	}
	return s.finalize(ctx, p, r, asked.finalization, who)
}

// configOf returns the rules in the configuration files of a source.
func configOf(source *site.Source) (config []rules.ConfigFile, err error) {
	for _, name := range rules.ConfigNames() {
		content, err := source.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// NewConfig says that it is too large.
		data, err := io.ReadAll(io.LimitReader(content, 8*rules.MaxConfig))
		if err := errors.Join(err, content.Close()); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		f, ok, err := rules.NewConfig(name, data)
		if err != nil {
			return nil, err
		}
		if ok {
			config = append(config, f)
		}
	}
	return config, nil
}
