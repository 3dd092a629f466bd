//go:build linux

package script

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // scripts damage databases
)

// value reads a JSON value from a file (stdout, stderr) and walks a path such
// as .volumes.0.state; of several lines it takes the last, or the one that a
// leading number says.
func value(ts *testscript.TestScript, file, path string) any {
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(file)), "\n")
	line := lines[len(lines)-1]
	if n, rest, ok := strings.Cut(path, ":"); ok {
		i, err := strconv.Atoi(n)
		ts.Check(err)
		if i >= len(lines) {
			ts.Fatalf("%s has %d lines", file, len(lines))
		}
		line, path = lines[i], rest
	}
	var v any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		ts.Fatalf("%s: %v: %s", file, err, line)
	}
	for _, p := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[p]; !ok {
				ts.Fatalf("%s: no %s in %s", path, p, line)
			}
		case []any:
			i, err := strconv.Atoi(p)
			ts.Check(err)
			if i >= len(x) {
				ts.Fatalf("%s: %d elements in %s", path, len(x), line)
			}
			v = x[i]
		default:
			ts.Fatalf("%s: nothing below %v", path, v)
		}
	}
	return v
}

// jsonCmd compares a value of a JSON output: json stdout .volumes.0.state
// in_step. A list is compared by its length: n=2.
func jsonCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] json FILE PATH VALUE")
	}
	v := value(ts, args[0], args[1])
	got := fmt.Sprint(v)
	if l, ok := v.([]any); ok {
		got = fmt.Sprintf("n=%d", len(l))
	}
	if v == nil {
		got = "null"
	}
	if (got == args[2]) == neg {
		ts.Fatalf("%s is %q, want %q (!: %v)\n%s", args[1], got, args[2], neg, ts.ReadFile(args[0]))
	}
}

// keysCmd wants an object of a JSON output to have exactly these fields; one
// with ? may be missing.
func keysCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, -1, "keys FILE PATH NAME...")
	m, ok := value(ts, args[0], args[1]).(map[string]any)
	if !ok {
		ts.Fatalf("%s is no object", args[1])
	}
	for _, name := range args[2:] {
		must := strings.TrimSuffix(name, "?")
		if _, ok := m[must]; !ok && must == name {
			ts.Fatalf("%s has no field %s", args[1], name)
		}
		delete(m, must)
	}
	for name := range m {
		ts.Fatalf("%s has a field %s that is not in the contract", args[1], name)
	}
}

// faultCmd runs a signet command twice, for a person and for a script, and
// wants one clear error each: fault CODE KIND [signet ARG...]. The person's
// output is then stderr.
func faultCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, -1, "fault CODE KIND PROGRAM ARG...")
	codeCmd(ts, false, append([]string{args[0], args[2], "--json"}, args[3:]...))
	if got := fmt.Sprint(value(ts, "stderr", ".error.kind")); got != args[1] {
		ts.Fatalf("kind %s, want %s\n%s", got, args[1], ts.ReadFile("stderr"))
	}
	hint := value(ts, "stderr", ".error.hint")
	codeCmd(ts, false, append([]string{args[0]}, args[2:]...))
	text := ts.ReadFile("stderr")
	if strings.Count("\n"+text, "\nerror: ") != 1 || strings.Count("\n"+text, "\nhint: ") != 1 || hint == nil {
		ts.Fatalf("want one error: and one hint:\n%s", text)
	}
}

// listing is a folder as text, without .signet.
func listing(ts *testscript.TestScript, dir string) []byte {
	var b bytes.Buffer
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Name() == ".signet" && e.IsDir() {
			return fs.SkipDir
		}
		rel, _ := filepath.Rel(dir, p)
		info, err := e.Info()
		if err != nil || rel == "." {
			return err
		}
		fmt.Fprintf(&b, "%q %v", rel, info.Mode())
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x %d", sha256.Sum256(content), info.ModTime().UnixNano())
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			fmt.Fprintf(&b, " %q", target)
		}
		b.WriteByte('\n')
		return nil
	})
	ts.Check(err)
	return b.Bytes()
}

// sqliteCmd changes a database: sqlite FILE STATEMENT.
func sqliteCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "sqlite FILE STATEMENT")
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(args[1])
	ts.Check(err)
}

// pokeCmd overwrites bytes of a file: poke FILE OFFSET TEXT; a negative offset
// counts from the end.
func pokeCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, 3, "poke FILE OFFSET TEXT")
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%s: %d files", args[0], len(names))
	}
	b, err := os.ReadFile(names[0])
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	info, err := os.Stat(names[0])
	ts.Check(err)
	b = slices.Replace(b, at, min(at+len(args[2]), len(b)), []byte(args[2])...)
	ts.Check(os.WriteFile(names[0], b, info.Mode().Perm()))
}

// mknameCmd writes a file whose name is a Go string literal, for names that a
// script cannot spell.
func mknameCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf(`usage: [!] mkname DIR "NAME"`)
	}
	name, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	file := filepath.Join(ts.MkAbs(args[0]), name)
	if neg {
		if _, err := os.Lstat(file); err == nil {
			ts.Fatalf("%q is there", name)
		}
		return
	}
	if _, err := os.Lstat(file); err != nil {
		ts.Check(os.WriteFile(file, []byte(args[1]), 0o644))
	}
}

// filesCmd makes a folder with a number of small files.
func filesCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "files DIR N")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range n {
		ts.Check(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.txt", i)), fmt.Appendf(nil, "file %d of %s\n", i, args[0]), 0o644))
	}
}

// writeCmd writes lines into a file, one for each argument.
func writeCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, -1, "write FILE LINE...")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(args[1:], "\n")+"\n"), 0o644))
}
