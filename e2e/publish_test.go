package e2e

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// A build with forbidden output fails and does not change the live site, and
// the check run gives the reason.
func TestWhatABuildMayPublish(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	const token = "s3cret-value-1234"
	for name, value := range map[string]string{"API_TOKEN": token, "NODE_ENV": "production"} {
		if _, err := w.api.SetVariable(t.Context(), "blog", name, client.VariableValue{Value: value, Secret: true}); err != nil {
			t.Fatal(err)
		}
	}
	checkSays := func(commit, conclusion string, words ...string) {
		t.Helper()
		w.eventually("the check run of "+commit+" is "+conclusion, func() bool { return g.conclusion(commit) == conclusion })
		_, output := g.check(commit)
		for _, want := range words {
			if !strings.Contains(output, want) {
				t.Errorf("the check run lacks %q:\n%s", want, output)
			}
		}
		if strings.Contains(output, token) {
			t.Errorf("the check run shows the secret:\n%s", output)
		}
	}

	leaky := g.pushed(w, "a leak", map[string]string{"build.js": `const fs = require("fs");
fs.mkdirSync("dist/assets", {recursive: true});
fs.writeFileSync("dist/index.html", "<title>leaky</title>" + process.env.NODE_ENV);
fs.writeFileSync("dist/assets/app.js", "call(" + JSON.stringify({token: process.env.API_TOKEN}) + ")");
`})
	cause := `the file "assets/app.js" contains the value of the secret variable API_TOKEN`
	if d := w.deployment(id, leaky); d.State != troy.Failed || !strings.Contains(d.Cause, cause) {
		t.Errorf("%s: %q, want it failed with %q", d.State, d.Cause, cause)
	}
	checkSays(leaky, "failure", cause, "--plain")
	if log := w.must("troy", "logs", "blog"); !strings.Contains(log, "Failed: "+cause) {
		t.Errorf("the log lacks the cause:\n%s", log)
	}
	if _, body, _ := w.get("blog.localhost", "/"); body != "<title>one</title>" {
		t.Errorf("after the leak the edge answers %q", body)
	}

	failing := g.pushed(w, "a mistake", map[string]string{"build.js": `console.log("\u001b[31mcannot find the thing\u001b[0m"); console.log(process.env.API_TOKEN); process.exit(3)`})
	w.deployment(id, failing)
	checkSays(failing, "failure", "exit code 3", "| Build |", "The last lines of the phase Build:", "\ncannot find the thing\n***\n")

	pageless := g.pushed(w, "a feed alone", map[string]string{"build.js": `require("fs").mkdirSync("dist"); require("fs").writeFileSync("dist/feed.xml", "<feed/>")`})
	d := w.deployment(id, pageless)
	if d.State != troy.Succeeded {
		t.Fatalf("%s: %s", d.State, d.Cause)
	}
	warning := `The output folder "dist" has no index.html`
	checkSays(pageless, "success", "Live, with a warning", warning)
	full, err := w.api.Deployment(t.Context(), id, d.ID)
	if err != nil || full.Build == nil || len(full.Build.Warnings) != 1 || !strings.Contains(full.Build.Warnings[0], warning) {
		t.Errorf("the deployment is %+v, %v", full, err)
	}
}
