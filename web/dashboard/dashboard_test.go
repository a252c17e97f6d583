package dashboard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

func TestAfterSignInOnlyLocalPathsAreGoneTo(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/pipelines/blog?before=3": "/pipelines/blog?before=3", "/": "/", "": "/", "pipelines": "/", "//evil.test": "/", "/\\evil.test": "/", "/\t/evil.test": "/",
		"https://evil.test/": "/", "javascript:alert(1)": "/", "/%2f/evil.test": "/", "///evil.test": "/", "http:/evil.test": "/", "/a\r\nX: y": "/",
	} {
		if got := localPath(next); got != want {
			t.Errorf("from %q people go to %q, want %q", next, got, want)
		}
	}
}

// TestActionsHaveWords reads the actions of the audit trail from their source.
func TestActionsHaveWords(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../../intake/audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, decl := range file.Decls {
		constants, ok := decl.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			for _, value := range spec.(*ast.ValueSpec).Values {
				action, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				group, _, _ := strings.Cut(action, ".")
				if err != nil || did[action] == "" || !slices.Contains(lists.Actions(), group) {
					t.Errorf("%s has the words %q, and its group is among the filters: %t (%v)", action, did[action], slices.Contains(lists.Actions(), group), err)
				}
				found++
			}
		}
	}
	if found == 0 {
		t.Error("no actions were found")
	}
}

func TestWordsOfASearch(t *testing.T) {
	t.Parallel()
	for search, want := range map[string]string{
		"blog": "blog:*", "Team/My-Blog": "team:* & my:* & blog:*", "  ": "", "'); DROP & | ! <-> :*": "drop:*", "Größe 日本": "größe:* & 日本:*",
		strings.Repeat("a ", 20): strings.TrimSuffix(strings.Repeat("a:* & ", maxWords), " & "),
	} {
		if got := words(search); got != want {
			t.Errorf("the words of %q are %q, want %q", search, got, want)
		}
	}
}

func TestAddressOf(t *testing.T) {
	t.Parallel()
	d := &Dashboard{cfg: Config{Proxies: network.Loopback()}}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.7:1", "", "192.0.2.7/32"}, {"192.0.2.7:1", "198.51.100.1", "192.0.2.7/32"}, // only a proxy nearby is believed
		{"127.0.0.1:1", "203.0.113.9, 198.51.100.1", "198.51.100.1/32"}, {"10.0.0.3:1", "198.51.100.1", "10.0.0.3/32"},
		{"127.0.0.1:1", "nonsense", "invalid Prefix"},
		{"[2001:db8:1:2:3:4:5:6]:1", "", "2001:db8:1:2::/64"}, {"nothing", "", "invalid Prefix"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := d.addressOf(r).String(); got != c.want {
			t.Errorf("%s for %q is %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

func TestTimesForPeople(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "just now", 59 * time.Second: "just now", time.Minute: "1 min ago", 119 * time.Minute: "1 h ago", 25 * time.Hour: "yesterday", 72 * time.Hour: "3 days ago", 70 * 24 * time.Hour: "2 months ago", 800 * 24 * time.Hour: "2 years ago",
	} {
		if got := age(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{1500 * time.Millisecond: "1.5 s", 122 * time.Second: "2 min 02 s", 90 * time.Minute: "1 h 30 min", -time.Second: ""} {
		if got := took(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

// The diagram has every status once, and no two at the same place.
func TestFlowHasEveryStatus(t *testing.T) {
	t.Parallel()
	from := troy.Queued
	for _, now := range troy.RowStatuses() {
		v := flow(now, []queries.Event{{ToStatus: troy.Deploying, FromStatus: &from}})
		places, current := map[cell]string{}, 0
		for _, n := range v.Nodes {
			at := cell{n.X, n.Y}
			if other, taken := places[at]; taken {
				t.Errorf("%s and %s are at the same place", other, n.Name)
			}
			places[at] = n.Name
			if strings.HasPrefix(n.Class, "now ") {
				current++
			}
			if n.X+flowWidth > v.Width || n.Y+flowHeight > v.Height {
				t.Errorf("%s is outside of the diagram", n.Name)
			}
		}
		taken := 0
		for _, e := range v.Edges {
			if e.Class == "taken" {
				taken++
			}
		}
		if len(v.Nodes) != len(troy.Statuses()) || current != 1 || taken != 1 {
			t.Errorf("for %s there are %d statuses, %d of them current, and %d steps that were taken", now, len(v.Nodes), current, taken)
		}
	}
}

func TestPhasesOnATimeLine(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 15, 4, 15, 0, time.UTC)
	list, err := phases([]byte(`[{"phase":"Install","started":"2026-01-02T15:04:05Z","ended":"2026-01-02T15:04:07Z","exit_code":0},
		{"phase":"Build","started":"2026-01-02T15:04:07Z","ended":"2026-01-02T15:04:10Z","exit_code":3},{"phase":"Test","started":"2026-01-02T15:04:10Z"}]`), now)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []phaseView{
		{Name: "Install", Took: "2.0 s", Outcome: "done", Tone: "good", From: "0.0%", Share: "20.0%"},
		{Name: "Build", Took: "3.0 s", Outcome: "failed, exit code 3", Tone: "bad", From: "20.0%", Share: "30.0%"},
		{Name: "Test", Took: "5.0 s", Outcome: "running", Tone: "busy", From: "50.0%", Share: "50.0%"},
	} {
		if list[i] != want {
			t.Errorf("phase %d is %+v, want %+v", i, list[i], want)
		}
	}
}

// TestStreamsOfOneToken has one token take all the streams that it may, which
// leaves the others'.
func TestStreamsOfOneToken(t *testing.T) {
	t.Parallel()
	s := reply.NewPlaces(mostStreams, mostStreamsOfOne)
	greedy := uuid.New()
	var ends []func()
	for range mostStreamsOfOne {
		end, ok := s.Take(greedy)
		if !ok {
			t.Fatalf("after %d streams the token gets no other", len(ends))
		}
		ends = append(ends, end)
	}
	if _, ok := s.Take(greedy); ok {
		t.Error("one token gets more streams than it may have")
	}
	all := len(ends)
	for ; ; all++ {
		if _, ok := s.Take(uuid.New()); !ok {
			break
		}
	}
	if all != mostStreams {
		t.Errorf("there are %d streams, want %d", all, mostStreams)
	}
	ends[0]()
	if _, ok := s.Take(greedy); !ok {
		t.Error("an ended stream leaves no room")
	}
}
