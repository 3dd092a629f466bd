package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// W9: how the cost of one region grows with its files, for Signet alone. Each
// tree is measured by itself: a service, device a that has the tree, and device
// b that joins when all else was measured.

// trees are the numbers of files that W9 goes through, each ten times the last.
func (s sizes) trees() []int { return []int{max(s.Tree/100, 10), max(s.Tree/10, 20), s.Tree} }

// A growth is what one tree took.
type growth struct {
	Files int `json:"files"`
	// By what: seconds, or bytes.
	Seconds map[string]float64 `json:"seconds"`
	Bytes   map[string]int64   `json:"bytes"`
}

// What is measured, in the order in which it is.
const (
	growFirst   = "added: until all is with the service"
	growStart   = "a starts, nothing changed"
	growChange  = "one file written: until it is with the service"
	growRename  = "a folder with half of them renamed"
	growListing = "b is linked and lists a folder"
	growJoin    = "b has all of it"
)

const (
	growPeakA   = "a, most while it is added"
	growRestA   = "a at rest"
	growRestAS  = "service at rest"
	growPeakB   = "b, most while it joins"
	growPeakS   = "service, most"
	growIndex   = "a's index"
	growService = "service's database"
	growStored  = "service's objects and the rest"
	growMoved   = "loopback for the rename"
)

var (
	growSeconds = []string{growFirst, growStart, growChange, growRename, growListing, growJoin}
	growBytes   = []string{growPeakA, growRestA, growPeakB, growPeakS, growRestAS, growIndex, growService, growStored, growMoved}
)

// runGrowth is the case W9, which is measured by itself.
func runGrowth(ctx context.Context, o options, bin, asJSON string) error {
	var list []growth
	for _, n := range o.size.trees() {
		o.say("W9: %d files", n)
		g, err := grow(ctx, o, bin, n)
		if err != nil {
			return fmt.Errorf("%d files: %w", n, err)
		}
		list = append(list, g)
	}
	printGrowth(os.Stdout, list)
	if asJSON == "" {
		return nil
	}
	return write(asJSON, list)
}

