// Package docs checks that what the pages of this repository point to is there.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// dead returns the links of a page that lead nowhere. Those to other sites are
// not looked at.
func dead(root, page string) (found []string, links int, err error) {
	data, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return nil, 0, err
	}
	text := code.ReplaceAllString(fenced.ReplaceAllString(string(data), ""), "")
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		target := m[1]
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		links++
		file, anchor, _ := strings.Cut(target, "#")
		path := page
		if file != "" {
			path = filepath.Join(filepath.Dir(page), file)
		}
		// A link is for whoever reads the repository: nothing outside of it.
		if !filepath.IsLocal(path) {
			found = append(found, fmt.Sprintf("%s: %s leaves the repository", page, target))
			continue
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			found = append(found, fmt.Sprintf("%s: %s is not there", page, target))
			continue
		}
		if anchor != "" && !slices.Contains(anchors(filepath.Join(root, path)), anchor) {
			found = append(found, fmt.Sprintf("%s: %s has no such heading", page, target))
		}
	}
	return found, links, nil
}

// anchors are the names of a page's headings.
func anchors(path string) (names []string) {
	data, _ := os.ReadFile(path)
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(data), ""), -1) {
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, m[1]))
	}
	return names
}

func TestNoLinkOfAPageIsDead(t *testing.T) {
	root := filepath.Join("..", "..")
	pages, links := 0, 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != root && (strings.HasPrefix(e.Name(), ".") || slices.Contains([]string{"bin", "node_modules", "testdata"}, e.Name())) {
			return fs.SkipDir
		}
		if e.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		page, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		found, n, err := dead(root, page)
		for _, f := range found {
			t.Error(f)
		}
		pages, links = pages+1, links+n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages < 30 || links < 60 {
		t.Errorf("looked at %d links of %d pages only", links, pages)
	}
}

func TestDeadLinksAreFound(t *testing.T) {
	root := t.TempDir()
	page := "# One page\n\n[a](other.md) [b](#one-page) [c](gone.md) [d](#two) [e](../../etc) [f](https://example.org/gone)\n" +
		"`[g](gone2.md)`\n```\n[h](gone3.md)\n```\n"
	for name, text := range map[string]string{"page.md": page, "other.md": "text"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, links, err := dead(root, "page.md")
	want := []string{"page.md: gone.md is not there", "page.md: #two has no such heading", "page.md: ../../etc leaves the repository"}
	if err != nil || links != 5 || !slices.Equal(found, want) {
		t.Errorf("found %q in %d links (%v), want %q", found, links, err, want)
	}
}
