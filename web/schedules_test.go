package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
)

type schedule struct {
	Cron    string     `json:"cron"`
	Zone    string     `json:"zone"`
	NextAt  time.Time  `json:"next_at"`
	LastAt  *time.Time `json:"last_at"`
	Problem string     `json:"problem"`
	SetBy   string     `json:"set_by"`
	SetAt   time.Time  `json:"set_at"`
}

func TestScheduleAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const at = "/v1/pipelines/blog/schedule"
	p := w.bind("Blog", "github", "team/blog", "main")
	w.send("GET", at, nil).refused(t, 404, "not_found", "", "no schedule")
	w.send("DELETE", at, nil).refused(t, 404, "not_found", "", "no schedule")
	w.send("PUT", at, `{"cron":"0 0 31 2 *"}`).refused(t, 400, "invalid", "cron", "never comes")
	w.send("PUT", at, `{"cron":"@daily","zone":"Mars"}`).refused(t, 400, "invalid", "zone", "Europe/Berlin")
	w.send("PUT", at, `{"cron":"@daily"}`, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin")
	var s, again schedule
	w.send("PUT", at, `{"cron":"30 4 * * *","zone":"Europe/Berlin"}`).into(t, 200, &s)
	if s.Cron != "30 4 * * *" || s.Zone != "Europe/Berlin" || !s.NextAt.After(time.Now()) || s.SetBy != "token test-admin" {
		t.Errorf("%+v", s)
	}
	if w.send("GET", at, nil, as(w.token(credentials.Viewer))).into(t, 200, &again); again != s {
		t.Errorf("%+v, then %+v", s, again)
	}
	if a := w.send("GET", "/v1/pipelines/blog", nil); !strings.Contains(string(a.body), `"schedule":{"cron":"30 4 * * *","zone":"Europe/Berlin","next_at":"`) {
		t.Errorf("%s", a.body)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'schedule.set' AND subject = '30 4 * * *' AND detail = 'Europe/Berlin'"); n != 1 {
		t.Errorf("%d entries of the activity", n)
	}

	// The page shows it, says what is wrong with another and removes it.
	cookie := w.session(w.admin)
	show := func() string { return string(w.visit("GET", settingsPath, nil, cookie).body) }
	w.exec("UPDATE schedules SET last_at = now(), problem = 'it is <locked>'")
	if body := show(); !strings.Contains(body, `value="30 4 * * *"`) || !strings.Contains(body, `value="Europe/Berlin"`) || !strings.Contains(body, "skipped: it is &lt;locked&gt;.") {
		t.Errorf("the settings lack the schedule: %s", body)
	}
	if body := string(w.visit("GET", "/pipelines/blog", nil, cookie).body); !strings.Contains(body, "30 4 * * * Europe/Berlin") {
		t.Errorf("the page lacks the schedule: %s", body)
	}
	form := filled(t, w.visit("GET", settingsPath, nil, cookie), "schedule")
	form.Set("schedule_cron", "* * * * *")
	if a := w.visit("POST", settingsPath+"/schedule", form, cookie); a.status != 400 || !strings.Contains(string(a.body), `id="f-schedule-cron-error"`) || !strings.Contains(string(a.body), `value="* * * * *"`) {
		t.Errorf("a schedule of every minute answers %d %s", a.status, a.body)
	}
	form.Set("schedule_cron", " @weekly ")
	form.Set("schedule_zone", "")
	if a := w.visit("POST", settingsPath+"/schedule", form, cookie); a.status != 303 || w.count("SELECT count(*) FROM schedules WHERE cron = '@weekly' AND zone = 'UTC' AND problem = ''") != 1 {
		t.Errorf("saving answers %d %s", a.status, a.body)
	}
	form.Set("schedule_cron", "")
	for range 2 {
		if a := w.visit("POST", settingsPath+"/schedule", form, cookie); a.status != 303 || w.count("SELECT count(*) FROM schedules") != 0 {
			t.Errorf("removing it answers %d %s", a.status, a.body)
		}
	}

	w.put(p, troy.Deleting)
	w.send("PUT", at, `{"cron":"@daily"}`).refused(t, 409, "conflict", "", "")
	w.create("Released")
	w.send("PUT", "/v1/pipelines/released/schedule", `{"cron":"@daily"}`).refused(t, 409, "conflict", "", "no repository")
}
