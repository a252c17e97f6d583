package awsdouble

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

const (
	maxUpdateKeys  = 50
	maxUpdateBytes = 3 << 20
)

// keyValueStore is CloudFront's KeyValueStore, one for all ARNs
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions.html).
type keyValueStore struct {
	mu     sync.Mutex
	values map[string]string
	etag   int
}

// Pointers lists what the KeyValueStore holds.
func (d *Double) Pointers() map[string]string {
	d.keyvalue.mu.Lock()
	defer d.keyvalue.mu.Unlock()
	return maps.Clone(d.keyvalue.values)
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
	w.Header().Set("Etag", fmt.Sprintf("K%d", k.etag))
	switch k.action(r, body) {
	case "DescribeKeyValueStore":
		answerJSON(w, http.StatusOK, map[string]any{"ItemCount": len(k.values), "TotalSizeInBytes": 0, "KvsARN": "arn", "Created": 0})
	case "GetKey":
		_, escaped, _ := strings.Cut(r.URL.EscapedPath(), "/keys/")
		key, _ := url.PathUnescape(escaped)
		value, ok := k.values[key]
		if !ok {
			k.fail(w, http.StatusNotFound, "ResourceNotFoundException", "Key was not found.")
			return
		}
		answerJSON(w, http.StatusOK, map[string]any{"Key": key, "Value": value, "ItemCount": len(k.values), "TotalSizeInBytes": 0})
	case "ListKeys":
		items := []map[string]string{}
		for key, value := range k.values {
			items = append(items, map[string]string{"Key": key, "Value": value})
		}
		answerJSON(w, http.StatusOK, map[string]any{"Items": items})
	case "UpdateKeys":
		k.update(w, r, body)
	}
}

// update does all of it or nothing.
func (k *keyValueStore) update(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		Puts    []struct{ Key, Value string }
		Deletes []struct{ Key string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		k.fail(w, http.StatusBadRequest, "ValidationException", err.Error())
		return
	}
	if r.Header.Get("If-Match") != fmt.Sprintf("K%d", k.etag) {
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
	for _, one := range in.Puts {
		k.values[one.Key] = one.Value
	}
	for _, one := range in.Deletes {
		delete(k.values, one.Key)
	}
	k.etag++
	w.Header().Set("Etag", fmt.Sprintf("K%d", k.etag))
	answerJSON(w, http.StatusOK, map[string]any{"ItemCount": len(k.values), "TotalSizeInBytes": 0})
}
