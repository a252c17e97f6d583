package build

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // git names objects by SHA-1
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
)

// Commit describes the commit that is being built.
type Commit struct {
	ID      string // the full id
	Branch  string
	Message string
	Author  string
	Time    time.Time
}

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Git returns the files of a .git folder, keyed by their path in it. In that
// folder "git rev-parse", "git log -1" and similar commands describe the
// commit, and "git config" can write. It is a shallow clone without files: a
// commit with the same message, author and time and an empty tree replaces the
// commit (git-replace(1)). It has no remote and no credentials. Without a full
// SHA-1 id, Git returns no files.
func (c Commit) Git() (map[string][]byte, error) {
	if !commitID.MatchString(c.ID) {
		return nil, nil
	}
	head, refs := c.ID, ""
	if troy.CheckBranch(c.Branch) == nil {
		head, refs = "ref: refs/heads/"+c.Branch, c.ID+" refs/heads/"+c.Branch+"\n"
	}
	files := map[string][]byte{
		"HEAD":        []byte(head + "\n"),
		"config":      []byte("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"),
		"packed-refs": []byte("# pack-refs with: peeled fully-peeled sorted\n" + refs),
		"shallow":     []byte(c.ID + "\n"),
	}
	tree, err := addObject(files, "tree", nil)
	if err != nil {
		return nil, err
	}
	who := fmt.Sprintf("%s <> %d +0000", gitName(c.Author), max(c.Time.Unix(), 0))
	commit, err := addObject(files, "commit", fmt.Appendf(nil, "tree %s\nauthor %s\ncommitter %s\n\n%s\n", tree, who, who, strings.TrimRight(c.Message, "\n")))
	if err != nil {
		return nil, err
	}
	files["refs/replace/"+c.ID] = []byte(commit + "\n")
	return files, nil
}

// addObject adds a loose object and returns its id
// (git-scm.com/book/en/v2/Git-Internals-Git-Objects).
func addObject(files map[string][]byte, kind string, content []byte) (string, error) {
	whole := append(fmt.Appendf(nil, "%s %d\x00", kind, len(content)), content...)
	digest := sha1.Sum(whole) //nolint:gosec // git names objects by SHA-1
	name := hex.EncodeToString(digest[:])
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := z.Write(whole); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	files["objects/"+name[:2]+"/"+name[2:]] = packed.Bytes()
	return name, nil
}

// gitName returns name in the form that git stores.
func gitName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '<' || r == '>' || isControl(r) {
			return -1
		}
		return r
	}, name)
	if name = strings.TrimSpace(name); name == "" {
		return "unknown"
	}
	return name
}
