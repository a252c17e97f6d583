package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/troy-iaas/troy/forge"
)

// maxDeliveryPages bounds a search of the deliveries to 5,000 attempts.
const maxDeliveryPages = 50

var (
	errNoDelivery = errors.New("the delivery does not exist, or is too old")
	nextLink      = regexp.MustCompile(`<([^<>]+)>; rel="next"`)
)

// Failed implements forge.Deliveries
// (docs.github.com/rest/apps/webhooks#list-deliveries-for-an-app-webhook:
// newest first; each redelivery is listed again with the same guid).
func (c *Client) Failed(ctx context.Context, since time.Time) ([]forge.FailedDelivery, error) {
	signed, err := c.sign(ctx)
	if err != nil {
		return nil, err
	}
	byID := map[string]*forge.FailedDelivery{}
	arrived := map[string]bool{}
	found := func(err error) ([]forge.FailedDelivery, error) {
		var out []forge.FailedDelivery
		for id, d := range byID {
			if !arrived[id] && c.cfg.Now().Sub(d.Time) >= time.Minute {
				out = append(out, *d)
			}
		}
		slices.SortFunc(out, func(a, b forge.FailedDelivery) int { return a.Time.Compare(b.Time) })
		return out, err
	}
	cursor := ""
	for range maxDeliveryPages {
		var page []struct {
			ID          int64     `json:"id"`
			GUID        string    `json:"guid"`
			DeliveredAt time.Time `json:"delivered_at"`
			StatusCode  int       `json:"status_code"`
			Event       string    `json:"event"`
		}
		list := call("GET", "/app/hook/deliveries", signed, nil, &page)
		list.Query = url.Values{"per_page": {strconv.Itoa(pageSize)}}
		if cursor != "" {
			list.Query.Set("cursor", cursor)
		}
		header, err := c.api.Do(ctx, list)
		if err != nil {
			return found(failed("github: list the app's deliveries", errNoDelivery, err))
		}
		for _, d := range page {
			if d.DeliveredAt.Before(since) {
				return found(nil)
			}
			if d.StatusCode >= 200 && d.StatusCode < 300 {
				arrived[d.GUID] = true
			}
			if known, ok := byID[d.GUID]; ok {
				known.Attempts++
				continue
			}
			byID[d.GUID] = &forge.FailedDelivery{
				ID: d.GUID, Attempt: d.ID, Attempts: 1, Event: forge.Line(d.Event, 100), Time: d.DeliveredAt, Status: d.StatusCode,
			}
		}
		if cursor = nextCursor(header); cursor == "" || len(page) == 0 {
			return found(nil)
		}
	}
	return found(fmt.Errorf("github: more than %d attempts at deliveries since %s", maxDeliveryPages*pageSize, since.UTC().Format(time.RFC3339)))
}

// nextCursor returns the cursor in the Link header; the address in it is not
// followed
// (docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api).
func nextCursor(h http.Header) string {
	link := nextLink.FindStringSubmatch(h.Get("Link"))
	if link == nil {
		return ""
	}
	u, err := url.Parse(link[1])
	if err != nil {
		return ""
	}
	return u.Query().Get("cursor")
}

// Redeliver implements forge.Deliveries
// (docs.github.com/rest/apps/webhooks#redeliver-a-delivery-for-an-app-webhook).
func (c *Client) Redeliver(ctx context.Context, attempt int64) error {
	signed, err := c.sign(ctx)
	if err != nil {
		return err
	}
	id := strconv.FormatInt(attempt, 10)
	_, err = c.api.Do(ctx, call("POST", "/app/hook/deliveries/"+id+"/attempts", signed, nil, nil))
	return failed("github: redeliver "+id, errNoDelivery, err)
}
