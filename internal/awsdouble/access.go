package awsdouble

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// accessControl is an origin access control.
type accessControl struct{ id, name string }

func (a accessControl) describe(kind string) string {
	return fmt.Sprintf("<%[1]s><Id>%[2]s</Id><Name>%[3]s</Name><OriginAccessControlConfig><Name>%[3]s</Name></OriginAccessControlConfig></%[1]s>", kind, a.id, a.name)
}

func (c *cloudfront) serveAccess(w http.ResponseWriter, r *http.Request, id string, body []byte) {
	at := slices.IndexFunc(c.access, func(a accessControl) bool { return a.id == id })
	action := c.action(r, body)
	if id != "" && at < 0 {
		c.fail(w, http.StatusNotFound, "NoSuchOriginAccessControl", "The origin access control does not exist.")
		return
	}
	switch action {
	case "ListOriginAccessControls":
		var items strings.Builder
		for _, a := range c.access {
			items.WriteString(a.describe("OriginAccessControlSummary"))
		}
		answerXML(w, http.StatusOK, 0, "<OriginAccessControlList><IsTruncated>false</IsTruncated><Items>"+items.String()+"</Items></OriginAccessControlList>")
	case "CreateOriginAccessControl":
		var in struct{ Name string }
		_ = xml.Unmarshal(body, &in)
		if slices.ContainsFunc(c.access, func(a accessControl) bool { return a.name == in.Name }) {
			c.fail(w, http.StatusConflict, "OriginAccessControlAlreadyExists", in.Name)
			return
		}
		c.accessMade++
		made := accessControl{fmt.Sprintf("A%d", c.accessMade), in.Name}
		c.access = append(c.access, made)
		answerXML(w, http.StatusCreated, 1, made.describe("OriginAccessControl"))
	case "GetOriginAccessControl":
		answerXML(w, http.StatusOK, 1, c.access[at].describe("OriginAccessControl"))
	case "DeleteOriginAccessControl":
		if !c.matches(w, r, 1) {
			return
		}
		for _, d := range c.distributions {
			if d.Access == id {
				c.fail(w, http.StatusConflict, "OriginAccessControlInUse", "The origin access control is in use by a distribution.")
				return
			}
		}
		c.access = slices.Delete(c.access, at, at+1)
		w.WriteHeader(http.StatusNoContent)
	}
}
