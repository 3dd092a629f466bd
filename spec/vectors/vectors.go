// Package vectors holds the cases that every implementation of Signet's
// formats must agree on, one failure per case, and reads them.
//
// A case is a txtar file spec/vectors/FORMAT/NAME.txtar: lines "key: value"
// before the first file, "expect" among them ("ok", or the name of a failure);
// then files, each holding hexadecimal (white space ignored) if its name ends
// in ".hex", and otherwise raw bytes less one final newline.
package vectors

import (
	"embed"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

//go:embed */*.txtar
var files embed.FS

// A Case is one vector.
type Case struct {
	Name   string
	Expect string            // "ok" or the name of the failure
	Fields map[string]string // the other header lines
	Files  map[string][]byte // by name, ".hex" cut off and decoded
}

// Load reads all cases of a format, sorted by name.
func Load(format string) ([]Case, error) {
	dir, err := files.ReadDir(format)
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, e := range dir {
		b, err := files.ReadFile(path.Join(format, e.Name()))
		if err != nil {
			return nil, err
		}
		c, err := parse(strings.TrimSuffix(e.Name(), ".txtar"), b)
		if err != nil {
			return nil, fmt.Errorf("vector %s/%s: %w", format, e.Name(), err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func parse(name string, b []byte) (Case, error) {
	a := txtar.Parse(b)
	c := Case{Name: name, Fields: map[string]string{}, Files: map[string][]byte{}}
	for line := range strings.Lines(string(a.Comment)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		k, v, ok := strings.Cut(line, ": ")
		if !ok {
			return c, fmt.Errorf("header line %q", line)
		}
		c.Fields[k] = v
	}
	c.Expect = c.Fields["expect"]
	delete(c.Fields, "expect")
	if c.Expect == "" {
		return c, fmt.Errorf("no expect line")
	}
	for _, f := range a.Files {
		if n, ok := strings.CutSuffix(f.Name, ".hex"); ok {
			d, err := hex.DecodeString(strings.Join(strings.Fields(string(f.Data)), ""))
			if err != nil {
				return c, fmt.Errorf("%s: %w", f.Name, err)
			}
			c.Files[n] = d
			continue
		}
		c.Files[f.Name] = []byte(strings.TrimSuffix(string(f.Data), "\n"))
	}
	return c, nil
}

// Run runs every case of a format; run answers "ok" or the name of the
// failure that it met.
func Run(t *testing.T, format string, run func(Case) string) {
	t.Helper()
	cases, err := Load(format)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if got := run(c); got != c.Expect {
				t.Errorf("got %s, want %s", got, c.Expect)
			}
		})
	}
}
