package localcloud_test

import (
	"bufio"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// TestKilledStore kills a process that uploads, seals and removes, again and
// again on one store: what it said it sealed is whole after each.
// TROY_TEST_KILLS is how often, 20 times by default.
func TestKilledStore(t *testing.T) {
	if root := os.Getenv("TROY_TEST_KILLED_ROOT"); root != "" {
		releaseForever(t, root, site.Tree{Pipeline: uuid.MustParse(os.Getenv("TROY_TEST_KILLED_PIPELINE"))})
		return
	}
	t.Parallel()
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("TROY_TEST_KILLS"), "20"))
	if err != nil {
		t.Fatal(err)
	}
	root, tree := t.TempDir(), newTree()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	sealed := 0
	for range kills {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledStore$")
		child.Env = append(os.Environ(), "TROY_TEST_KILLED_ROOT="+root, "TROY_TEST_KILLED_PIPELINE="+tree.Pipeline.String())
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, left := bufio.NewScanner(out), 1+random.IntN(15)
		last := "" // the deployment that was said to be sealed and not removed
		for lines.Scan() {
			what, id, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "sealed":
				last = id
				sealed++
			case "FAIL", "panic:":
				t.Fatalf("the process failed: %s", lines.Text())
			}
			// Some microseconds later, it is in the middle of something.
			if left--; left == 0 {
				for range random.IntN(200_000) {
					left = 0
				}
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		wantNoFaults(t, root)
		if last != "" {
			s, sealed := open(t, root, 0).Store, site.Tree{Pipeline: tree.Pipeline, Deployment: uuid.MustParse(last)}
			m, err := s.Manifest(t.Context(), sealed)
			if err != nil {
				t.Fatalf("a sealed deployment is gone: %v", err)
			}
			for _, f := range m.Files {
				if _, err := s.Read(t.Context(), sealed, f); err != nil {
					t.Fatal(err)
				}
			}
		}
		if t.Failed() {
			return
		}
	}
	if sealed == 0 {
		t.Error("no process sealed a tree")
	}
	t.Logf("%d kills, %d sealed trees", kills, sealed)
}

// releaseForever releases a changing site and removes older releases. It prints
// each step.
func releaseForever(t *testing.T, root string, tree site.Tree) {
	s := open(t, root, 0).Store
	x := several("a", 80)
	x["large"] = strings.Repeat("large", 20_000)
	var before []uuid.UUID
	for n := 0; ; n++ {
		tree.Deployment = uuid.Must(uuid.NewV7())
		for i := range 10 {
			x[fmt.Sprintf("a/%04d.txt", (n*7+i*3)%80)] = fmt.Sprintf("release %s, file %d", tree.Deployment, i)
		}
		fmt.Println("begins", tree.Deployment)
		x.send(t, s, tree, 30)
		fmt.Println("sent", tree.Deployment)
		if err := s.Seal(t.Context(), tree, nil, nil); err != nil {
			t.Fatal(err)
		}
		fmt.Println("sealed", tree.Deployment)
		if before = append(before, tree.Deployment); len(before) > 3 {
			if err := s.Remove(t.Context(), tree.Pipeline, before[0]); err != nil {
				t.Fatal(err)
			}
			before = before[1:]
			fmt.Println("removed", tree.Deployment)
		}
	}
}
