package manual

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func program() *cobra.Command {
	run := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "tool", Short: "Do things", Run: run}
	sub := &cobra.Command{Use: "mend THING", Short: "Mend a thing", Run: run}
	root.AddCommand(sub, &cobra.Command{Use: "secret", Short: "Not for people", Hidden: true, Run: run})
	sub.AddCommand(&cobra.Command{Use: "again", Short: "Mend it again", Run: run})
	return root
}

func TestPagesSayWhatExitCodesMean(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man", "man1")
	exits := []Exit{{0, "done"}, {7, "not allowed"}}
	if err := Write(program(), "v1", dir, exits); err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		pages[e.Name()] = string(b)
	}
	if got := slices.Sorted(maps.Keys(pages)); !slices.Equal(got, []string{"tool-mend-again.1", "tool-mend.1", "tool.1"}) {
		t.Fatalf("pages %v", got)
	}
	for name, p := range pages {
		status, see := strings.Index(p, ".SH EXIT STATUS"), strings.Index(p, ".SH SEE ALSO")
		if status < 0 || see < status || !strings.Contains(p[status:see], "\\fB7\\fP\nnot allowed\n") {
			t.Errorf("%s has its exit codes at %d, SEE ALSO at %d:\n%s", name, status, see, p)
		}
		if !strings.Contains(p, strings.ToUpper(strings.TrimSuffix(name, ".1"))) {
			t.Errorf("%s is not called so:\n%s", name, p)
		}
	}
	if err := Write(program(), "v1", dir, exits); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "tool.1")); string(b) != pages["tool.1"] {
		t.Error("a page of the same version is another the second time")
	}
}

func TestEveryShellHasACompletion(t *testing.T) {
	if !slices.Equal(Shells(), slices.Sorted(maps.Keys(completions))) {
		t.Errorf("shells %v", Shells())
	}
	for _, shell := range Shells() {
		var b bytes.Buffer
		if ok, err := Complete(program(), shell, &b); !ok || err != nil || !strings.Contains(b.String(), "tool") {
			t.Errorf("%s: %t, %v, %d bytes", shell, ok, err, b.Len())
		}
	}
	if ok, _ := Complete(program(), "tcsh", &bytes.Buffer{}); ok {
		t.Error("tcsh has one")
	}
}
