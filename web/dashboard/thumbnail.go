package dashboard

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/web/reply"
)

// picturePolicy is the policy of a picture, should a browser open it as a page.
const picturePolicy = "default-src 'none'; sandbox"

// thumbnail answers with the picture of a pipeline's site, or with a drawn one.
// The address of a picture has its version, so a browser may keep it.
func (d *Dashboard) thumbnail(v *visit) error {
	p, err := d.find(v)
	if err != nil {
		return err
	}
	name, version, body := "placeholder.svg", drawn, placeholder(p.Slug)
	t, err := d.q.ThumbnailGet(v.ctx(), p.ID)
	if err == nil {
		name, version, body = "thumbnail.jpg", t.Version, t.Image
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the thumbnail of pipeline %s: %w", p.ID, err)
	}
	reply.Limit(v.w)
	h := v.w.Header()
	h.Set("Content-Security-Policy", picturePolicy)
	h.Set("ETag", `"`+version+`"`)
	h.Set("Cache-Control", "private, no-cache")
	if v.r.URL.Query().Get("v") == version {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	http.ServeContent(v.w, v.r, name, time.Time{}, bytes.NewReader(body))
	return nil
}

// drawn is the version of placeholders.
const drawn = "drawn-1"

// thumbnails returns the addresses of the pictures of pipelines, by id.
func (d *Dashboard) thumbnails(v *visit, slugs map[uuid.UUID]string) (map[uuid.UUID]string, error) {
	ids, out := make([]uuid.UUID, 0, len(slugs)), make(map[uuid.UUID]string, len(slugs))
	for id, slug := range slugs {
		ids = append(ids, id)
		out[id] = "/pipelines/" + slug + "/thumbnail?v=" + drawn
	}
	rows, err := d.q.ThumbnailVersions(v.ctx(), ids)
	if err != nil {
		return nil, fmt.Errorf("read the versions of thumbnails: %w", err)
	}
	for _, t := range rows {
		out[t.PipelineID] = "/pipelines/" + slugs[t.PipelineID] + "/thumbnail?v=" + t.Version
	}
	return out, nil
}

// placeholder draws a picture for a slug: a window with its first letter, in
// colours that depend on the slug.
func placeholder(slug string) []byte {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(slug))
	sum := hash.Sum32()
	hue := sum % 360
	letter := strings.ToUpper(slug[:min(1, len(slug))])
	if letter == "" || !unicode.IsLetter(rune(letter[0])) && !unicode.IsDigit(rune(letter[0])) {
		letter = "·"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" width="640" height="400"><defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1">`+
		`<stop offset="0" stop-color="hsl(%d 60%% 58%%)"/><stop offset="1" stop-color="hsl(%d 65%% 42%%)"/></linearGradient></defs><rect width="640" height="400" fill="url(#g)"/>`, hue, (hue+40+sum>>9%50)%360)
	for i := range uint32(3) {
		x, y, r := 80+(sum>>(4*i)&15)*34, 40+(sum>>(4*i+10)&15)*22, 60+(sum>>(4*i+6)&15)*9
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="%d" fill="#fff" fill-opacity=".09"/>`, x, y, r)
	}
	fmt.Fprintf(&b, `<text x="320" y="200" fill="#fff" fill-opacity=".92" font-family="system-ui, sans-serif" font-size="170" font-weight="600" text-anchor="middle" dominant-baseline="central">%s</text></svg>`, letter)
	return b.Bytes()
}
