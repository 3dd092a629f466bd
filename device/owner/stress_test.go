package owner_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/tree"
	"signet/device/engine"
)

// A scribbler makes and changes files in a folder as programs and people do.
// Every content that it writes and leaves for a while is one of a kind.
type scribbler struct {
	d    *device
	rnd  *rand.Rand
	n    int
	made map[[32]byte]string // contents that it wrote, and did not itself write over or remove since
}

// gone notes that what has a name is about to be written over or removed.
func (s *scribbler) gone(path string) {
	if b, err := os.ReadFile(path); err == nil {
		delete(s.made, sha256.Sum256(b))
	}
}

func (s *scribbler) wrote(b []byte) {
	line, _, _ := strings.Cut(string(b), "\n")
	s.made[sha256.Sum256(b)] = line
}

func (s *scribbler) content() []byte {
	s.n++
	b := fmt.Appendf(nil, "%s wrote this as number %d\n", filepath.Base(s.d.dir), s.n)
	if s.rnd.Intn(20) == 0 {
		return append(b, make([]byte, 300<<10)...)
	}
	return b
}

func (s *scribbler) name() string {
	n := fmt.Sprintf("f%d", s.rnd.Intn(12))
	for range s.rnd.Intn(3) {
		n = fmt.Sprintf("d%d/%s", s.rnd.Intn(4), n)
	}
	return s.d.path(n)
}

func (s *scribbler) folder() string { return s.d.path(fmt.Sprintf("d%d", s.rnd.Intn(4))) }

// step does one thing; what cannot be done is let be.
func (s *scribbler) step() {
	switch p := s.name(); s.rnd.Intn(12) {
	case 0, 1, 2: // written in place
		os.MkdirAll(filepath.Dir(p), 0o755)
		s.gone(p)
		if b := s.content(); os.WriteFile(p, b, 0o644) == nil {
			s.wrote(b)
		}
	case 3, 4, 5: // saved as editors do
		os.MkdirAll(filepath.Dir(p), 0o755)
		b, tmp := s.content(), p+".tmp"
		if s.gone(tmp); os.WriteFile(tmp, b, 0o600) == nil {
			if s.gone(p); os.Rename(tmp, p) == nil {
				s.wrote(b)
			}
		}
	case 6:
		os.MkdirAll(filepath.Dir(p), 0o755)
		s.gone(p)
		os.Rename(s.name(), p)
	case 7:
		os.Rename(s.folder(), s.d.path(fmt.Sprintf("d%d/d%d", s.rnd.Intn(4), s.rnd.Intn(4))))
	case 8: // two names swapped
		q, tmp := s.name(), s.d.path("swap")
		for _, m := range [][2]string{{p, tmp}, {q, p}, {tmp, q}} {
			s.gone(m[1])
			os.Rename(m[0], m[1])
		}
	case 9:
		s.gone(p)
		os.Remove(p)
	case 10:
		if info, err := os.Lstat(p); err == nil && info.Mode().IsRegular() {
			os.Chmod(p, 0o755)
		}
	case 11: // a folder where a file was, and a file where a folder was
		if s.gone(p); os.Remove(p) == nil {
			os.Mkdir(p, 0o755)
		}
	}
}

// TestTwoDaemonsUnderRandomEditsLoseNothing has two devices edit the same few
// names at the same time, then lets them settle: they show the same, and what
// was written and left is in both folders, or in the history, or in the trash
// of the disk that it was written on.
func TestTwoDaemonsUnderRandomEditsLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	underRandomEdits(t, 10*time.Second, func(*scribbler) {})
}

// TestTwoDaemonsUnderChangingRulesLoseNothing is the same while rules come and
// go that leave some of the names out; in the end there are none.
func TestTwoDaemonsUnderChangingRulesLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	rules := []string{"f1*\nd1/\n", "d0/\n*.tmp\n", "/d2/d3/\n", "f3\n", "d*/\n!d2/\n", "*conflict*\n", ""}
	underRandomEdits(t, 5*time.Second, func(s *scribbler) {
		if s.rnd.Intn(60) == 0 {
			tmp := s.d.path(rulesFile + ".new")
			must(t, os.WriteFile(tmp, []byte(rules[s.rnd.Intn(len(rules))]), 0o644))
			os.Rename(tmp, s.d.path(rulesFile))
		}
	})
}

