package e2e

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

// Devices and service are killed at seeded moments while people work on two
// devices. What they settled is there in the end, and all agree.
func TestKillsLoseNothingSettled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	killed(t, pick(20, 2), 1)
}

// killed kills devices n times and the service n times.
func killed(t *testing.T, n int, seed uint64) {
	w := newWorld(t)
	one, two := w.device("one"), w.device("two")
	one.add()
	one.sync()
	two.add()
	two.sync()
	random := rand.New(rand.NewPCG(7, seed))
	people := []*person{newPerson(one, seed), newPerson(two, seed+1000)}
	stop := make(chan struct{})
	var working sync.WaitGroup
	for _, d := range w.devices {
		d.up()
	}
	for _, p := range people {
		working.Go(func() { p.work(stop) })
	}
	var victims []int
	for i := range n {
		victims = append(victims, i%2, 2)
	}
	random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	start := time.Now()
	for _, v := range victims {
		<-time.After(200*time.Millisecond + time.Duration(random.Int64N(int64(time.Second))))
		dead := time.Duration(random.Int64N(int64(200 * time.Millisecond)))
		if v == 2 {
			w.upstream.Store(nil)
			w.service.end(syscall.SIGKILL)
			<-time.After(dead)
			w.start()
		} else {
			d := w.devices[v]
			select {
			case <-d.daemon.ended:
				t.Fatalf("the daemon of %s ended by itself: %v\n%s", d.name, d.daemon.err, d.daemon.words())
			default:
			}
			d.kill()
			<-time.After(dead)
			d.up()
		}
	}
	close(stop)
	working.Wait()
	took := time.Since(start)
	start = time.Now()
	for _, d := range w.devices {
		d.ready()
	}
	wait(t, one, two)
	for _, d := range w.devices {
		d.down()
	}
	settled := time.Since(start)
	agree(t, one, two)
	found, conflicts := contentsOf(t, two.dir)
	must := map[[32]byte]string{}
	done := 0
	for _, p := range people {
		maps.Copy(must, p.must)
		done += p.done
	}
	var elsewhere [][32]byte
	history := historyOf(t, two)
	for _, sum := range slices.SortedFunc(maps.Keys(must), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		switch {
		case found[sum]:
		case history[sum] == (revision{}):
			t.Errorf("lost: %s, neither in a folder nor in the history", must[sum])
		default:
			elsewhere = append(elsewhere, sum)
		}
	}
	// Each takes about a second, because it reads the whole journal: a sample.
	random.Shuffle(len(elsewhere), func(i, j int) { elsewhere[i], elsewhere[j] = elsewhere[j], elsewhere[i] })
	sample := elsewhere[:min(len(elsewhere), pick(100, 10))]
	start = time.Now()
	for _, sum := range sample {
		restored(t, two, history[sum], sum)
	}
	t.Logf("%d + %d kills in %.0f s, %d changes by two people; in step %.1f s later: %d settled contents, %d live files (%d conflict copies), %d in the history alone, %d of them restored in %.1f s",
		n, n, took.Seconds(), done, settled.Seconds(), len(must), len(found), conflicts, len(elsewhere), len(sample), time.Since(start).Seconds())
	quiet(t, one, two)
	w.stop()
	w.check()
	for _, d := range w.devices {
		indexIsWhole(t, d)
	}
}

// A person changes files on one device, and remembers each content that must
// not be lost: all that they saved but what they themselves overwrote or
// deleted since on the device where they had made it.
type person struct {
	d       *device
	random  *rand.Rand
	must    map[[32]byte]string
	done    int
	deletes int
}

func newPerson(d *device, seed uint64) *person {
	return &person{d: d, random: rand.New(rand.NewPCG(seed, 77)), must: map[[32]byte]string{}}
}

func (p *person) work(stop chan struct{}) {
	t := time.NewTicker(15 * time.Millisecond)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-t.C:
			p.change(i)
		}
	}
}

// change makes one change. Whatever is not there any more is let be.
func (p *person) change(i int) {
	root := p.d.dir
	folder := filepath.Join(root, fmt.Sprintf("folder-%d", p.random.IntN(8)))
	switch n := p.random.IntN(100); {
	case n < 55:
		os.MkdirAll(folder, 0o755)
		p.save(filepath.Join(folder, fmt.Sprintf("%s-%05d.txt", p.d.name, i)), i)
	case n < 75:
		shared := filepath.Join(root, "shared")
		os.MkdirAll(shared, 0o755)
		p.replace(filepath.Join(shared, fmt.Sprintf("plan-%d.txt", p.random.IntN(12))), i)
	case n < 82:
		if f := p.any(folder); f != "" {
			p.replace(f, i)
		}
	case n < 93:
		if f := p.any(folder); f != "" && os.Rename(f, fmt.Sprintf("%s-moved-%s-%d", f[:min(len(f), len(folder)+16)], p.d.name, i)) == nil {
			p.done++
		}
	case n < 96:
		if f := p.any(folder); f != "" && p.deletes < 40 { // fewer than the guard holds
			old, err := os.ReadFile(f)
			if err == nil && os.Remove(f) == nil {
				p.forget(old)
				p.deletes++
				p.done++
			}
		}
	default:
		if os.Rename(folder, fmt.Sprintf("%s-was-%s-%d", folder, p.d.name, i)) == nil {
			p.done++
		}
	}
}

