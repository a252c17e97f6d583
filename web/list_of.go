package web

import (
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy"
)

// listOf is a list in a large JSON body. The limit of the body's bytes does not
// bound its memory: "{}," is a whole element, which needs twenty times as much.
type listOf[T any] struct {
	all        []T // nil: absent or null
	name, what string
	most       int
}

// UnmarshalJSONFrom returns a TooLarge error for a list that is too long. It reads
// such a list to its end, because a sender that is still writing would see a reset
// instead of the answer.
func (l *listOf[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return jsonv2.UnmarshalDecode(d, &l.all)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	l.all = []T{}
	n := 0
	for ; d.PeekKind() != ']'; n++ {
		if n >= l.most {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		var none T
		l.all = append(l.all, none)
		if err := jsonv2.UnmarshalDecode(d, &l.all[n]); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	if n > l.most {
		return troy.Errorf(troy.TooLarge, "%d %s are listed; expected at most %d", n, l.what, l.most).At(l.name)
	}
	return nil
}