func grow(ctx context.Context, o options, bin string, files int) (g growth, err error) {
	g = growth{Files: files, Seconds: map[string]float64{}, Bytes: map[string]int64{}}
	dir := filepath.Join(o.work, fmt.Sprintf("growth-%d", files))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return g, err
	}
	if !o.keep {
		defer os.RemoveAll(dir)
	}
	aside := filepath.Join(dir, "aside")
	for i, half := range []string{"left", "right"} {
		if _, err := writeTree(filepath.Join(aside, half), uint64(7+i), files/2, 2<<10); err != nil {
			return g, err
		}
	}
	if err := flush(ctx, dir); err != nil {
		return g, err
	}
	kept, err := signetPeer{bin}.keep(ctx, dir)
	if err != nil {
		return g, err
	}
	p := kept.(*signetPair)
	defer p.close()
	a, b := p.folders()
	timed := func(what string, do ...func() error) error {
		began := time.Now()
		for _, f := range do {
			if err := f(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		took := time.Since(began)
		g.Seconds[what] = took.Seconds()
		o.say("W9: %d files: %s: %.2f s", files, what, took.Seconds())
		return nil
	}
	settled := func(device string) func() error {
		return func() error {
			_, err := p.signet(ctx, device, "", "--timeout", "40m", "wait")
			return err
		}
	}
	renamed := func(from, to string) func() error { return func() error { return os.Rename(from, to) } }
	peak := func(role string) int64 { return p.usage().peak[role] }

	p.fresh()
	if err := timed(growFirst, renamed(aside, filepath.Join(a, "tree")), settled("a")); err != nil {
		return g, err
	}
	g.Bytes[growPeakA] = peak("device-a")
	if err := rests(ctx, o.size); err != nil {
		return g, err
	}
	g.Bytes[growRestA], g.Bytes[growRestAS] = p.resident("device-a"), p.resident("service")

	if err := p.stop(ctx); err != nil {
		return g, err
	}
	if err := flush(ctx, dir); err != nil {
		return g, err
	}
	if err := timed(growStart, func() error { return p.start(ctx) }); err != nil {
		return g, err
	}
	write := func() error { return os.WriteFile(filepath.Join(a, "tree", "note.txt"), []byte("one change"), 0o644) }
	sent, err := p.sent(ctx)
	if err != nil {
		return g, err
	}
	if err := timed(growChange, write, p.sends(ctx, sent+1)); err != nil {
		return g, err
	}
	before, own := loopback()
	if err := timed(growRename, renamed(filepath.Join(a, "tree", "left"), filepath.Join(a, "tree", "moved")), p.sends(ctx, sent+2)); err != nil {
		return g, err
	}
	if after, _ := loopback(); own {
		g.Bytes[growMoved] = after - before
	}
	// b comes when all is told: the journal, or what stands for its beginning.
	if err := os.MkdirAll(b, 0o755); err != nil {
		return g, err
	}
	list := func() error { _, err := p.signet(ctx, "b", "", "ls", "Bench:tree/right"); return err }
	if err := timed(growListing, func() error { return p.link(ctx) }, list); err != nil {
		return g, err
	}
	if _, err := p.signet(ctx, "b", "", "add", b, "--region", "Bench"); err != nil {
		return g, err
	}
	if err := timed(growJoin, func() error { return p.begin(ctx, "b") }, settled("b")); err != nil {
		return g, err
	}
	g.Bytes[growPeakB], g.Bytes[growPeakS] = peak("device-b"), peak("service")
	if err := sameTree(a, b); err != nil {
		return g, err
	}
	index, err := below(p.home("a"), "index")
	if err != nil {
		return g, err
	}
	database, err := below(filepath.Join(dir, "service"), "signet.db")
	if err != nil {
		return g, err
	}
	all, err := below(filepath.Join(dir, "service"), "")
	g.Bytes[growIndex], g.Bytes[growService], g.Bytes[growStored] = index, database, all-database
	return g, err
}

// sent is how many entries device a has written.
func (p *signetPair) sent(ctx context.Context) (int, error) {
	out, err := p.signet(ctx, "a", "", "--json", "status")
	if err != nil {
		return 0, err
	}
	var s struct {
		Volumes []struct{ Counters struct{ Entries int } }
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Volumes) != 1 {
		return 0, fmt.Errorf("status says %s: %w", out, err)
	}
	return s.Volumes[0].Counters.Entries, nil
}

// sends returns when it has written so many.
func (p *signetPair) sends(ctx context.Context, entries int) func() error {
	return func() error {
		return until(ctx, 5*time.Millisecond, func() (bool, error) {
			n, err := p.sent(ctx)
			return n >= entries, err
		})
	}
}

// rests waits until a daemon had time to give memory back.
func rests(ctx context.Context, s sizes) error {
	wait := 10 * time.Second
	if s == quick {
		wait = 10 * time.Millisecond
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// resident is the resident size of a process of a role, in bytes.
func (p *signetPair) resident(role string) int64 {
	for _, q := range p.running {
		if q.role != role {
			continue
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", q.cmd.Process.Pid))
		_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
		if f := strings.Fields(string(rest)); len(f) > 0 {
			kib, _ := strconv.ParseInt(f[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// below is how many bytes the files below a folder have whose names begin so.
func below(dir, begins string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasPrefix(e.Name(), begins) {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

func sameTree(a, b string) error {
	x, err := digest(filepath.Join(a, "tree"), true)
	if err != nil {
		return err
	}
	y, err := digest(filepath.Join(b, "tree"), true)
	if err == nil && x != y {
		err = fmt.Errorf("the folders differ")
	}
	return err
}

// printGrowth writes what each tree took, and by what power of the number of
// files it grew over the last step: 1 is in proportion, 0 is not at all.
func printGrowth(w io.Writer, list []growth) {
	fmt.Fprint(w, "| W9 |")
	for _, g := range list {
		fmt.Fprintf(w, " %d files |", g.Files)
	}
	fmt.Fprint(w, " slope |\n|---|")
	for range list {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w, "---|")
	line := func(what string, show func(growth) string, value func(growth) float64) {
		fmt.Fprintf(w, "| %s |", what)
		for _, g := range list {
			fmt.Fprintf(w, " %s |", show(g))
		}
		slope := ""
		if n := len(list); n > 1 {
			x, y := list[n-2], list[n-1]
			if value(x) > 0 && value(y) > 0 {
				slope = fmt.Sprintf("%.2f", math.Log(value(y)/value(x))/math.Log(float64(y.Files)/float64(x.Files)))
			}
		}
		fmt.Fprintf(w, " %s |\n", slope)
	}
	for _, what := range growSeconds {
		line(what, func(g growth) string { return fmt.Sprintf("%.2f s", g.Seconds[what]) }, func(g growth) float64 { return g.Seconds[what] })
	}
	for _, what := range growBytes {
		line(what, func(g growth) string { return fmt.Sprintf("%.1f MiB", float64(g.Bytes[what])/(1<<20)) }, func(g growth) float64 { return float64(g.Bytes[what]) })
	}
}
