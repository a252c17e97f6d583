package bitbucket_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/forgetest"
)

const (
	installed = `{"productType":"bitbucket","eventType":"installed","key":"troy","clientKey":"` + clientKey + `","sharedSecret":"` + connectSecret + `",
		"baseUrl":"https://bitbucket.org","baseApiUrl":"https://api.bitbucket.org","publicKey":"x",
		"principal":{"uuid":"` + bitbucketID + `","type":"team","username":"ada","display_name":"Ada's"},"user":{"uuid":"{}"}}`
	uninstalled = `{"productType":"bitbucket","eventType":"uninstalled","key":"troy","clientKey":"` + clientKey + `"}`
)

func TestParseInstalled(t *testing.T) {
	t.Parallel()
	want := bitbucket.ConnectInstalled{
		AppKey: "troy", ClientKey: clientKey, SharedSecret: connectSecret, BaseAPIURL: "https://api.bitbucket.org",
		Principal: bitbucket.ConnectPrincipal{ID: bitbucketID, Type: "team", Name: "Ada's"},
	}
	for name, body := range map[string]string{"plain": installed, "wrapped": `{"event":"installed","data":` + installed + `}`} {
		got, err := bitbucket.ParseInstalled([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want (-) against got (+):\n%s", name, diff)
		}
	}
	for _, c := range []struct{ path, value, field string }{
		{"eventType", `"uninstalled"`, "eventType"},
		{"productType", `"jira"`, "productType"},
		{"key", ``, "key"},
		{"clientKey", ``, "clientKey"},
		{"clientKey", `"a\u0000"`, "clientKey"},
		{"clientKey", `7`, "clientKey"},
		{"sharedSecret", ``, "sharedSecret"},
		{"sharedSecret", `"short"`, "sharedSecret"},
		{"sharedSecret", `"` + strings.Repeat("a", 256) + `"`, "sharedSecret"},
		{"principal", `null`, "principal.uuid"},
		{"principal.uuid", `"ada"`, "principal.uuid"},
		{"baseApiUrl", ``, "baseApiUrl"},
		{"baseApiUrl", `"file:///etc/passwd"`, "baseApiUrl"},
		{"baseApiUrl", `"https://a@b"`, "baseApiUrl"},
		{"baseApiUrl", `"https://"`, "baseApiUrl"},
	} {
		got, err := bitbucket.ParseInstalled(forgetest.With(t, installed, c.path, c.value))
		if got != (bitbucket.ConnectInstalled{}) {
			t.Errorf("%s as %s gave %v", c.path, c.value, got)
		}
		forgetest.Refused(t, nil, err, c.field)
		if err != nil && strings.Contains(err.Error(), connectSecret) {
			t.Errorf("the error reveals the secret: %v", err)
		}
	}
	for _, body := range []string{"", "[]", installed[:100], `{"event":"uninstalled","data":` + installed + `}`} {
		if _, err := bitbucket.ParseInstalled([]byte(body)); troy.KindOf(err) != troy.Invalid {
			t.Errorf("%.40q gave %v", body, err)
		}
	}
}

func TestParseUninstalled(t *testing.T) {
	t.Parallel()
	for _, body := range []string{uninstalled, `{"event":"uninstalled","data":` + uninstalled + `}`} {
		got, err := bitbucket.ParseUninstalled([]byte(body))
		if err != nil || got != (bitbucket.ConnectUninstalled{AppKey: "troy", ClientKey: clientKey}) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	for _, body := range []string{"", "{}", installed, `{"event":"installed","data":` + uninstalled + `}`} {
		if got, err := bitbucket.ParseUninstalled([]byte(body)); troy.KindOf(err) != troy.Invalid || got != (bitbucket.ConnectUninstalled{}) {
			t.Errorf("%.40q gave %v, %v", body, got, err)
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	i, err := bitbucket.ParseInstalled([]byte(installed))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", i.SharedSecret, "all", i)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", i.SharedSecret, "all", i)
	if err := json.NewEncoder(&out).Encode(i); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "%v %+v %#v %s %q %v\n", i, i, i, i.SharedSecret, i.SharedSecret, &i)
	if strings.Contains(out.String(), connectSecret) || strings.Count(out.String(), "[secret]") < 11 {
		t.Errorf("the secret is shown, or nothing is:\n%s", out.String())
	}
	if string(i.SharedSecret) != connectSecret {
		t.Error("the secret is lost")
	}
}
