package awsdouble

import (
	"encoding/json"
	"net/http"
	"path"
	"strings"
)

// Edge answers readers as CloudFront would: by the alias record and the
// distribution of the Host, the pointer in the KeyValueStore, and the rules of
// the viewer-request function. origin reads the sites' bucket.
func (d *Double) Edge(origin func(key string) ([]byte, bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one, ok := d.serving(r.Host)
		if !ok {
			http.Error(w, "no distribution", http.StatusForbidden)
			return
		}
		key, ok := d.rewrite(one.ID, r.URL.EscapedPath())
		if body, found := origin(key); ok && found {
			w.Header().Set("X-Key", key)
			_, _ = w.Write(body)
			return
		}
		body, _ := origin("errors/" + one.Reference + "/404.html")
		w.WriteHeader(http.StatusNotFound)
		if ok {
			_, _ = w.Write(body)
		}
	})
}

// serving finds the distribution that a host's record leads to.
func (d *Double) serving(host string) (Distribution, bool) {
	for _, one := range d.Distributions() {
		if one.Host != host || !one.Enabled {
			continue
		}
		for _, r := range d.Records() {
			if r == "A "+host+" "+one.domain() {
				return one, true
			}
		}
	}
	return Distribution{}, false
}

// rewrite is what viewer_request.js does, in Go.
func (d *Double) rewrite(distribution, uri string) (key string, ok bool) {
	var pointer struct {
		P string `json:"p"`
		D string `json:"d"`
	}
	if json.Unmarshal([]byte(d.Pointers()[distribution]), &pointer) != nil || pointer.D == "" {
		return "", false
	}
	for segment := range strings.SplitSeq(uri, "/") {
		plain := strings.ReplaceAll(strings.ReplaceAll(segment, "%2e", "."), "%2E", ".")
		if plain == "." || plain == ".." {
			return "", false
		}
	}
	switch last := path.Base(uri); {
	case strings.HasSuffix(uri, "/"):
		uri += "index.html"
	case !strings.Contains(last, "."):
		uri += "/index.html"
	}
	return "sites/" + pointer.P + "/" + pointer.D + uri, true
}
