// Command mimetypes writes site/types.txt from the db.json of mime-db
// (github.com/jshttp/mime-db, MIT licence), which gathers the media types of
// IANA, Apache and nginx:
//
//	npm pack mime-db@1.54.0 && tar xf mime-db-1.54.0.tgz
//	go run -C tools ./mimetypes < package/db.json > site/types.txt
//
// Of several types for one extension it takes IANA's before others, and of
// those the first that is neither application/octet-stream nor of a vendor.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

type entry struct {
	Source     string   `json:"source"`
	Extensions []string `json:"extensions"`
}

func main() {
	var db map[string]entry
	if err := json.NewDecoder(os.Stdin).Decode(&db); err != nil {
		log.Fatal(err)
	}
	types := map[string]string{}
	for _, t := range slices.SortedFunc(maps.Keys(db), func(a, b string) int {
		return cmp.Or(rank(a, db[a].Source)-rank(b, db[b].Source), strings.Compare(a, b))
	}) {
		for _, extension := range db[t].Extensions {
			if _, taken := types[extension]; !taken {
				types[extension] = t
			}
		}
	}
	out := bufio.NewWriter(os.Stdout)
	for _, extension := range slices.Sorted(maps.Keys(types)) {
		fmt.Fprintf(out, "%s %s\n", extension, types[extension])
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

// rank is lower for what is taken first.
func rank(t, source string) int {
	rank := 0
	if source != "iana" {
		rank += 4
	}
	if strings.Contains(t, "/vnd.") || strings.Contains(t, "/x-") {
		rank += 2
	}
	if t == "application/octet-stream" || strings.HasPrefix(t, "message/") {
		rank += 8
	}
	return rank
}
