// Command report runs the stages of make test, each to its end even where an
// earlier one failed, and prints what each room took, how many tests it ran
// and what failed. Its last line is "N passed, N failed".
//
// It fails where anything failed and where a test was skipped: a test that does
// not run here protects nothing; one that -short leaves out of a stage must have
// passed in an earlier one. What has no goroutines is tested without the race
// detector, and all else with it: each package is in one of the stages plain and race,
// and tests that are not built for the detector in a stage of their own. It says where all of it took longer than 25
// minutes, or 45 on a machine that had nothing compiled yet. It does not install
// what the tests need (scripts/deps does).
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A stage is a part of make test. Commands of a stage run in order; a stage
// with a tests command counts each test, any other counts as one test per
// command.
type stage struct {
	name     string
	env      []string
	tests    []string   // a go test -json
	commands [][]string // each must exit 0
	quiet    bool       // output of commands is a failure too
	run      func() (room, error)
}

// A limit is how long something may take: usually, and where the standard
// library and all else has to be compiled first. None if 0.
type limit struct{ usual, cold time.Duration }

var whole = limit{25 * time.Minute, 45 * time.Minute}

// of is the limit that holds.
func (l limit) of(cold bool) time.Duration {
	if cold {
		return l.cold
	}
	return l.usual
}

// keep is a failure where it took longer. Where the processors were not busy with
// it for half of that, others used the machine too, and twice the time is allowed.
func (l limit) keep(cold bool, what string, took, worked time.Duration) (late []room) {
	if most := l.of(cold); most > 0 && took > most && (worked > most/2 || took > 2*most) {
		late = append(late, room{name: what + " within " + most.String(), took: took, failed: 1})
	}
	return late
}

// isCold reports whether nothing is compiled for the race detector yet, which
// is most of what make test compiles.
func isCold() bool {
	out, err := exec.Command("go", "list", "-race", "-f", "{{.Stale}}", "net/http").Output()
	return err == nil && strings.TrimSpace(string(out)) == "true"
}

// A room is what a stage ran in one package, or one command.
type room struct {
	name                    string
	passed, failed, skipped int
	took                    time.Duration
	notes                   []string // printed as they are
}

var wasm = []string{"GOOS=js", "GOARCH=wasm"}

func stages(goroot string) []stage {
	// Node gets a small environment: wasm_exec.js refuses a large one.
	node := fmt.Sprintf("-exec=env -i PATH=%s HOME=%s TMPDIR=%s %s",
		os.Getenv("PATH"), os.Getenv("HOME"), os.TempDir(), filepath.Join(goroot, "lib/wasm/go_js_wasm_exec"))
	return []stage{
		{name: "gofmt", commands: [][]string{append([]string{"gofmt", "-l"}, sources()...)}, quiet: true},
		{name: "vet", commands: [][]string{{"go", "vet", "./..."}}},
		{name: "plain", tests: append([]string{"-timeout=10m"}, packages(true)...)},
		unraced(),
		// Programs that tests start do not wait a second at their end for late races.
		{name: "race", env: []string{"SIGNET_TEST_ALL=1", "GORACE=atexit_sleep_ms=50"}, tests: append([]string{"-race", "-timeout=20m"}, packages(false)...)},
		{name: "sim", tests: []string{"-count=1", "-timeout=10m", "-run=TestSeeds", "./test/sim", "-args", "-workers=2", "-seconds=130", "-first=2000001"}},
		{name: "fips", env: []string{"GODEBUG=fips140=only", "SIGNET_TEST_ALL=1"}, tests: []string{"-short", "-timeout=10m", "./device/owner", "./service", "./core/...", "./device/...", "./service/..."}},
		{name: "grants", tests: []string{"-tags=grants", "-timeout=10m", "-run=Grant|Reader|Role|Demoted|Recipient|Vectors", "./core/journal", "./core/region", "./test/attack"}},
		{name: "wasm", env: wasm, tests: []string{"-short", "-timeout=10m", node, "./core/seal", "./core/plan", "./core/..."}},
		{name: "cross", commands: cross()},
		{name: "sizes", run: sizes},
	}
}

// hasNoGoroutines are packages whose code starts no goroutine and waits for nothing
// (style_test.go sees to it): the race detector has nothing to find in their tests,
// and makes them five times slower. The empty one is the module's own.
var hasNoGoroutines = []string{"", "core/..."}

// longest are the packages that take longest, in that order: they begin first, so
// that no processor has nothing to do at the end while the longest is still at work.
var longest = []string{"test/e2e", "device/owner", "test/script", "test/sim", "test/edge"}

// packages are those of stage plain, or of stage race, longest first. Where they
// cannot be listed, go test is left to say so.
func packages(plain bool) (list []string) {
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		return []string{"./..."}
	}
	for path := range strings.FieldsSeq(string(out)) {
		_, name, _ := strings.Cut(path, "/")
		if plain == slices.ContainsFunc(hasNoGoroutines, func(pattern string) bool {
			below, all := strings.CutSuffix(pattern, "...")
			return name == pattern || all && strings.HasPrefix(name, below)
		}) {
			list = append(list, "./"+name)
		}
	}
	rank := func(path string) int { return slices.Index(longest, strings.TrimPrefix(path, "./")) }
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(uint(rank(a)), uint(rank(b))) })
	return list
}

