package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// wasmBudget is how large core may be for a browser: compiled, after brotli.
const wasmBudget = 1_500_000

// sizes builds the programs, and a program for the browser that links every
// exported function of core, and says how large they are. A browser's program
// will link less of core, so this is an upper bound.
func sizes() (room, error) {
	began := time.Now()
	r := room{name: "programs and core for the browser"}
	tmp, err := os.MkdirTemp("", "signet-sizes-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(tmp)
	if err := programSizes(&r, tmp); err != nil {
		return r, err
	}
	err = coreSize(&r, tmp)
	r.took = time.Since(began)
	for _, n := range r.notes {
		fmt.Println(n)
	}
	return r, err
}

func programSizes(r *room, tmp string) error {
	mains, err := filepath.Glob("cmd/*/main.go")
	if err != nil {
		return err
	}
	for _, m := range mains {
		p := filepath.Dir(m)
		bin := filepath.Join(tmp, filepath.Base(p))
		if err := build(nil, "-trimpath", "-o", bin, "./"+p); err != nil {
			return err
		}
		fi, err := os.Stat(bin)
		if err != nil {
			return err
		}
		r.notes = append(r.notes, fmt.Sprintf("%s: %.1f MB", p, float64(fi.Size())/1e6))
	}
	return nil
}

func build(env []string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", args[len(args)-1], err, out)
	}
	return nil
}

func coreSize(r *room, tmp string) error {
	src, n, err := linkAll("core")
	if err != nil {
		return err
	}
	// The program is laid over the module, so that no file of it stands there.
	main := filepath.Join(tmp, "main.go")
	here, err := filepath.Abs("test/wasmsize/main.go")
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {here: main}})
	if err != nil {
		return err
	}
	over, bin := filepath.Join(tmp, "overlay.json"), filepath.Join(tmp, "core.wasm")
	if err := errors.Join(os.WriteFile(main, src, 0o600), os.WriteFile(over, overlay, 0o600)); err != nil {
		return err
	}
	if err := build(wasm, "-trimpath", "-ldflags=-s -w", "-overlay", over, "-o", bin, "./test/wasmsize"); err != nil {
		return err
	}
	raw, err := os.Stat(bin)
	if err != nil {
		return err
	}
	br, err := exec.Command("brotli", "--stdout", "--best", "--lgwin=24", bin).Output()
	if err != nil {
		return fmt.Errorf("brotli: %w", err)
	}
	r.notes = append(r.notes, fmt.Sprintf("core for the browser (%d functions): %.2f MB, %.2f MB after brotli, budget %.2f MB",
		n, float64(raw.Size())/1e6, float64(len(br))/1e6, wasmBudget/1e6))
	if len(br) > wasmBudget {
		return fmt.Errorf("core for the browser: %d bytes after brotli, budget %d", len(br), wasmBudget)
	}
	return nil
}

// linkAll writes a program that holds every exported function and method of
// the packages below dir.
func linkAll(dir string) (src []byte, n int, err error) {
	var imports, keep bytes.Buffer
	dirs, err := filepath.Glob(dir + "/*")
	if err != nil {
		return nil, 0, err
	}
	for _, d := range dirs {
		names, err := exported(d)
		if err != nil {
			return nil, 0, err
		}
		if len(names) == 0 {
			continue
		}
		n += len(names)
		fmt.Fprintf(&imports, "import %q\n", "signet/"+filepath.ToSlash(d))
		for _, name := range names {
			fmt.Fprintf(&keep, "\t%s,\n", name)
		}
	}
	src = fmt.Appendf(nil, "package main\nimport \"fmt\"\n%svar keep = []any{\n%s}\nfunc main() { fmt.Println(keep...) }\n", &imports, &keep)
	return src, n, nil
}

func exported(dir string) (names []string, err error) {
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || fn.Type.TypeParams != nil {
				continue
			}
			if fn.Recv == nil {
				names = append(names, f.Name.Name+"."+fn.Name.Name)
				continue
			}
			t := fn.Recv.List[0].Type
			if s, ok := t.(*ast.StarExpr); ok {
				t = s.X
			}
			if id, ok := t.(*ast.Ident); ok && id.IsExported() {
				names = append(names, "(*"+f.Name.Name+"."+id.Name+")."+fn.Name.Name)
			}
		}
	}
	return names, nil
}
