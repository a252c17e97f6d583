package edge

import (
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/internal/password"
)

// TestAccessCases runs the table that CloudFront's functions run too.
func TestAccessCases(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t), "cases.localhost")
	v := cloudtest.NewVisitors(forged, SessionLifetime)
	for _, c := range cloudtest.AccessCases(t) {
		h.protect(v.Protection(c, 1))
		w := httptest.NewRecorder()
		// A case's wrong passwords must not use up another one's attempts.
		h.edge.keeper = password.NewKeeper(time.Now)
		h.edge.ServeHTTP(w, v.Request(t, c, h.host, "troy_access"))
		got := map[int]string{401: "password", 403: "network"}[w.Code]
		if got == "" && slices.Contains([]int{200, 204, 404}, w.Code) {
			got = "admitted"
		}
		if got != c.Want {
			t.Errorf("%s: %d, which means %q, expected %q", c.Name, w.Code, got, c.Want)
		}
	}
}