func underRandomEdits(t *testing.T, length time.Duration, also func(*scribbler)) {
	t.Helper()
	a, b := pair(t, "f0", "f1", "d0/f0", "d1/d2/f3")
	a.approves, b.approves = true, true
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	all := map[[32]byte]string{}
	var mu sync.Mutex
	for i, d := range []*device{a, b} {
		wg.Go(func() {
			s := &scribbler{d: d, rnd: rand.New(rand.NewSource(seed + int64(i))), made: map[[32]byte]string{}}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
				s.step()
				also(s)
				if s.rnd.Intn(20) == 0 { // a pause, so that something settles
					wait := time.NewTimer(time.Duration(s.rnd.Intn(200)) * time.Millisecond)
					<-wait.C
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for k, v := range s.made {
				all[k] = v
			}
		})
	}
	wg.Wait()
	for range 10 {
		a.settled()
		b.settled()
		// Rules of two devices may stand beside each other.
		for _, p := range []string{rulesFile, rulesFile + ".new"} {
			os.Remove(a.path(p))
		}
		a.settled()
		b.settled()
		if a.listing() == b.listing() {
			break
		}
	}
	if a.listing() != b.listing() {
		for _, l := range apart(a.listing(), b.listing()) {
			t.Error(l)
		}
		t.Fatal("the folders differ")
	}
	before := []engine.Counters{a.counters(), b.counters()}
	a.settled()
	b.settled()
	for i, d := range []*device{a, b} {
		if c := d.counters().Minus(before[i]); c != (engine.Counters{}) {
			t.Errorf("in step, and yet %s did %+v", filepath.Base(d.dir), c)
		}
	}
	if al := append(a.Engine.Alarms(), b.Engine.Alarms()...); len(al) > 0 {
		t.Errorf("alarms %+v", al)
	}
	a.sameAsJournal()
	t.Logf("%d contents, %d entries", len(all), a.Engine.Regions()[0].Entries)
	for _, what := range unaccounted(all, a, b) {
		t.Errorf("not in the folders, not in the history, not in the trash: %q", what)
	}
}

// sameAsJournal checks that the folder has what the journal says.
func (d *device) sameAsJournal() {
	d.t.Helper()
	journal := map[string]bool{}
	must(d.t, d.Engine.WithRegion(d.Engine.Volumes()[0].Region, func(r *region.Region) error {
		var below func(folder signet.NodeID, prefix string)
		below = func(folder signet.NodeID, prefix string) {
			names := r.Tree.Names(folder, tree.Caps{})
			for _, n := range r.Tree.Children(folder) {
				journal[prefix+names[n.ID]] = true
				below(n.ID, prefix+names[n.ID]+"/")
			}
		}
		below(signet.RootNode, "")
		return nil
	}))
	folder := map[string]bool{}
	must(d.t, filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(d.dir, p)
		switch {
		case err != nil:
			return err
		case rel == ".signet":
			return filepath.SkipDir
		case rel != ".":
			folder[rel] = true
		}
		return nil
	}))
	for path := range folder {
		if !journal[path] {
			d.t.Errorf("in the folder, and not in the journal: %q", path)
		}
	}
	for path := range journal {
		if !folder[path] {
			d.t.Errorf("in the journal, and not in the folder: %q", path)
		}
	}
}

// unaccounted is what of all is nowhere.
func unaccounted(all map[[32]byte]string, devices ...*device) (lost []string) {
	here := map[[32]byte]bool{}
	for _, d := range devices {
		d.t.Helper()
		must(d.t, filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				if b, err := os.ReadFile(p); err == nil {
					here[sha256.Sum256(b)] = true
				}
			}
			return err
		}))
	}
	d := devices[0]
	must(d.t, d.Engine.Events(d.Engine.Volumes()[0].Region, func(_ tree.Event, op *tree.Op) error {
		if op != nil && op.Type == tree.File {
			here[op.Hash] = true
		}
		return nil
	}))
	for sum, what := range all {
		if !here[sum] {
			lost = append(lost, what)
		}
	}
	return lost
}

// apart is the lines that only one of two listings has.
func apart(a, b string) (lines []string) {
	in := map[string]int{}
	for l := range strings.SplitSeq(a, "\n") {
		in[l] |= 1
	}
	for l := range strings.SplitSeq(b, "\n") {
		in[l] |= 2
	}
	for l, n := range in {
		if n != 3 {
			lines = append(lines, fmt.Sprintf("%s: %s", l, [...]string{1: "a alone", 2: "b alone"}[n]))
		}
	}
	slices.Sort(lines)
	return lines
}
