package web

import (
	"errors"
	"net/http"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/web/reply"
)

// fail answers with an error. Private details go only to the log, under the
// request's id.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	n := note(r.Context())
	n.err = err
	e := visible(err)
	if e.Kind == troy.Internal {
		e = troy.Errorf(troy.Internal, "Internal error; Troy's log has the details under request %s", n.request)
	}
	if p, ok := errors.AsType[*partly](err); ok {
		reply.ErrorAfter(w, e, p.stored)
		return
	}
	reply.Error(w, e)
}

// visible returns the part of an error that clients may see.
func visible(err error) *troy.Error {
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return troy.Errorf(troy.TooLarge, "the body is larger than %d bytes", e.Limit)
	}
	if e, ok := errors.AsType[*cloud.DigestError](err); ok {
		return troy.Errorf(troy.Invalid, "%s; nothing was stored", e.Error()).At("sha256")
	}
	if e, ok := errors.AsType[*cloud.MissingError](err); ok {
		return missingFiles(paths(e.Files))
	}
	if _, ok := errors.AsType[*intake.Unsure](err); ok {
		return troy.Errorf(troy.Unsure, "the request may have been carried out: the connection to Postgres was lost before its answer arrived; check, or send the request again with the same Idempotency-Key")
	}
	return reply.Public(err)
}
