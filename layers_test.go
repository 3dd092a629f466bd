package signet_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "signet"

// A layer is a line of the import law. Packages are named below the module
// ("core/key"; "." is the root); "x/..." is x and all below it; "std" is the
// standard library. A line holds for packages that do not exist yet.
type layer struct {
	who   string
	only  []string // direct imports of shipped code are among these
	never []string // neither imported nor depended on through others
	bare  []string // not imported directly
	why   string
}

var (
	opening   = []string{"core/seal", "core/tree", "core/plan", "core/region"}
	programs  = []string{"device/...", "service/...", "transport/...", "web/...", "cmd/..."}
	impure    = []string{"net", "net/http", "net/http/...", "net/rpc", "net/smtp", "os", "os/...", "syscall", "plugin", "database/...", "log", "log/...", "math/rand", "math/rand/...", "reflect", "unsafe", "runtime", "runtime/..."}
	testTools = []string{"testing", "pgregory.net/rapid", "github.com/google/go-cmp/...", "github.com/rogpeppe/go-internal/...", "github.com/creack/pty"}
)

const (
	tlog  = "golang.org/x/mod/sumdb/tlog"
	mldsa = "filippo.io/mldsa"
	zstd  = "github.com/klauspost/compress/zstd"
)

var layers = []layer{
	{who: ".", only: []string{"std"}, bare: impure, why: "the nouns are everybody's, so they bring nothing"},

	// The core, from the bottom up. A package of core that is not named here fails.
	{who: "core/wire", only: []string{"std"}, why: "bytes do not know what they mean"},
	{who: "core/key", only: []string{"std", ".", "core/wire", mldsa}, why: "signatures stand on nothing but the suite"},
	{who: "core/chain", only: []string{"std", ".", "core/wire", "core/key", tlog}, why: "a log does not know what it records"},
	{who: "core/ring", only: []string{"std", ".", "core/wire", "core/key", "core/chain"}, why: "who is who is public: the service replays it"},
	{who: "core/ring/ringtest", only: []string{"std", ".", "core/wire", "core/key", "core/chain", "core/ring", "core/journal"}, why: "a small organisation for the tests of who may what"},
	{who: "core/journal", only: []string{"std", ".", "core/wire", "core/key", "core/chain", "core/ring"}, why: "authority is checked without any secret: the service replays it"},
	{who: "core/seal", only: []string{"std", ".", "core/wire", "core/key", zstd}, why: "what opens does not depend on who may"},
	{who: "core/tree", only: []string{"std", ".", "core/wire", "core/key", tlog}, why: "a tree is a value; it opens nothing"},
	{who: "device/ignore", only: []string{"std"}, why: "rules know names, not what they are of"},
	{who: "core/plan", only: []string{"std", ".", "core/wire", "core/key", "core/tree"}, why: "a plan is a pure function of three trees"},
	{who: "core/region", only: []string{"std", ".", "core/wire", "core/key", "core/chain", "core/ring", "core/journal", "core/seal", "core/tree"}, why: "an open region stands on all of core but the plan"},
	{who: "core/...", bare: impure, why: "core is pure: no disk, socket, log, global randomness or platform"},
	{who: "core/...", never: append([]string{"net", "net/http", "database/sql"}, programs...), why: "core runs in a browser and in a proof"},

	// The trust boundary.
	{who: "service/...", never: opening, why: "the service holds no code that can open anything (promise 1)"},
	{who: "service/...", bare: []string{"crypto/hpke"}, why: "no package of the service seals or opens; crypto/tls has its own use for hpke"},
	{who: "service/...", never: []string{"device/...", "web/wasm"}, why: "plaintext lives in device"},
	{who: "cmd/signet-server", never: append([]string{"device/..."}, opening...), bare: []string{"crypto/hpke"}, why: "the program that may not see plaintext"},
	{who: "device/...", never: []string{"service/..."}, why: "a device works with any service that keeps the protocol"},
	{who: "cmd/signet", never: []string{"service/..."}, why: "the program that may see plaintext brings no service"},

	// The road and the engine.
	{who: "transport", only: []string{"std", ".", "core/wire", "core/key", "internal/durable", "golang.org/..."}, why: "the road carries bytes and knows who is connected, not what they carry"},
	{who: "device/engine", never: []string{"device/disk", "transport", "net/http"}, why: "the engine meets disk and service through interfaces of its own, so that tests can be both"},
	{who: "device/disk", only: []string{"std", ".", "core/tree", "internal/durable", "golang.org/..."}, why: "the disk knows names and bytes, no keys and no peers"},
	{who: "device/cold", only: []string{"std", ".", "core/...", "internal/durable", "golang.org/x/sync/..."}, never: []string{"net/http", "database/sql", "device/..."}, why: "an export opens without a service, an index or a home"},
	{who: "device/disk", never: []string{"net/http"}, why: "the disk talks to nobody"},

	// The rest of the house.
	{who: "internal/...", never: []string{"core/...", "device/...", "service/...", "transport"}, why: "small tools at the bottom"},
	{who: "web/wasm", never: []string{"net/http", "database/sql", "service/..."}, bare: []string{"os"}, why: "a device in a browser: 1.5 MB, and the page is its only platform"},
	{who: "cmd/...", never: testTools, why: "programs carry no test code"},
	{who: "...", never: nil, bare: []string{"plugin"}, why: "what runs is what was built"},
}

// platforms are those that the law is checked for: imports differ with them.
var platforms = []string{"linux/amd64", "darwin/arm64", "windows/amd64", "js/wasm"}

