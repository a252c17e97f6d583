// Package lists reads what people look through: the outstanding work, the
// activity and the statistics, each with its filter and the place where a page
// begins. The API and the dashboard show the same lists.
package lists

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// Lists reads lists from the database.
type Lists struct {
	Q *queries.Queries
}

// Place is a place in a list that is ordered by time, id and one more value.
type Place struct {
	At   time.Time
	ID   uuid.UUID
	Last string
}

// String returns the place as a page's next.
func (p Place) String() string {
	return fmt.Sprintf("%d.%s.%s", p.At.UnixMicro(), p.ID, p.Last)
}

// ParsePlace reads a page's next. It returns an Invalid error at "after" for
// anything else.
func ParsePlace(text string) (Place, error) {
	bad := troy.Errorf(troy.Invalid, "expected the value of next from an earlier page").At("after")
	parts := strings.SplitN(text, ".", 3)
	if len(parts) != 3 || len(parts[1]) != 36 || len(parts[2]) > 64 {
		return Place{}, bad
	}
	micros, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return Place{}, bad
	}
	id, err := uuid.Parse(parts[1])
	at := time.UnixMicro(micros)
	if err != nil || at.Year() < 1 || at.Year() > 9999 || !isText(parts[2]) {
		return Place{}, bad
	}
	return Place{at, id, parts[2]}, nil
}

// isText reports whether Postgres takes s as text.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
