package troy_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestPreviewCommand(t *testing.T) {
	t.Parallel()
	const commit = "34fb3300b9a77bebdc988ec3edd0d4a6a42a26f9"
	for text, want := range map[string]string{
		"/troy preview": "yes",
		"Looks good.\r\n\r\n  /troy preview\r\nBye": "yes",
		"/troy  preview " + commit[:7]:              commit[:7],
		"/troy preview " + commit + "\t":            commit,
		"":                                          "no",
		"> /troy preview":                           "no",
		"run `/troy preview`":                       "no",
		"/troy previews":                            "no",
		"/troy preview please":                      "no",
		"/troy preview 34fb33":                      "no",
		"/troy preview --all":                       "no",
		"/troy\npreview":                            "no",
		strings.Repeat("/troy ", 10_000):            "no",
	} {
		got, ok := troy.ParsePreviewCommand(text)
		switch {
		case !ok:
			got = "no"
		case got == "":
			got = "yes"
		}
		if got != want {
			t.Errorf("%.60q: got %s, want %s", text, got, want)
		}
	}
}
