package web

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/reply"
)

// maxSigned is the maximum number of uploads signed at a time.
const maxSigned = 500

type signedJSON struct {
	SHA256 site.Digest       `json:"sha256"`
	URL    string            `json:"url"`
	Header map[string]string `json:"header"`
}

// releaseSign signs the uploads of some of a release's files, so that they are
// sent directly to the store.
func (s *server) releaseSign(c *gin.Context, who caller) error {
	signer, ok := s.deps.Store.(cloud.Signer)
	if !ok {
		return troy.Errorf(troy.Conflict, "the store of this installation accepts files only through Troy; send them to files/{sha256}")
	}
	var body struct {
		Files []string `json:"files"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if len(body.Files) == 0 || len(body.Files) > maxSigned {
		return troy.Errorf(troy.Invalid, "got %d; expected 1 to %d", len(body.Files), maxSigned).At("files")
	}
	u, id, err := s.upload(c, who)
	if err != nil {
		return err
	}
	files, err := u.declared(body.Files)
	if err != nil {
		return err
	}
	signed, expires, err := signer.Sign(c.Request.Context(), site.Tree{Pipeline: u.pipeline, Deployment: id}, files)
	if err != nil {
		return fmt.Errorf("sign uploads of release %s: %w", id, err)
	}
	s.touch(c.Request.Context(), id, time.Until(expires))
	out := make([]signedJSON, len(signed))
	for i, one := range signed {
		out[i] = signedJSON{SHA256: files[i].SHA256, URL: one.URL, Header: map[string]string{}}
		for name := range one.Header {
			out[i].Header[name] = one.Header.Get(name)
		}
	}
	reply.JSON(c.Writer, http.StatusOK, struct {
		Uploads   []signedJSON `json:"uploads"`
		ExpiresAt time.Time    `json:"expires_at"`
	}{out, expires.UTC()})
	return nil
}
