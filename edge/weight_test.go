package edge

import (
	"fmt"
	"runtime"
	"testing"
)

// TestWeightOfSites compares the weight of sites in the catalog with the heap
// that they take. It doesn't run beside other tests, which use the heap too.
func TestWeightOfSites(t *testing.T) { //nolint:paralleltest // see above
	const sites = 500
	b := newBox(t)
	b.handlerOnly = true
	hosts := make([]*hosted, sites)
	for i := range hosts {
		hosts[i] = b.provision(fmt.Sprintf("site-%d.localhost", i))
		hosts[i].publish(map[string]string{"index.html": "home", "about.html": "about"})
		hosts[i].settle()
	}
	ask := func(hosts []*hosted) {
		for _, h := range hosts {
			wantStatus(t, h.fetch("/about/"), 301) // no file takes memory
		}
	}
	ask(hosts[:10]) // the first requests fill caches of the packages in use
	before, weightBefore := heap(), b.edge.catalog.hosts.Weight()
	ask(hosts[10:])
	used, weight := heap()-before, b.edge.catalog.hosts.Weight()-weightBefore
	runtime.KeepAlive(hosts)
	t.Logf("a site takes %d bytes and weighs %d, of which %d are for the site and the rest for its files", used/(sites-10), weight/(sites-10), siteWeight)
	if used < weight*3/4 || used > weight*5/4 {
		t.Errorf("the sites take %d bytes and weigh %d; expected the same within a quarter", used, weight)
	}
}

// heap returns the bytes of the objects in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool keeps goes after the second collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
