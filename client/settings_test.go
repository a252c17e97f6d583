package client

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestErrorsInBothForms(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"problem+json alone": `{"type":"/docs#error-conflict","title":"T","status":409,"detail":"files are missing","code":"conflict","field":"files","details":["a"]}`,
		"both forms": `{"detail":"files are missing","code":"conflict","field":"files","details":["a"],` +
			`"error":{"code":"conflict","message":"files are missing","field":"files","details":["a"]}}`,
		"the older form alone": `{"error":{"code":"conflict","message":"files are missing","field":"files","details":["a"]}}`,
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, body)
		})
		_, err := c.Pipeline(t.Context(), "blog")
		e, ok := errors.AsType[*troy.Error](err)
		if !ok || e.Kind != troy.Conflict || e.Message != "files are missing" || e.Field != "files" || len(e.Details) != 1 {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

// A problem of something else than Troy, such as a proxy, has no code.
func TestProblemsOfOthers(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"type":"about:blank","title":"Not Found","status":404,"detail":"no such host"}`)
	})
	_, err := c.Pipeline(t.Context(), "blog")
	if e, ok := errors.AsType[*troy.Error](err); !ok || e.Kind != troy.NotFound || e.Message == "no such host" {
		t.Errorf("%v, expected an error that says that the response is not from Troy", err)
	}
}

func TestConfigureWithIfMatch(t *testing.T) {
	t.Parallel()
	requests := 0
	tag := `"1"`
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			requests++
			if r.Header.Get("If-Match") != tag {
				refuse(w, http.StatusPreconditionFailed, troy.Moved, "the settings are others")
				return
			}
			tag = `"2"`
		}
		w.Header().Set("ETag", tag)
		_, _ = io.WriteString(w, `{"slug":"blog"}`)
	})
	p, err := c.Pipeline(t.Context(), "blog")
	if err != nil || p.ETag != `"1"` {
		t.Fatalf("%q %v", p.ETag, err)
	}
	yes := true
	changed, err := c.ConfigurePipeline(t.Context(), "blog", PipelineChange{CancelRunning: &yes, IfMatch: p.ETag})
	if err != nil || changed.ETag != `"2"` {
		t.Errorf("%q %v", changed.ETag, err)
	}
	if _, err := c.ConfigurePipeline(t.Context(), "blog", PipelineChange{CancelRunning: &yes, IfMatch: p.ETag}); troy.KindOf(err) != troy.Moved {
		t.Errorf("%v, expected Moved", err)
	}
	if requests != 2 {
		t.Errorf("%d requests were sent", requests)
	}
}

// After a lost response the first attempt may have changed the ETag.
func TestConfigureWithIfMatchIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tag      string
		requests int
	}{{`"1"`, 1}, {"", 2}} {
		requests := 0
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if requests++; requests == 1 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			_, _ = io.WriteString(w, `{"slug":"blog"}`)
		})
		_, err := client.ConfigurePipeline(t.Context(), "blog", PipelineChange{IfMatch: c.tag})
		if requests != c.requests || (err != nil) != (c.tag != "") {
			t.Errorf("If-Match %q: %d requests, %v", c.tag, requests, err)
		}
	}
}