func (p *person) any(folder string) string {
	list, err := os.ReadDir(folder)
	if err != nil || len(list) == 0 {
		return ""
	}
	e := list[p.random.IntN(len(list))]
	if e.IsDir() {
		return ""
	}
	return filepath.Join(folder, e.Name())
}

// save writes a new file whose content says who wrote it and ends with its own
// hash: a torn one is found out.
func (p *person) save(path string, i int) bool {
	filler := make([]byte, p.random.IntN(6000))
	for j := range filler {
		filler[j] = 'a' + byte(p.random.IntN(26))
	}
	body := fmt.Sprintf("by %s\nchange %d\nfile %s\n%s\n", p.d.name, i, filepath.Base(path), filler)
	sum := sha256.Sum256([]byte(body))
	content := body + hex.EncodeToString(sum[:])
	if os.WriteFile(path, []byte(content), 0o644) != nil {
		return false
	}
	p.must[sha256.Sum256([]byte(content))] = fmt.Sprintf("change %d of %s, %s", i, p.d.name, path)
	p.done++
	return true
}

// replace saves by renaming over what is there.
func (p *person) replace(path string, i int) {
	temp := path + ".new-" + p.d.name
	if !p.save(temp, i) {
		return
	}
	old, _ := os.ReadFile(path)
	if os.Rename(temp, path) == nil {
		p.forget(old)
	}
}

// forget notes that this person did away with a content on this device. What
// somebody else wrote came from the service, and must be in the history.
func (p *person) forget(old []byte) {
	if bytes.HasPrefix(old, []byte("by "+p.d.name+"\n")) {
		delete(p.must, sha256.Sum256(old))
	}
}

// contentsOf is the hashes of all files below a folder, each of which must be
// whole, and how many are conflict copies.
func contentsOf(t *testing.T, dir string) (found map[[32]byte]bool, conflicts int) {
	t.Helper()
	found = map[[32]byte]bool{}
	for name, e := range treeOf(t, dir) {
		if !e.mode.IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		at := len(b) - 64
		if at < 0 {
			t.Errorf("%s is torn: %d bytes", name, len(b))
			continue
		}
		if sum := sha256.Sum256(b[:at]); hex.EncodeToString(sum[:]) != string(b[at:]) {
			t.Errorf("%s is torn: %d bytes", name, len(b))
		}
		found[e.sha] = true
		if strings.Contains(name, "conflict") {
			conflicts++
		}
	}
	return found, conflicts
}

// A revision is a line of history.
type revision struct{ Revision, Path, Kind, SHA256 string }

// historyOf is the newest revision of each content that a region ever had.
func historyOf(t *testing.T, d *device) map[[32]byte]revision {
	t.Helper()
	all := map[[32]byte]revision{}
	for line := range strings.Lines(d.run("--json", "history", "Docs:", "--changes").stdout) {
		var r revision
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("history says %q: %v", line, err)
		}
		sum, err := hex.DecodeString(r.SHA256)
		if err != nil || len(sum) != 32 || r.Kind == "delete" || r.Kind == "move" {
			continue
		}
		if k := [32]byte(sum); all[k] == (revision{}) {
			all[k] = r
		}
	}
	return all
}

// restored brings a revision back beside the folder and compares it.
func restored(t *testing.T, d *device, r revision, want [32]byte) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "restored")
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	d.run("restore", "Docs:"+r.Path, "--revision", r.Revision, "--to", to)
	for _, e := range treeOf(t, to) {
		if e.sha == want {
			return
		}
	}
	t.Errorf("%s of %s is in the history, but restore does not bring it back", r.Revision, r.Path)
}

// indexIsWhole lets the database say so itself.
func indexIsWhole(t *testing.T, d *device) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.home, "organisations", "*", "index.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("index of %s: %v %v", d.name, files, err)
	}
	db, err := sql.Open("sqlite", files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var says string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&says); err != nil || says != "ok" {
		t.Errorf("index of %s: %s %v", d.name, says, err)
	}
}
