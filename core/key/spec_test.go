package key_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"signet/core/key"
)

func TestSpecHasTheSameLabels(t *testing.T) {
	b, err := os.ReadFile("../../spec/encoding.md")
	if err != nil {
		t.Fatal(err)
	}
	use := map[key.Label]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(signet/v1/[^`]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(string(b), -1) {
		if use[key.Label(m[1])] != "" {
			t.Errorf("%s stands twice in the page", m[1])
		}
		use[key.Label(m[1])] = m[2]
	}
	for _, l := range key.Labels() {
		u, ok := use[l]
		if !ok {
			t.Errorf("%s is not in the page", l)
			continue
		}
		if strings.HasPrefix(u, "both") != l.Both() {
			t.Errorf("%s: the page says %q, the code says both: %v", l, u, l.Both())
		}
		delete(use, l)
	}
	for l := range use {
		t.Errorf("%s is in the page and not in the code", l)
	}
}

func TestLabelsListsEveryConstant(t *testing.T) {
	b, err := os.ReadFile("labels.go")
	if err != nil {
		t.Fatal(err)
	}
	list := map[key.Label]bool{}
	for _, l := range key.Labels() {
		list[l] = true
	}
	constants := regexp.MustCompile(`(?m)^\tLabel\w+\s+Label = "([^"]+)"`).FindAllStringSubmatch(string(b), -1)
	for _, m := range constants {
		if !list[key.Label(m[1])] {
			t.Errorf("%s is not listed", m[1])
		}
	}
	if len(constants) != len(list) {
		t.Errorf("%d constants, %d listed", len(constants), len(list))
	}
}
