package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogIsBoundedAndKeepsOneOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signet.log")
	l, err := openLog(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range 35 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{path: 500, path + ".1": 1000} {
		info, err := os.Stat(name)
		if err != nil || info.Size() != want || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want %d bytes for its owner alone", name, info, err, want)
		}
	}
	// Another daemon goes on where this one ended.
	if l, err = openLog(path, 1000); err != nil || l.size != 500 {
		t.Errorf("opened again: %d bytes, %v", l.size, err)
	}
	l.Close()
}

func TestLogIsReadableAndItsCrashesAreShown(t *testing.T) {
	a, out, _ := tester(t, "", nil)
	if err := a.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := a.dir.Make(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	logger(&b).Info("folder", "path", "/a\x1b[31m", "state", "in_step", "reason", "", "problems", 0)
	b.WriteString("panic: \x1b[31mred\n")
	if err := os.WriteFile(a.dir.LogFile(), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := a.run(t.Context(), []string{"log"}); code != 0 {
		t.Fatalf("exit %d", code)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], `  folder  path=/a\x1b[31m  state=in_step`) || lines[1] != `panic: \x1b[31mred` {
		t.Errorf("%q", lines)
	}
}
