package bitbucket_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/forge/bitbucket"
)

func TestConnectHidesItsSecrets(t *testing.T) {
	t.Parallel()
	const shared = "the secret of the installation"
	c := bitbucket.Connect{AppKey: "com.example.troy", Secrets: []string{shared}}
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(text, shared) {
		t.Error("formatting shows the secret")
	}
}
