package awsdouble

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	maxUpdateKeys  = 50
	maxUpdateBytes = 3 << 20
	maxStore       = 5 << 20
)

// keyValueStore is CloudFront's KeyValueStores, keyed by ARN. A store exists
// from its first use on
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions.html).
type keyValueStore struct {
	broken atomic.Bool // functions can't read the stores

	mu     sync.Mutex
	stores map[string]*pairs
}

type pairs struct {
	values map[string]string
	etag   int
}

// size returns the total size of the keys and values in bytes.
func (p *pairs) size() int {
	total := 0
	for key, value := range p.values {
		total += len(key) + len(value)
	}
	return total
}

// Pointers returns the content of the KeyValueStores.
func (d *Double) Pointers() map[string]string {
	d.keyvalue.mu.Lock()
	defer d.keyvalue.mu.Unlock()
	all := map[string]string{}
	for _, p := range d.keyvalue.stores {
		maps.Copy(all, p.values)
	}
	return all
}

// BreakStores makes functions fail to read their KeyValueStores, or repairs
// them.
func (d *Double) BreakStores(broken bool) { d.keyvalue.broken.Store(broken) }

// SetValue sets a value of a KeyValueStore, as seen by functions.
func (d *Double) SetValue(arn, key, value string) {
	d.keyvalue.mu.Lock()
	defer d.keyvalue.mu.Unlock()
	d.keyvalue.of(arn).values[key] = value
}

// RemoveValue removes a value of a KeyValueStore.
func (d *Double) RemoveValue(arn, key string) {
	d.keyvalue.mu.Lock()
	defer d.keyvalue.mu.Unlock()
	delete(d.keyvalue.of(arn).values, key)
}

// value returns the value that a function reads from its store.
func (k *keyValueStore) value(arn, key string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	value, ok := k.of(arn).values[key]
	return value, ok
}

func (k *keyValueStore) of(arn string) *pairs {
	if k.stores[arn] == nil {
		k.stores[arn] = &pairs{values: map[string]string{}}
	}
	return k.stores[arn]
}

func (k *keyValueStore) action(r *http.Request, _ []byte) string {
	_, rest, keys := strings.Cut(r.URL.EscapedPath(), "/keys")
	switch {
	case !keys:
		return "DescribeKeyValueStore"
	case r.Method == http.MethodPost:
		return "UpdateKeys"
	case rest == "":
		return "ListKeys"
	}
	return "GetKey"
}

func (k *keyValueStore) fail(w http.ResponseWriter, status int, code, message string) {
	if code == "Throttling" {
		status, code = http.StatusTooManyRequests, "ThrottlingException"
	}
	w.Header().Set("X-Amzn-Errortype", code)
	answerJSON(w, status, map[string]string{"Message": message})
}

func (k *keyValueStore) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	escaped, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/key-value-stores/"), "/keys")
	arn, _ := url.PathUnescape(escaped)
	p := k.of(arn)
	w.Header().Set("Etag", fmt.Sprintf("K%d", p.etag))
	switch k.action(r, body) {
	case "DescribeKeyValueStore":
		answerJSON(w, http.StatusOK, map[string]any{"ItemCount": len(p.values), "TotalSizeInBytes": p.size(), "KvsARN": arn, "Created": 0})
	case "GetKey":
		_, escaped, _ := strings.Cut(r.URL.EscapedPath(), "/keys/")
		key, _ := url.PathUnescape(escaped)
		value, ok := p.values[key]
		if !ok {
			k.fail(w, http.StatusNotFound, "ResourceNotFoundException", "Key was not found.")
			return
		}
		answerJSON(w, http.StatusOK, map[string]any{"Key": key, "Value": value, "ItemCount": len(p.values), "TotalSizeInBytes": p.size()})
	case "ListKeys":
		items := []map[string]string{}
		for key, value := range p.values {
			items = append(items, map[string]string{"Key": key, "Value": value})
		}
		answerJSON(w, http.StatusOK, map[string]any{"Items": items})
	case "UpdateKeys":
		k.update(w, r, body, p)
	}
}

// update applies all changes or none.
func (k *keyValueStore) update(w http.ResponseWriter, r *http.Request, body []byte, p *pairs) {
	var in struct {
		Puts    []struct{ Key, Value string }
		Deletes []struct{ Key string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		k.fail(w, http.StatusBadRequest, "ValidationException", err.Error())
		return
	}
	if r.Header.Get("If-Match") != fmt.Sprintf("K%d", p.etag) {
		k.fail(w, http.StatusConflict, "ConflictException", "The If-Match version is not the current one.")
		return
	}
	if len(in.Puts)+len(in.Deletes) > maxUpdateKeys || len(body) > maxUpdateBytes {
		k.fail(w, http.StatusBadRequest, "ValidationException", "at most 50 keys and 3 MB")
		return
	}
	for _, one := range in.Puts {
		if len(one.Key) > 512 || len(one.Value) > 1024 {
			k.fail(w, http.StatusBadRequest, "ValidationException", "the key or the value is too long")
			return
		}
	}
	size := p.size()
	for _, one := range in.Puts {
		size += len(one.Key) + len(one.Value)
	}
	if size > maxStore {
		// AWS does not document the error code.
		k.fail(w, http.StatusBadRequest, "ValidationException", "the key value store is full")
		return
	}
	for _, one := range in.Puts {
		p.values[one.Key] = one.Value
	}
	for _, one := range in.Deletes {
		delete(p.values, one.Key)
	}
	p.etag++
	w.Header().Set("Etag", fmt.Sprintf("K%d", p.etag))
	answerJSON(w, http.StatusOK, map[string]any{"ItemCount": len(p.values), "TotalSizeInBytes": p.size()})
}
