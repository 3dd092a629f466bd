//go:build linux

// Package readme types what README.md says, as a person would: at terminals of
// three machines that share nothing but cables.
package readme

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// block returns the lines of a fenced block of README.md.
func block(t *testing.T, text, name string) []string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "```"+name+"\n")
	lines, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatalf("README.md has no block %q", name)
	}
	return strings.Split(strings.TrimSpace(lines), "\n")
}

// build builds both programs.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+"/", "signet/cmd/signet", "signet/cmd/signet-server")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// contents are the files below a folder, without Signet's own.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if err == nil && e.Name() == ".signet" {
				err = fs.SkipDir
			}
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// equal waits until two folders have the same files.
func equal(t *testing.T, a, b string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var diff string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if diff = cmp.Diff(contents(t, a), contents(t, b)); diff == "" {
			return
		}
	}
	t.Fatalf("the folders differ:\n%s", diff)
}

func TestFirstUseGoesAsReadmeSays(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	bin := build(t)
	m := machines(t, bin, "server", "first", "second")
	server, first, second := m[0], m[1], m[2]
	mine := first.documents(t, map[string]string{"letter.txt": "Dear Anna,\n", "taxes/2025.csv": "a,b\n", "Photos/snow.jpg": strings.Repeat("\x00\xff\x10", 40_000), "empty": ""})
	theirs := second.documents(t, nil)
	began := time.Now()

	// The machine that stores.
	lines := block(t, text, "server")
	serving := server.open(t)
	serving.types(strings.ReplaceAll(lines[0], "ADDRESS", address))
	serving.shows(`listening on https://` + regexp.QuoteMeta(address) + `:8443`)
	inviting := server.open(t)
	shown := inviting.does(strings.ReplaceAll(lines[1], "NAME", "Anna"))
	url := regexp.MustCompile(`(?m)^https://\S+$`).FindString(shown)
	if url == "" {
		t.Fatalf("invite shows no URL:\n%s", shown)
	}

	// The first device.
	lines = block(t, text, "first")
	one := first.open(t)
	one.types(strings.ReplaceAll(lines[0], "URL", url))
	one.shows(`invite .*\[Y/n\] `)
	one.types("")
	code, shown := one.prompt()
	hinted(t, lines[0], code, shown, "signet add")
	hinted(t, lines[1], 0, one.does(lines[1]), "signet up")
	one.does(lines[2])
	kit := one.does(lines[3])
	if len(strings.Fields(kit)) < 10 {
		t.Errorf("%s shows no key:\n%s", lines[3], kit)
	}

	// The second device.
	const add = "signet device add"
	if !strings.Contains(text, "`"+add+"`") {
		t.Fatalf("README.md does not say %s", add)
	}
	one.types(add)
	link := one.shows(`(?m)^(https://\S+)\r\n`)[1]
	lines = block(t, text, "second")
	two := second.open(t)
	two.types(lines[0])
	two.shows(`Link: `)
	two.types(link)
	here := two.shows(`code (\d{6})\? \[y/N\] `)[1]
	there := one.shows(`code (\d{6})\? .*\[y/N\] `)[1]
	if here != there {
		t.Fatalf("one device shows %s, the other %s", there, here)
	}
	two.types("y")
	one.types("y")
	if code, shown := one.prompt(); code != 0 {
		t.Fatalf("%s: exit code %d:\n%s", add, code, shown)
	}
	code, shown = two.prompt()
	hinted(t, lines[0], code, shown, "signet add")
	hinted(t, lines[1], 0, two.does(lines[1]), "signet up")
	two.does(lines[2])

	equal(t, mine, theirs)
	if len(contents(t, theirs)) != 4 {
		t.Errorf("the second device has %d files", len(contents(t, theirs)))
	}
	// One folder, both ways.
	if err := os.WriteFile(filepath.Join(theirs, "reply.txt"), []byte("Dear Bert,\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	equal(t, mine, theirs)
	took := time.Since(began)
	t.Logf("first use took %v", took.Round(time.Millisecond))
	if took > 2*time.Minute {
		t.Errorf("first use took %v, more than two minutes", took)
	}

	for _, w := range []*terminal{serving, inviting, one, two} {
		if m := regexp.MustCompile(`(?i)pass(word|phrase)|\bPIN\b`).FindString(w.all()); m != "" {
			t.Errorf("%s speaks of a %s: there is none to invent", w.m.name, m)
		}
	}
	// What was typed beside README's lines is an answer that was on a screen.
	for _, typed := range slices.Concat(one.typed, two.typed) {
		if !strings.HasPrefix(typed, "signet ") && typed != "" && typed != "y" && typed != link {
			t.Errorf("a person had to think of %q", typed)
		}
	}
	if state := one.does("signet status"); !strings.Contains(state, "in step") {
		t.Errorf("status:\n%s", state)
	}
	one.does("signet down")
	two.does("signet down")
	serving.interrupt()
	if _, shown := serving.prompt(); strings.Contains(shown, "error") {
		t.Errorf("the service ends at Ctrl-C with an error:\n%s", shown)
	}
}

// hinted fails unless a command succeeded and ended with a hint that names the
// next one.
func hinted(t *testing.T, line string, code int, shown, next string) {
	t.Helper()
	if code != 0 {
		t.Fatalf("%s: exit code %d:\n%s", line, code, shown)
	}
	for l := range strings.Lines(shown) {
		if strings.HasPrefix(l, "hint: ") && strings.Contains(l, next) {
			return
		}
	}
	t.Errorf("%s does not end with a hint to %s:\n%s", line, next, shown)
}
