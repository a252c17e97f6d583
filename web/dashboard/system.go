package dashboard

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/queries"
)

// storagePage is how many pipelines a page of the storage lists.
const storagePage = 50

// systemView is the page about Troy itself.
type systemView struct {
	frame
	Admin  bool // the visitor is an admin of all pipelines
	System *health.System
	Wrong  int // findings with a remedy
	Carry  string
	Upload string
}

func operator(who credentials.Holder) bool { return who.All() && who.Role.May(credentials.Admin) }

func (d *Dashboard) system(v *visit) error {
	view := systemView{frame: d.frame(v, "System"), Admin: operator(v.who)}
	if view.Admin && d.deps.System != nil {
		s, err := d.deps.System.Look(v.ctx())
		if err != nil {
			return err
		}
		for _, f := range s.Findings {
			if f.Remedy != "" {
				view.Wrong++
			}
		}
		view.System = &s
		view.Carry, view.Upload = span(s.Retention.CarryAssetsSeconds), span(s.Retention.UploadsValidSeconds)
	}
	return d.show(v, http.StatusOK, "system.html", view)
}

// span is a number of seconds in the largest unit that says it whole.
func span(seconds int64) string {
	for _, unit := range []struct {
		seconds int64
		name    string
	}{{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}} {
		if n := seconds / unit.seconds; n > 0 && seconds%unit.seconds == 0 {
			if n == 1 {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "no time"
}

// storageView is the page of what pipelines store.
type storageView struct {
	frame
	Admin bool // the visitor is an admin of all pipelines
	Rows  []storageRow
	Next  string // the address of the next page
	Back  bool   // it is not the first page
}

type storageRow struct {
	queries.StorageListRow
	Share int   // in percent of the largest
	Quota int64 // in bytes; 0 means no limit
}

func (d *Dashboard) storage(v *visit) error {
	before, id, largest := int64(math.MaxInt64), uuid.Max, int64(0)
	if after := v.r.URL.Query().Get("after"); after != "" {
		parts := strings.Split(after, ".")
		if len(parts) != 3 {
			return badPage()
		}
		var err error
		if id, err = uuid.Parse(parts[1]); err != nil {
			return badPage()
		}
		if before, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
			return badPage()
		}
		if largest, err = strconv.ParseInt(parts[2], 10, 64); err != nil || largest < 0 {
			return badPage()
		}
	}
	rows, err := d.storageRows(v, queries.StorageListParams{BeforeBytes: before, BeforeID: id, PageLimit: storagePage + 1})
	if err != nil {
		return fmt.Errorf("list storage: %w", err)
	}
	view := storageView{frame: d.frame(v, "Storage"), Admin: operator(v.who), Back: v.r.URL.Query().Has("after")}
	more := len(rows) > storagePage
	if more {
		rows = rows[:storagePage]
	}
	for _, r := range rows {
		r.UsedFiles, r.UsedBytes = max(r.UsedFiles, 0), max(r.UsedBytes, 0)
		largest = max(largest, r.UsedBytes)
		quota := d.deps.Intake.Quota().Bytes
		if r.QuotaBytes != nil {
			quota = *r.QuotaBytes
		}
		view.Rows = append(view.Rows, storageRow{r, int(100 * float64(r.UsedBytes) / float64(max(largest, 1))), quota})
	}
	if more {
		last := rows[len(rows)-1]
		view.Next = fmt.Sprintf("/system/storage?after=%d.%s.%d", last.UsedBytes, last.PipelineID, largest)
	}
	return d.show(v, http.StatusOK, "storage.html", view)
}

func (d *Dashboard) storageRows(v *visit, page queries.StorageListParams) ([]queries.StorageListRow, error) {
	if v.who.All() {
		return d.q.StorageList(v.ctx(), page)
	}
	rows, err := d.q.StorageOf(v.ctx(), queries.StorageOfParams{PipelineIds: v.who.Pipelines, BeforeBytes: page.BeforeBytes, BeforeID: page.BeforeID, PageLimit: page.PageLimit})
	out := make([]queries.StorageListRow, len(rows))
	for i, r := range rows {
		out[i] = queries.StorageListRow(r)
	}
	return out, err
}

func badPage() error {
	return troy.Errorf(troy.Invalid, "the address names no page of this list; open the first page again")
}

// placeOf reads where a page of a list begins that shows the newest first.
func placeOf(v *visit, name string) (before time.Time, id uuid.UUID, err error) {
	text := v.r.URL.Query().Get(name)
	if text == "" {
		return credentials.Later(), uuid.Nil, nil
	}
	micros, rest, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(micros, 10, 64)
	at := time.UnixMicro(n)
	if id, bad := uuid.Parse(rest); err == nil && bad == nil && at.Year() > 0 && at.Year() < 10_000 {
		return at, id, nil
	}
	return before, id, badPage()
}
