package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/secret"
)

// TestChangesInTheMonitorAreLogged checks that pausing a queue is logged and
// viewing queues is not.
func TestChangesInTheMonitorAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	basic := func(r *http.Request) { r.SetBasicAuth("admin", w.admin) }
	lines := func(method string) (n int) {
		for line := range strings.Lines(w.log.String()) {
			if strings.Contains(line, "path=/monitor") && strings.Contains(line, "method="+method) && strings.Contains(line, `actor="token test-admin"`) {
				n++
			}
		}
		return n
	}
	w.send("GET", "/monitor/api/queues", nil, basic).into(t, 200, nil)
	if n := lines("GET"); n != 0 {
		t.Errorf("a view is logged %d times", n)
	}
	if a := w.send("POST", "/monitor/api/queues/quick:pause", nil, basic); a.status >= 300 {
		t.Fatalf("pause: %d %s", a.status, a.body)
	}
	if n := lines("POST"); n != 1 {
		t.Errorf("a pause is logged %d times: %s", n, w.log.String())
	}
}

// TestVariableThatCantBeOpened lists an undecryptable variable with the reason,
// and the others with their values.
func TestVariableThatCantBeOpened(t *testing.T) {
	t.Parallel()
	old, err := secret.New(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	key, err := secret.New(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(w *world) { w.deps.Secrets = key })
	p := w.create("Blog")
	at := "/v1/pipelines/" + p.ID.String() + "/variables"
	for _, name := range []string{"FIRST", "LOST", "NEXT"} {
		w.send("PUT", at+"/"+name, `{"value":"shown","secret":false}`).into(t, 200, nil)
	}
	sealed, err := old.Seal([]byte("shown"), secret.Variable(p.ID, "LOST", ""))
	if err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE variables SET value = $2 WHERE pipeline_id = $1 AND name = 'LOST'", p.ID, sealed)
	var list struct {
		Variables []struct {
			Name, Value, Problem string
		}
	}
	a := w.send("GET", at, nil)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	decodeLoose(t, a.body, &list)
	for i, name := range []string{"FIRST", "LOST", "NEXT"} {
		v := list.Variables[i]
		if lost := name == "LOST"; v.Name != name || (v.Value == "shown") == lost || strings.Contains(v.Problem, "TROY_SECRET_KEY") != lost {
			t.Errorf("listed %+v", v)
		}
	}
	w.send("GET", at+"/LOST", nil).refused(t, 503, "unavailable", "", "TROY_SECRET_KEY")
}