type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	Doc          string
	Standard     bool
	Export       string
	GoFiles      []string
	IgnoredFiles []string `json:"IgnoredGoFiles"`
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
	Error        *struct{ Err string }
}

// path is the package's name below the module.
func (p pkg) path() string { return below(p.ImportPath) }

func below(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// list runs go list for a platform and leaves out what cannot be built there.
func list(t *testing.T, platform string, args ...string) []pkg {
	t.Helper()
	goos, goarch, _ := strings.Cut(platform, "/")
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Name,Dir,Doc,Standard,Export,GoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles,Imports,Deps,TestImports,XTestImports,Error"}, args...)...)
	if platform != host { // there what other tests compiled is used
		cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Error != nil && !strings.Contains(p.Error.Err, "build constraints exclude all Go files") {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		pkgs = append(pkgs, p)
	}
}

// standard reports whether an import path is of the standard library: its
// first element has no dot, and it is not this module's.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return first != module && !strings.Contains(first, ".")
}

// matches reports whether an import path or a path below the module is named
// by a pattern.
func matches(pattern, importPath string) bool {
	if pattern == "std" {
		return standard(importPath)
	}
	p := below(importPath)
	if standard(importPath) != standardPattern(pattern) {
		return false
	}
	if rest, ok := strings.CutSuffix(pattern, "..."); ok {
		return rest == "" || p == strings.TrimSuffix(rest, "/") || strings.HasPrefix(p, rest)
	}
	return p == pattern
}

// standardPattern tells "net/..." from "device/...": both lack a dot.
func standardPattern(pattern string) bool {
	first, _, _ := strings.Cut(pattern, "/")
	switch first {
	case ".", "...", "core", "device", "service", "transport", "web", "cmd", "internal", "test", "spec":
		return false
	}
	return !strings.Contains(first, ".")
}

func matchesAny(patterns []string, importPath string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, importPath) })
}

// breaches are the imports of p that a line of the law does not allow.
func (l layer) breaches(p pkg) (found []string) {
	for _, i := range p.Imports {
		if (l.only != nil && !matchesAny(l.only, i)) || matchesAny(l.bare, i) {
			found = append(found, "imports "+i)
		}
	}
	for _, d := range p.Deps {
		if matchesAny(l.never, d) {
			found = append(found, "depends on "+d)
		}
	}
	return found
}

func TestImportLawHoldsOnEveryPlatform(t *testing.T) {
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			for _, p := range list(t, platform, "./...") {
				for _, l := range layers {
					if !matches(l.who, p.ImportPath) {
						continue
					}
					for _, b := range l.breaches(p) {
						t.Errorf("%s %s: %s", p.path(), b, l.why)
					}
				}
			}
		})
	}
}

func TestEveryCorePackageHasItsPlaceInTheLaw(t *testing.T) {
	for _, p := range list(t, "linux/amd64", "./core/...") {
		if !slices.ContainsFunc(layers, func(l layer) bool { return l.who == p.path() && l.only != nil }) {
			t.Errorf("%s has no line with its allowed imports in the law", p.path())
		}
	}
}

func TestNothingImportsTest(t *testing.T) {
	for _, p := range list(t, "linux/amd64", "./...") {
		if matches("test/...", p.ImportPath) {
			continue
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if matches("test/...", i) {
				t.Errorf("%s imports %s: rooms are tested beside their code, and test/ stands on all of them", p.path(), i)
			}
		}
	}
}

func TestEachProgramImportsExactlyOneCommandLine(t *testing.T) {
	want := map[string]string{"cmd/signet": "device/cli", "cmd/signet-server": "service/cli"}
	for _, p := range list(t, "linux/amd64", "./...") {
		if !matches("cmd/...", p.ImportPath) {
			continue
		}
		var ours []string
		for _, i := range p.Imports {
			if !standard(i) {
				ours = append(ours, below(i))
			}
		}
		if cli, ok := want[p.path()]; !ok || !slices.Equal(ours, []string{cli}) {
			t.Errorf("%s imports %v, want %q alone", p.path(), ours, cli)
		}
	}
}

// The law itself is tested on packages that break it.
func TestImportLawFindsBreaches(t *testing.T) {
	for _, c := range []struct {
		who           string
		imports, deps []string
	}{
		{"service/blob", nil, []string{"signet/core/seal"}},
		{"service/cli", []string{"crypto/hpke"}, nil},
		{"cmd/signet-server", nil, []string{"signet/core/region"}},
		{"core/key", []string{"signet/core/chain"}, nil},
		{"core/plan", []string{"signet/core/journal"}, nil},
		{"core/tree", []string{"os"}, nil},
		{"core/seal", []string{"math/rand/v2"}, nil},
		{"core/wire", nil, []string{"net/http"}},
		{"device/engine", nil, []string{"signet/transport"}},
		{"device/engine", nil, []string{"signet/device/disk"}},
		{"device/disk", []string{"signet/core/key"}, nil},
		{"transport", []string{"signet/core/seal"}, nil},
		{"web/wasm", nil, []string{"database/sql"}},
		{".", []string{"signet/core/wire"}, nil},
		{"cmd/signet", nil, []string{"testing"}},
	} {
		name := fmt.Sprintf("%s with %v", c.who, slices.Concat(c.imports, c.deps))
		p := pkg{ImportPath: module + "/" + c.who, Imports: c.imports, Deps: c.deps}
		if c.who == "." {
			p.ImportPath = module
		}
		if !slices.ContainsFunc(layers, func(l layer) bool {
			return matches(l.who, p.ImportPath) && len(l.breaches(p)) > 0
		}) {
			t.Errorf("%s is not found", name)
		}
	}
}
