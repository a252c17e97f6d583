package web_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy"
)

// TestPipelineInABrowser locks, unlocks, rolls back, cancels, deletes and undoes
// by the buttons of a pipeline's page, while the page follows.
func TestPipelineInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace)
	b := browse(t)
	p := w.bind("blog", "github", "team/blog", "")
	first := w.released(p, "one")
	w.goLive(p, first.ID)
	second := w.released(p, "two")
	w.goLive(p, second.ID)
	b.signIn(w, w.admin, "/pipelines/blog")
	b.do(script(`Object.defineProperty(navigator, "clipboard", {value: undefined}), true`), chromedp.Click(".quiet.copy")) // as over plain HTTP
	b.shows(".quiet.copy", "Copied")

	b.do(chromedp.Click("details.menu summary.button:not(.primary):not(.quiet)"), chromedp.SendKeys("#reason", "freeze"), chromedp.Submit("#reason"))
	b.shows("main", "Locked by token test-admin")
	b.do(chromedp.Click(`form[action$="/actions/unlock"] button`))
	b.eventually("the pipeline is unlocked", func() bool { return !strings.Contains(b.read("main"), "Locked by") })

	b.do(chromedp.Click("#d-1 summary"), chromedp.Click(`#d-1 form[action$="/actions/rollback"] button`))
	b.shows("main", "rollback of #1")
	if n := w.count("SELECT count(*) FROM deployments WHERE kind = 'rollback' AND source_deployment_id = $1", first.ID); n != 1 {
		t.Errorf("%d rollbacks to the first deployment, want 1", n)
	}
	// The stream can show the rollback before the form's own answer is there.
	b.open(w.server.URL + "/pipelines/blog")
	b.do(chromedp.Click(`#d-3 form[action$="/actions/cancel"] button`))
	b.eventually("the rollback is cancelled", func() bool { return w.count("SELECT count(*) FROM deployments WHERE state = 'cancelled'") == 1 })

	// The deletion is confirmed by the name. The page says when it begins and
	// who requested it.
	b.open(w.server.URL + "/pipelines/blog/settings")
	b.do(chromedp.Click("#danger summary"),
		chromedp.SendKeys("#confirm", "blog"), chromedp.Submit("#confirm"))
	b.shows(".undo", "token test-admin requested the deletion")
	b.shows(".undo", "goes offline in 10 min")
	w.holdsStatus(p, troy.ScheduledForDeletion)
	b.do(chromedp.Click(".undo button"))
	b.eventually("the undo is shown", func() bool {
		return b.read(".undo") == "" && strings.Contains(b.read(".under"), "Deployed")
	})
	w.holdsStatus(p, troy.Deployed)

	// Someone else deletes it while the page is open.
	w.send("DELETE", "/v1/pipelines/blog?now=true", nil).into(t, 202, nil)
	b.shows("main", "It is being deleted")
	b.quiet()
	w.exec("DELETE FROM pipelines WHERE id = $1", p.ID)
	b.shows("main", "There is no pipeline")
	b.shows("main", "Scheduled for Deletion")
	b.do(chromedp.Click("p.actions a"))
	b.shows("h1", "Pipelines")
}

func (w *world) holdsStatus(p pipeline, want troy.Status) {
	w.t.Helper()
	var got troy.Status
	if err := w.db.QueryRow(w.t.Context(), "SELECT status FROM pipelines WHERE id = $1", p.ID).Scan(&got); err != nil || got != want {
		w.t.Errorf("the pipeline is %s, %v; want %s", got, err, want)
	}
}

// TestSettingsInABrowser saves settings that someone else changed meanwhile.
func TestSettingsInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	w.bind("blog", "github", "team/blog", "")
	b.signIn(w, w.admin, settingsPath)
	w.send("PATCH", "/v1/pipelines/blog", `{"build":{"output":"dist"}}`).into(t, 200, nil)
	b.do(chromedp.SendKeys("#f-build-output", "public"), chromedp.Submit("#f-build-output"))
	b.shows("#build", "changed build.output")
	b.shows("#build", "It is now: dist")
	if v := b.number(`document.querySelector("#f-build-output").value === "public" ? 1 : 0`); v != 1 {
		t.Error("the visitor's value is gone")
	}
	b.said.clear() // the answer 412 is an entry of the console
	b.do(chromedp.Submit("#f-build-output"))
	b.shows("#build", "Saved.")
	if n := w.count(`SELECT count(*) FROM pipelines WHERE build_settings = '{"output": "public"}'`); n != 1 {
		t.Error("the settings are not saved")
	}
	b.quiet()
}

// TestPipelineOnAPhone checks that a long address stays beside its button, and
// that all tabs are there.
func TestPipelineOnAPhone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	p := w.create("A pipeline with a rather long name for a marketing site")
	b.signIn(w, w.admin, "/pipelines/"+p.Slug)
	b.do(chromedp.EmulateViewport(phone, 844, chromedp.EmulateMobile))
	b.eventually("the address and its button are in one line", func() bool {
		return b.number(`(() => {
			const [address, copy] = [...document.querySelectorAll(".under a, .under .copy")].map((e) => e.getBoundingClientRect());
			return Number(address.right <= copy.left && copy.right <= innerWidth && address.top < copy.bottom && copy.top < address.bottom);
		})()`) == 1
	})
	b.fits("the page of a pipeline with a long address")
	if cut := b.number(`((tabs) => tabs.scrollWidth - tabs.clientWidth)(document.querySelector(".tabs"))`); cut > 0 {
		t.Errorf("%d pixels of the tabs are cut", cut)
	}
}
