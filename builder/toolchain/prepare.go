package toolchain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/build"
)

// atOnce is how many tools of a build are installed at the same time. It is more
// than the number of package managers, which wait for Node.js.
const atOnce = 4

// Prepare chooses the tools of a build, installs those that are missing, and
// says for each which version it is and what decided it. folders are those of
// the machine that builds search for programs. The caller closes the set when
// the build has ended. An error that is the repository's fault, or that names
// what is missing, is a *troy.Error.
func (s *Store) Prepare(ctx context.Context, tools []build.Tool, folders []string, say func(sentence string)) (*Set, error) {
	tools = withNpm(tools)
	node := &nodeChoice{chosen: make(chan struct{}), done: make(chan struct{})}
	if !slices.ContainsFunc(tools, isNode) {
		node.end(candidate{})
	}
	all := make([]got, len(tools))
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, tool := range tools {
		group.Go(func() (err error) {
			r := request{Tool: tool, folders: folders}
			switch tool.Name {
			case "node":
				r.chosen = node.choose
				if all[i], err = s.get(within, r); err != nil {
					node.end(node.likely)
				} else {
					node.end(all[i].candidate)
				}
			case "npm", "pnpm", "yarn":
				all[i], err = s.getFor(within, r, node)
			default:
				all[i], err = s.get(within, r)
			}
			return err
		})
	}
	err := group.Wait()
	set := &Set{}
	for _, g := range all {
		set.add(g)
		s.tell(g, say)
	}
	if err != nil {
		set.Close()
		return nil, err
	}
	s.finish(ctx, set)
	return set, nil
}

func isNode(t build.Tool) bool { return t.Name == "node" }

// withNpm adds npm, which the packages of Node.js do not contain.
func withNpm(tools []build.Tool) []build.Tool {
	node := slices.IndexFunc(tools, isNode)
	if node < 0 || slices.ContainsFunc(tools, func(t build.Tool) bool { return t.Name == "npm" }) {
		return tools
	}
	return slices.Insert(slices.Clone(tools), node+1, build.Tool{Name: "npm"})
}

// nodeChoice is the Node.js of a build. likely can be read when chosen is
// closed, before it is installed; final when done is closed.
type nodeChoice struct {
	once          sync.Once
	likely, final candidate
	chosen, done  chan struct{}
}

func (n *nodeChoice) choose(c candidate) {
	n.once.Do(func() {
		n.likely = c
		close(n.chosen)
	})
}

func (n *nodeChoice) end(c candidate) {
	n.choose(c)
	n.final = c
	close(n.done)
}

// getFor gets a package manager while the build's Node.js, which it has to work
// with, is installed. If the build gets another Node.js in the end, because the
// likely one can't be had, getFor begins again.
func (s *Store) getFor(ctx context.Context, r request, node *nodeChoice) (got, error) {
	<-node.chosen
	for with := node.likely; ; with = node.final {
		g, err := s.getWith(ctx, r, with)
		<-node.done
		if with.version == node.final.version {
			return g, err
		}
		if g.release != nil {
			g.release()
		}
	}
}

// getWith gets a package manager that works with a Node.js.
func (s *Store) getWith(ctx context.Context, r request, node candidate) (got, error) {
	r.node = node.version
	if r.Name != "npm" || r.asked() {
		return s.get(ctx, r)
	}
	if node.version == nil || node.folder != "" {
		return got{}, nil // the npm beside the machine's Node.js
	}
	// The machine's npm belongs to the machine's Node.js.
	own := r
	own.Range, _ = build.ParseRange("npm", npmOf(node.version))
	own.folders = nil
	g, err := s.get(ctx, own)
	if err != nil && len(s.onMachine(ctx, "npm", r.folders)) > 0 {
		return s.get(ctx, r)
	}
	return g, err
}

// tell says which version of a tool a build gets and why.
func (s *Store) tell(g got, say func(sentence string)) {
	if g.version == nil {
		switch {
		case g.missing != nil:
			say(fmt.Sprintf("%s is not on this machine and can't be installed: %s.", g.Label(), g.missing))
		case miseNames()[g.Name] != "" && s.mise.program == "":
			say(g.Label() + " is not on this machine, and Troy can install it only with mise.")
		}
		return // the build may do without
	}
	say(g.sentence())
	for _, other := range g.Others {
		if !other.Range.Allows(g.version, s.now()) {
			text := fmt.Sprintf("%s asks for %s %s, which %s is not; %s decides", capital(other.By), g.Label(), other.Text, g.version, g.By)
			if g.Name == "go" && strings.Contains(other.By, "go.mod") {
				text += ", but the go command gets the version of go.mod unless GOTOOLCHAIN is local"
			}
			say(text + ".")
		}
	}
}

// finish trims the store if a tool of the set is new, and begins to make the new
// ones durable.
func (s *Store) finish(ctx context.Context, set *Set) {
	if set.installed {
		if err := s.trim(ctx); err != nil {
			s.log.Warn("trimming the store of tools failed", "error", err)
		}
	}
	if len(set.unsynced) > 0 {
		set.syncing.Go(func() { s.settle(set.unsynced) })
	}
}
