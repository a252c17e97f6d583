package web_test

import (
	"net/netip"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy/intake"
)

// TestDomainsInABrowser adds a domain, reads the records to set, sees a check's
// result without a reload, and removes the domain.
func TestDomainsInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.cfg.EdgeAddresses = []netip.Addr{netip.MustParseAddr("203.0.113.7")}
		w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test", OwnHosts: []string{"troy.test"}})
	})
	w.create("Blog")
	b := browse(t)
	b.signIn(w, w.admin, "/pipelines/blog/domains")
	b.shows("#domains", "No custom domain yet")
	b.do(chromedp.SendKeys("#host", "troy.test"), chromedp.Submit("#host"))
	b.shows("main", "Troy's own host")
	b.said.clear() // the answer 400 is an entry of the console

	b.open(w.server.URL + "/pipelines/blog/domains")
	b.do(chromedp.SendKeys("#host", "example.com"), chromedp.Submit("#host"))
	const apex, www = `section[aria-labelledby=\"h-example.com\"]`, `section[aria-labelledby=\"h-www.example.com\"]`
	b.shows(apex+" .status", "Waiting for DNS")
	b.shows(apex+" table.records", "203.0.113.7")
	b.shows(www+" table.records", "blog.sites.test")
	b.shows(www+" .domain-head", "redirects to example.com")
	w.exec(`UPDATE custom_domains SET state = 'active', active_at = now(), certificate = 'active', not_after = now() + interval '60 days', checked_at = now(), next_check_at = now() + interval '1 day' WHERE host = 'example.com'`)
	w.exec(`UPDATE custom_domains SET state = 'failing', reason = 'The CNAME of www.example.com leads to elsewhere.test.', certificate = 'failed', next_try = '2026-12-24 18:00Z', checked_at = now() WHERE host = 'www.example.com'`)
	b.shows(apex+" .status", "Active")
	b.shows(www+" .note.bad", "leads to elsewhere.test")
	b.shows(www, "certificate failed, next try on 24 Dec at 18:00 UTC")

	remove := `form[action$="domain-remove"] input[name="confirm"]`
	b.do(chromedp.Click(`section[aria-labelledby="h-example.com"] .domain-do summary`), chromedp.SendKeys(`section[aria-labelledby="h-example.com"] `+remove, "example.com"), chromedp.Submit(`section[aria-labelledby="h-example.com"] `+remove))
	b.shows("#domains", "No custom domain yet")
	if n := w.count("SELECT count(*) FROM custom_domains WHERE removed_at IS NULL"); n != 0 {
		t.Errorf("%d domains are left", n)
	}
	b.quiet()
}
