package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"time"
)

// An event is a line of go test -json (cmd/test2json, cmd/go "build-output").
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// passed has the tests that passed in a stage so far. What a stage with -short
// leaves out is no skipped test if an earlier stage ran it.
var passed = map[string]bool{}

// goTest runs go test -json and returns one room per package that has tests.
func goTest(env, args []string) []room {
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return []room{{name: "go test: " + err.Error(), failed: 1}}
	}
	rooms := count(out, os.Stdout, slices.Contains(args, "-short"))
	if err := cmd.Wait(); err != nil && sum(rooms).failed == 0 {
		rooms = append(rooms, room{name: "go test: " + err.Error(), failed: 1})
	}
	return rooms
}

func sum(rooms []room) (total room) {
	for _, r := range rooms {
		total.add(r)
	}
	return total
}

// count reads events, writes the output of what failed, and a line for each
// package as it ends. A package that does not build, or dies outside a test,
// counts as one failure.
func count(in io.Reader, out io.Writer, short bool) []room {
	rooms := map[string]*room{}
	output := map[string]*strings.Builder{} // by package, test
	at := func(k string) *strings.Builder {
		if output[k] == nil {
			output[k] = &strings.Builder{}
		}
		return output[k]
	}
	lines := bufio.NewReader(in)
	// rest writes what a package's tests wrote that never ended: one hung, or
	// took the others with it.
	rest := func(pkg string) {
		for _, k := range slices.Sorted(maps.Keys(output)) {
			if p, _, _ := strings.Cut(k, "\x00"); p == pkg {
				fmt.Fprint(out, output[k])
			}
		}
	}
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			handle(e, rooms, at, rest, out, short)
		} else if len(line) > 0 {
			out.Write(line)
		}
		if err != nil {
			return sorted(rooms)
		}
	}
}

func handle(e event, rooms map[string]*room, at func(string) *strings.Builder, rest func(pkg string), out io.Writer, short bool) {
	k := e.Package + "\x00" + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
		return
	case "output":
		at(k).WriteString(e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	r := rooms[e.Package]
	if r == nil {
		r = &room{name: strings.TrimPrefix(e.Package, "signet/")}
		rooms[e.Package] = r
	}
	if e.Test == "" {
		r.took = time.Duration(e.Elapsed * float64(time.Second))
		if e.Action == "fail" && r.failed == 0 {
			r.failed++
			rest(e.Package)
		}
		if r.passed+r.failed+r.skipped > 0 {
			fmt.Fprintln(out, r.line(e.Action))
		}
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
		passed[k] = true
	case "fail":
		r.failed++
		fmt.Fprint(out, at(k).String())
	case "skip":
		if short && passed[k] {
			break
		}
		r.skipped++
		fmt.Fprint(out, at(k).String())
	}
	at(k).Reset()
}

func sorted(rooms map[string]*room) (out []room) {
	for _, r := range rooms {
		if r.passed+r.failed+r.skipped > 0 {
			out = append(out, *r)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}
