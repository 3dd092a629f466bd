package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

const events = `{"Action":"start","Package":"signet/a"}
{"Action":"run","Package":"signet/a","Test":"TestGood"}
{"Action":"output","Package":"signet/a","Test":"TestGood","Output":"not shown\n"}
{"Action":"pass","Package":"signet/a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"signet/a","Test":"TestBad/case","Output":"shown\n"}
{"Action":"fail","Package":"signet/a","Test":"TestBad/case","Elapsed":0.1}
{"Action":"skip","Package":"signet/a","Test":"TestLater","Elapsed":0}
{"Action":"fail","Package":"signet/a","Elapsed":1.5}
not json
{"Action":"skip","Package":"signet/notests","Elapsed":0}
{"ImportPath":"signet/broken","Action":"build-output","Output":"broken.go:1: syntax error\n"}
{"Action":"fail","Package":"signet/broken","Elapsed":0}
`

func TestEveryPassFailureSkipAndBrokenPackageIsCounted(t *testing.T) {
	var out strings.Builder
	rooms := count(strings.NewReader(events), &out, false)
	if len(rooms) != 2 || rooms[0].name != "a" || rooms[1].name != "broken" {
		t.Fatalf("rooms %+v", rooms)
	}
	total := sum(rooms)
	if total.passed != 1 || total.failed != 2 || total.skipped != 1 {
		t.Errorf("%d passed, %d failed, %d skipped", total.passed, total.failed, total.skipped)
	}
	for _, want := range []string{"shown\n", "syntax error", "not json", "1 FAILED", "1 SKIPPED"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the output", want)
		}
	}
	if strings.Contains(out.String(), "not shown") {
		t.Error("output of a test that passed is shown")
	}
}

func TestACommandThatSaysSomethingFailsAQuietStage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		quiet  bool
		failed int
	}{
		{[]string{"go", "version"}, false, 0},
		{[]string{"go", "version"}, true, 1},
		{[]string{"go", "no-such-command"}, false, 1},
	} {
		if r := (stage{quiet: c.quiet}).command(c.args); r.failed != c.failed {
			t.Errorf("%v: %d failures", c.args, r.failed)
		}
	}
}

func TestWhatTakesTooLongFails(t *testing.T) {
	l := limit{25 * time.Minute, 45 * time.Minute}
	for _, c := range []struct {
		limit        limit
		cold         bool
		took, worked time.Duration
		failed       int
	}{
		{l, false, 25 * time.Minute, 25 * time.Minute, 0},
		{l, false, 25*time.Minute + time.Second, 20 * time.Minute, 1},
		{l, false, 25*time.Minute + time.Second, 10 * time.Minute, 0},
		{l, false, 50*time.Minute + time.Second, 10 * time.Minute, 1},
		{l, true, 45 * time.Minute, 45 * time.Minute, 0},
		{l, true, 45*time.Minute + time.Second, 40 * time.Minute, 1},
		{limit{}, false, time.Hour, time.Hour, 0},
	} {
		if got := sum(c.limit.keep(c.cold, "all", c.took, c.worked)); got.failed != c.failed {
			t.Errorf("%v, cold %v: %v took %d failures", c.limit, c.cold, c.took, got.failed)
		}
	}
	if whole != l {
		t.Errorf("all of it may take %v", whole)
	}
}

// No package is tested in no stage, and none twice.
func TestEachPackageIsInStagePlainOrRace(t *testing.T) {
	t.Chdir("../..")
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for path := range strings.FieldsSeq(string(out)) {
		_, name, _ := strings.Cut(path, "/")
		all = append(all, "./"+name)
	}
	plain, race := packages(true), packages(false)
	both := slices.Concat(plain, race)
	slices.Sort(both)
	slices.Sort(all)
	if !slices.Equal(both, all) {
		t.Errorf("the stages have %q, the module %q", both, all)
	}
	for _, p := range []string{"./", "./core/seal", "./core/wire"} {
		if !slices.Contains(plain, p) {
			t.Errorf("%s is not in stage plain", p)
		}
	}
	for i, p := range longest {
		if race[i] != "./"+p {
			t.Errorf("package %d of stage race is %s, want %s", i, race[i], p)
		}
	}
}

// What is left out under the race detector has a stage.
func TestWhatIsNotBuiltForTheRaceDetectorIsRun(t *testing.T) {
	t.Chdir("../..")
	got := unraced().tests
	for _, name := range []string{"TestWhatTwentyThousandFilesCost", "TestStartGoesOnFromTheTreeThatWasKept", "TestStories"} {
		if !strings.Contains(got[1], name) {
			t.Errorf("%s is run by no stage: %q", name, got)
		}
	}
	for _, pkg := range []string{"signet/device/owner", "signet/test/script"} {
		if !slices.Contains(got, pkg) {
			t.Errorf("%s is not in %q", pkg, got)
		}
	}
}

func TestAnEmptyCacheIsCold(t *testing.T) {
	t.Setenv("GOCACHE", t.TempDir())
	if !isCold() {
		t.Error("nothing is compiled, and it is not cold")
	}
}

func TestTheBrowserProgramLinksMethodsAndFunctions(t *testing.T) {
	src, n, err := linkAll("../../core")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\twire.NewReader,\n", "\t(*chain.Tree).Append,\n", "\tkey.Generate,\n"} {
		if !strings.Contains(string(src), want) {
			t.Errorf("%q is not linked", want)
		}
	}
	if n < 100 {
		t.Errorf("%d functions", n)
	}
}

// A test that hung, and was ended with its package, is shown.
func TestWhatHungIsShown(t *testing.T) {
	in := strings.NewReader(`{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"fine"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestHangs","Output":"goroutine 1"}
{"Action":"fail","Package":"p"}
`)
	var out strings.Builder
	rooms := count(in, &out, false)
	if s := out.String(); !strings.Contains(s, "goroutine 1") || strings.Contains(s, "fine") {
		t.Errorf("shown: %q", s)
	}
	if n := sum(rooms); n.passed != 1 || n.failed != 1 {
		t.Errorf("%+v", n)
	}
}

// What -short leaves out is skipped unless an earlier stage ran it.
func TestWhatShortLeavesOutMustHaveRunBefore(t *testing.T) {
	skip := `{"Action":"skip","Package":"signet/q","Test":"TestLong"}` + "\n"
	n := func(events string, short bool) int {
		var out strings.Builder
		return sum(count(strings.NewReader(events), &out, short)).skipped
	}
	if got := n(skip, true); got != 1 {
		t.Errorf("run by no stage: %d skipped", got)
	}
	n(`{"Action":"pass","Package":"signet/q","Test":"TestLong"}`+"\n", false)
	if short, whole := n(skip, true), n(skip, false); short != 0 || whole != 1 {
		t.Errorf("run by another stage: %d skipped with -short, %d without", short, whole)
	}
}
