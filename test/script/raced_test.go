//go:build linux && race

package script

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Under the race detector the stories are told in which a program goes on while
// others are started: a daemon, somebody who waits for an answer. In all others one
// command comes after the other, and the detector makes them five times slower: they
// are told without it (TestStories, which stage unraced runs).
func TestStoriesOfSeveralProgramsAtOnce(t *testing.T) {
	all, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	several := regexp.MustCompile(`(?m)^(spawn|exec signet up)\b`)
	var files []string
	for _, file := range all {
		story, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if several.Match(story) {
			files = append(files, file)
		}
	}
	if len(files) < 8 {
		t.Fatalf("only %q", files)
	}
	stories(t, files)
}
