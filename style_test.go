package signet_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// A ban is something that shipped code of some packages does not use, found by
// its type and not by its spelling.
type ban struct {
	who    string
	except string
	uses   []string // types.Object full names
	why    string
}

var bans = []ban{
	{who: "core/...", uses: []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.Tick", "time.NewTimer", "time.NewTicker"},
		why: "time is a parameter of core"},
	{who: "...", except: "internal/durable", uses: []string{"(*os.File).Sync", "syscall.Fsync", "syscall.Fdatasync", "golang.org/x/sys/unix.Fsync", "golang.org/x/sys/unix.Fdatasync", "golang.org/x/sys/unix.Syncfs", "golang.org/x/sys/windows.FlushFileBuffers"},
		why: "internal/durable is the only fsync, so that the order of what becomes durable is written in one place"},
}

var host = runtime.GOOS + "/" + runtime.GOARCH

// A checked package is one with its types.
type checked struct {
	path  string
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

// check type-checks the shipped code of this module against the compiler's
// export data.
func check(t *testing.T, platform string, patterns ...string) (out []checked) {
	t.Helper()
	pkgs := list(t, platform, append([]string{"-export", "-deps"}, patterns...)...)
	fset := token.NewFileSet()
	imp := compiled(fset, pkgs)
	for _, p := range pkgs {
		if p.Standard || (p.ImportPath != module && !strings.HasPrefix(p.ImportPath, module+"/")) {
			continue
		}
		c := checked{path: p.ImportPath, fset: fset, info: &types.Info{Uses: map[*ast.Ident]types.Object{}}}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			c.files = append(c.files, f)
		}
		conf := types.Config{Importer: imp, Error: func(err error) { t.Errorf("%s: %v", p.path(), err) }}
		conf.Check(p.ImportPath, fset, c.files, c.info)
		out = append(out, c)
	}
	return out
}

// compiled imports packages from what the compiler said of them.
func compiled(fset *token.FileSet, pkgs []pkg) types.Importer {
	export := map[string]string{}
	for _, p := range pkgs {
		export[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if export[path] == "" {
			return nil, fmt.Errorf("%s was not built", path)
		}
		return os.Open(export[path])
	})
}

func (c checked) breaches(b ban) (found []string) {
	if !matches(b.who, c.path) || (b.except != "" && matches(b.except, c.path)) {
		return nil
	}
	for id, o := range c.info.Uses {
		name := ""
		if f, ok := o.(*types.Func); ok {
			name = f.FullName()
		}
		for _, u := range b.uses {
			if name == u {
				found = append(found, fmt.Sprintf("%s: uses %s", c.fset.Position(id.Pos()), u))
			}
		}
	}
	return found
}

func TestShippedCodeKeepsTheBans(t *testing.T) {
	for platform, patterns := range map[string][]string{host: {"./..."}, "js/wasm": {"./core/..."}} {
		for _, c := range check(t, platform, patterns...) {
			for _, b := range bans {
				for _, found := range c.breaches(b) {
					t.Errorf("%s: %s: %s", platform, found, b.why)
				}
			}
			if matches("core/...", c.path) {
				for _, f := range c.files {
					ast.Inspect(f, func(n ast.Node) bool {
						if g, ok := n.(*ast.GoStmt); ok {
							t.Errorf("%s: starts a goroutine: core is pure", c.fset.Position(g.Pos()))
						}
						return true
					})
				}
			}
		}
	}
}

// The bans are tested on code that breaks them.
func TestBansFindBreaches(t *testing.T) {
	const source = `package p
import ("os"; clock "time")
type file struct{ *os.File }
func f(x file) { _ = x.Sync(); _ = clock.Now() }`
	c := checked{path: module + "/core/p", fset: token.NewFileSet(), info: &types.Info{Uses: map[*ast.Ident]types.Object{}}}
	f, err := parser.ParseFile(c.fset, "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	std := list(t, host, "-export", "-deps", "os", "time")
	conf := types.Config{Importer: compiled(c.fset, std)}
	if _, err := conf.Check("p", c.fset, []*ast.File{f}, c.info); err != nil {
		t.Fatal(err)
	}
	for _, b := range bans {
		if len(c.breaches(b)) != 1 {
			t.Errorf("found %v", c.breaches(b))
		}
	}
}

// eachFile parses every Go file below the module, whatever its platform.
func eachFile(t *testing.T, each func(path string, fset *token.FileSet, f *ast.File, src []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.ParseComments)
		if err != nil {
			return err
		}
		each(filepath.ToSlash(path), fset, f, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// inits may have an init: the reason stands beside it.
var inits = map[string]string{}

func TestSourceKeepsTheHouseStyle(t *testing.T) {
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	eachFile(t, func(path string, fset *token.FileSet, f *ast.File, src []byte) {
		if loc := unfinished.FindIndex(src); loc != nil {
			t.Errorf("%s:%d: an unfinished place", path, 1+bytes.Count(src[:loc[0]], []byte("\n")))
		}
		if strings.HasPrefix(path, "cmd/") && bytes.Count(src, []byte("\n")) >= 30 {
			t.Errorf("%s: a main has under 30 lines: what it does belongs to its cli", path)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && fn.Name.Name == "init" && inits[path] == "" {
				t.Errorf("%s: init: what a package does on import nobody asked for", fset.Position(fn.Pos()))
			}
		}
		if strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, "test/sim/") { // nobody waits for the clock there
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok || s.Sel.Name != "Sleep" {
					return true
				}
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s: a test that sleeps: wait for what happens", fset.Position(s.Pos()))
				}
				return true
			})
		}
	})
}

func TestEveryPackageSaysWhatItPromises(t *testing.T) {
	for _, p := range list(t, "linux/amd64", "./...") {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + filepath.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment begins %q, want %q", p.path(), p.Doc, want)
		}
	}
}