// cross builds and vets both programs for every platform that they are for.
func cross() (commands [][]string) {
	for _, p := range []string{"linux/amd64", "linux/arm64", "darwin/arm64", "darwin/amd64", "windows/amd64"} {
		goos, goarch, _ := strings.Cut(p, "/")
		env := []string{"env", "GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0", "go"}
		commands = append(commands,
			append(slices.Clone(env), "build", "-trimpath", "-o", os.DevNull, "./cmd/..."),
			append(slices.Clone(env), "vet", "-trimpath", "./cmd/..."))
	}
	return commands
}

// unraced runs the tests that are not built for the race detector: what they count
// is the same without it, and takes minutes with it. None is in no stage.
func unraced() stage {
	list := func(args ...string) (files []string) {
		out, _ := exec.Command("go", append(append([]string{"list"}, args...), "-f",
			"{{$d := .Dir}}{{$p := .ImportPath}}{{range .TestGoFiles}}{{$p}} {{$d}}/{{.}}\n{{end}}{{range .XTestGoFiles}}{{$p}} {{$d}}/{{.}}\n{{end}}", "./...")...).Output()
		return strings.Split(string(out), "\n")
	}
	with := list("-race")
	var names, in []string
	for _, line := range list() {
		if pkg, file, _ := strings.Cut(line, " "); !slices.Contains(with, line) {
			src, _ := os.ReadFile(file)
			for _, m := range testName.FindAllSubmatch(src, -1) {
				names = append(names, string(m[1]))
			}
			in = append(in, pkg)
		}
	}
	return stage{name: "unraced", tests: append([]string{"-timeout=10m", "-run=^(" + strings.Join(names, "|") + ")$"}, slices.Compact(in)...)}
}

var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// sources are the folders and files that gofmt looks at: packages, and not
// what somebody keeps in the clone beside them.
func sources() []string {
	out, err := exec.Command("go", "list", "-e", "-f", "{{.Dir}}", "./...").Output()
	if err != nil {
		return []string{"."}
	}
	here, _ := os.Getwd()
	files, _ := filepath.Glob("*.go")
	for dir := range strings.Lines(string(out)) {
		if dir = strings.TrimSpace(dir); dir != here {
			files = append(files, dir)
		}
	}
	return files
}

func main() {
	only := flag.String("only", "", "comma-separated stages; default all")
	flag.Parse()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: go env:", err)
		os.Exit(1)
	}
	start, cold := time.Now(), isCold()
	var table []string
	var total room
	for _, s := range stages(strings.TrimSpace(string(goroot))) {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		fmt.Printf("== %s\n", s.name)
		began := time.Now()
		rooms := s.do()
		var sum room
		for _, r := range rooms {
			table = append(table, r.line(s.name))
			for _, n := range r.notes {
				table = append(table, "        "+n)
			}
			sum.add(r)
		}
		sum.name, sum.took = "all", time.Since(began)
		table = append(table, sum.line(s.name), "")
		total.add(sum)
	}
	took := time.Since(start).Round(time.Second)
	inAll := fmt.Sprintf("%s in all", took)
	if *only == "" {
		inAll += fmt.Sprintf(", of at most %s", whole.of(cold))
		for _, r := range whole.keep(cold, "all", took, worked()) {
			table = append(table, r.line("late"), "") // said, and no failure: machines differ
		}
	}
	if cold {
		inAll += ", compiled from nothing"
	}
	fmt.Printf("\n%s", strings.Join(table, "\n"))
	fmt.Printf("\n%d skipped; %s\n", total.skipped, inAll)
	fmt.Printf("%d passed, %d failed\n", total.passed, total.failed)
	if total.failed > 0 || total.skipped > 0 || total.passed == 0 {
		os.Exit(1)
	}
}

func (r *room) add(o room) {
	r.passed += o.passed
	r.failed += o.failed
	r.skipped += o.skipped
}

func (r room) line(stage string) string {
	s := fmt.Sprintf("%-6s  %-40s %5d tests %7.1f s", stage, r.name, r.passed+r.failed+r.skipped, r.took.Seconds())
	if r.failed > 0 {
		s += fmt.Sprintf("  %d FAILED", r.failed)
	}
	if r.skipped > 0 {
		s += fmt.Sprintf("  %d SKIPPED", r.skipped)
	}
	return s
}

func (s stage) do() (rooms []room) {
	switch {
	case s.run != nil:
		r, err := s.run()
		if err != nil {
			fmt.Println(err)
			r.failed++
		} else {
			r.passed++
		}
		return []room{r}
	case s.tests != nil:
		return goTest(s.env, s.tests)
	}
	for _, c := range s.commands {
		rooms = append(rooms, s.command(c))
	}
	return rooms
}

func (s stage) command(args []string) room {
	began := time.Now()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	out, err := cmd.CombinedOutput()
	r := room{name: short(args), took: time.Since(began)}
	if err == nil && !(s.quiet && len(out) > 0) {
		r.passed = 1
		return r
	}
	r.failed = 1
	fmt.Printf("%s: %v\n%s\n", r.name, err, out)
	return r
}

// short names a command for the table: platform, verb and what for.
func short(args []string) string {
	if args[0] == "env" {
		return strings.TrimPrefix(args[1], "GOOS=") + "/" + strings.TrimPrefix(args[2], "GOARCH=") + " " + args[5]
	}
	return strings.Join(args[:2], " ")
}
