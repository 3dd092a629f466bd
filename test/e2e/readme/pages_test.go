//go:build linux

package readme

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A step is a fenced block of a page: lines for the terminal of one machine.
type step struct {
	where string
	lines []string
}

// A page is one of doc/use, read from the top.
type page struct {
	t     *testing.T
	name  string
	steps []step
}

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// open reads a page.
func (u *use) open(t *testing.T, name string) *page {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(u.docs, name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{t: t, name: name}
	for _, m := range fence.FindAllStringSubmatch(string(data), -1) {
		p.steps = append(p.steps, step{m[1], strings.Split(strings.TrimSpace(m[2]), "\n")})
	}
	u.seen = append(u.seen, name+".md")
	t.Cleanup(func() {
		if len(p.steps) > 0 && !t.Failed() {
			t.Errorf("%s: %d blocks were not typed", name, len(p.steps))
		}
	})
	return p
}

// next takes the next block, which must be for this machine.
func (p *page) next(where string) []string {
	p.t.Helper()
	if len(p.steps) == 0 || p.steps[0].where != where {
		p.t.Fatalf("%s: the next block is not one for %s", p.name, where)
	}
	s := p.steps[0]
	p.steps = p.steps[1:]
	return s.lines
}

// typed types the next block, whose lines all succeed, and returns what they
// showed.
func (p *page) typed(w *terminal) string {
	p.t.Helper()
	var all string
	for _, l := range p.next(w.m.name) {
		all += w.does(l)
	}
	return all
}

// use is the world of the pages: devices of one person, in step.
type use struct {
	docs                         string
	server, laptop, desktop, nas *terminal
	serving                      *terminal // where the service runs
	seen                         []string
}

// newUse links laptop and desktop. The nas knows nothing yet.
func newUse(t *testing.T) *use {
	t.Helper()
	m := machines(t, build(t), "server", "laptop", "desktop", "nas")
	u := &use{docs: filepath.Join("..", "..", "..", "doc", "use")}
	u.serving = m[0].open(t)
	u.serve("~/signet-data")
	u.server, u.laptop, u.desktop, u.nas = m[0].open(t), m[1].open(t), m[2].open(t), m[3].open(t)
	m[1].documents(t, texts())
	m[2].documents(t, nil)
	link := regexp.MustCompile(`(?m)^https://\S+$`)
	u.laptop.does("signet login --yes " + link.FindString(u.server.does("signet-server invite --data ~/signet-data Anna")))
	u.laptop.does("signet add ~/Documents")
	u.laptop.does("signet up")
	u.laptop.types("signet device add --yes")
	url := u.laptop.shows(`(?m)^(https://\S+)\r\n`)[1]
	u.desktop.does("signet login --yes " + url)
	u.laptop.prompt()
	u.desktop.does("signet add ~/Documents")
	u.desktop.does("signet up")
	u.inStep()
	return u
}

func (u *use) serve(data string) {
	u.serving.types("signet-server serve --data " + data + " --listen :8443 --public-url https://" + address + ":8443 --tls-self 2>log")
	u.serving.shows("listening on")
}

func texts() map[string]string {
	files := map[string]string{"letter.txt": "Dear Anna,\n", "taxes/2024.csv": "a,b\n", "taxes/2025.csv": "c,d\n"}
	for i := range 12 {
		files[fmt.Sprintf("notes/%02d.txt", i)] = fmt.Sprintf("note %d\n", i)
	}
	return files
}

func (u *use) inStep() {
	for range 2 {
		for _, w := range []*terminal{u.laptop, u.desktop} {
			w.types("signet wait")
			if code, shown := w.prompt(); code != 0 && !strings.Contains(shown, "conflict copies") {
				w.t.Fatalf("%s: wait: exit code %d", w.m.name, code)
			}
		}
	}
}

// docsOf is ~/Documents of a machine.
func docsOf(w *terminal, name ...string) string {
	return filepath.Join(append([]string{w.m.home, "Documents"}, name...)...)
}

func (u *use) same(t *testing.T) {
	t.Helper()
	equal(t, docsOf(u.laptop), docsOf(u.desktop))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func want(t *testing.T, shown, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(shown) {
		t.Errorf("%q is not in:\n%s", pattern, shown)
	}
}

func TestPagesOfUseSayWhatHappens(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	u := newUse(t)
	for _, p := range []struct {
		name string
		run  func(*use, *testing.T, *page)
	}{
		{"two-devices", (*use).twoDevices}, {"second-folder", (*use).secondFolder}, {"headless", (*use).headless},
		{"restore", (*use).restore}, {"undo", (*use).undo}, {"space", (*use).space}, {"conflicts", (*use).conflicts}, {"slow-line", (*use).slowLine}, {"many-folders", (*use).manyFolders}, {"held-deletions", (*use).heldDeletions}, {"ignore", (*use).ignore}, {"select", (*use).selects},
		{"service-sees", (*use).serviceSees}, {"storage", (*use).storage}, {"back-up", (*use).backUp}, {"moving", (*use).moving}, {"lost-device", (*use).lostDevice}, {"recovery", (*use).recovery},
		{"cold-copy", (*use).coldCopy},
	} {
		if !t.Run(p.name, func(t *testing.T) { p.run(u, t, u.open(t, p.name)) }) {
			t.FailNow() // the next one stands on it
		}
	}
	all, err := filepath.Glob(filepath.Join(u.docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	index := read(t, filepath.Join(u.docs, "README.md"))
	for _, path := range all {
		name := filepath.Base(path)
		if name == "README.md" {
			continue
		}
		if !slices.Contains(u.seen, name) {
			t.Errorf("%s: nobody typed it", name)
		}
		if !strings.Contains(index, "("+name+")") {
			t.Errorf("%s is not in the index", name)
		}
	}
}

func (u *use) slowLine(t *testing.T, p *page) {
	want(t, p.typed(u.laptop), `all safe after about \d+ s`)
	want(t, p.typed(u.laptop), `up: 2\.0 MiB/s, down: 500\.0 KiB/s`)
	shown := p.typed(u.laptop)
	want(t, shown, `mon,tue,wed,thu,fri 08:00-18:00 up 1M down 2M`)
	want(t, shown, `up: no limit, down: no limit`)
	p.typed(u.laptop)
}

func (u *use) manyFolders(t *testing.T, p *page) {
	if shown := p.typed(u.laptop); strings.Contains(shown, "are watched") {
		t.Errorf("too few watches for a handful of folders:\n%s", shown)
	}
}

// twoDevices has the lines of README.md, which have a test of their own.
func (u *use) twoDevices(t *testing.T, p *page) {
	text := read(t, filepath.Join("..", "..", "..", "README.md"))
	for _, name := range []string{"server", "first", "second"} {
		if lines := block(t, text, name); !slices.Equal(lines, p.next(name)) {
			t.Errorf("block %s is not README.md's: %q", name, lines)
		}
	}
}

func (u *use) secondFolder(t *testing.T, p *page) {
	if err := os.Mkdir(filepath.Join(u.laptop.m.home, "Pictures"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(u.laptop.m.home, "Pictures", "snow.jpg"), "white")
	want(t, p.typed(u.laptop), `1 files, 5 B`)
	want(t, p.typed(u.desktop), `Pictures`)
	p.typed(u.desktop)
	if got := read(t, filepath.Join(u.desktop.m.home, "Shared", "Photos", "snow.jpg")); got != "white" {
		t.Errorf("snow.jpg is %q", got)
	}
	p.typed(u.desktop)
	if got := read(t, filepath.Join(u.desktop.m.home, "Shared", "Photos", "snow.jpg")); got != "white" {
		t.Errorf("after remove, snow.jpg is %q", got)
	}
}

func (u *use) headless(t *testing.T, p *page) {
	u.laptop.types(p.next("laptop")[0])
	words := u.laptop.shows(`(?m)^((?:[a-z]{5} ){6}[a-z]{5})\r\n`)[1]
	u.nas.types(strings.ReplaceAll(p.next("nas")[0], "ADDRESS", address))
	u.nas.shows(`Words .*: `)
	u.nas.types(words)
	here := u.nas.shows(`code (\d{6})\? \[y/N\] `)[1]
	there := u.laptop.shows(`code (\d{6})\? .*\[y/N\] `)[1]
	if here != there {
		t.Fatalf("one device shows %s, the other %s", there, here)
	}
	u.nas.types("y")
	u.laptop.types("y")
	for _, w := range []*terminal{u.nas, u.laptop} {
		if code, shown := w.prompt(); code != 0 {
			t.Fatalf("exit code %d:\n%s", code, shown)
		}
	}
	p.typed(u.nas)
	u.nas.does("signet wait")
	equal(t, docsOf(u.laptop), docsOf(u.nas))
	u.nas.does("signet down")
}

func (u *use) restore(t *testing.T, p *page) {
	letter := docsOf(u.laptop, "letter.txt")
	write(t, letter, "Dear nobody,\n")
	u.inStep()
	shown := p.typed(u.laptop)
	want(t, shown, `(?s)edit .*create `)
	u.inStep()
	if got := read(t, docsOf(u.desktop, "letter.txt")); got != "Dear Anna,\n" {
		t.Errorf("restored: %q", got)
	}
	p.typed(u.laptop)
	if got := read(t, filepath.Join(u.laptop.m.home, "old", "letter.txt")); got != "Dear nobody,\n" {
		t.Errorf("restored to another folder: %q", got)
	}
	p.typed(u.laptop)
	u.inStep()
	u.same(t)
	if got := read(t, docsOf(u.desktop, "taxes", "2025.csv")); got != "c,d\n" {
		t.Errorf("a restored folder has %q", got)
	}
	want(t, p.typed(u.laptop), `(?s)files .* by .*current.*`)
	want(t, p.typed(u.laptop), `(?s)pinned: taxes done.*Documents +taxes done.*taken off: taxes done`)
}

func (u *use) undo(t *testing.T, p *page) {
	work := func(w *terminal, name string) string { return filepath.Join(w.m.home, "Work", name) }
	for _, w := range []*terminal{u.desktop, u.laptop} {
		w.does("mkdir -p ~/Work")
		w.does("signet add ~/Work")
	}
	for i := range 5 {
		write(t, work(u.desktop, fmt.Sprintf("plan%d.txt", i)), "the plan")
	}
	u.inStep()
	for i := range 5 {
		f := work(u.laptop, fmt.Sprintf("plan%d.txt", i))
		write(t, f, "#!$%")
		if err := os.Rename(f, f+".locked"); err != nil {
			t.Fatal(err)
		}
	}
	write(t, work(u.laptop, "PAY"), "pay")
	u.inStep()
	write(t, work(u.desktop, "plan4.txt.locked"), "the plan, written again")
	u.inStep()

	p.typed(u.laptop)
	want(t, p.typed(u.desktop), `(?s)would restore: 4 files.*4 moved back.*would delete: 1.*left as it is: 1.*plan4.txt.locked: changed afterwards by desktop`)
	u.desktop.types(p.next("desktop")[0])
	u.desktop.shows(`4 files come back, 1 go, 1 are left .*\[y/N\] `)
	u.desktop.types("y")
	if code, shown := u.desktop.prompt(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, shown)
	}
	p.typed(u.desktop)
	p.typed(u.laptop)
	u.inStep()
	for _, w := range []*terminal{u.desktop, u.laptop} {
		for i := range 4 {
			if got := read(t, work(w, fmt.Sprintf("plan%d.txt", i))); got != "the plan" {
				t.Errorf("%s: plan%d.txt is %q", w.m.name, i, got)
			}
		}
		if got := read(t, work(w, "plan4.txt.locked")); got != "the plan, written again" {
			t.Errorf("%s: %q", w.m.name, got)
		}
		w.does("signet remove ~/Work")
	}
}

func (u *use) space(t *testing.T, p *page) {
	want(t, p.typed(u.laptop), `(?s)of each week for good \(the default\).*for 60 days, of each week for 104 weeks \(not set yet\)`)
	want(t, p.typed(u.laptop), `Work: \d+ objects are kept`)
	want(t, p.typed(u.laptop), `(?s)Work: nothing to drop.*the oldest kept point is of`)
	want(t, p.typed(u.laptop), `(?s)downloads leave 20\.0 GiB of a disk free.*up: no limit, down: no limit`)
}

func (u *use) conflicts(t *testing.T, p *page) {
	u.laptop.does("signet down")
	u.desktop.does("signet down")
	write(t, docsOf(u.laptop, "letter.txt"), "Dear laptop,\n")
	write(t, docsOf(u.desktop, "letter.txt"), "Dear desktop,\n")
	u.laptop.does("signet up")
	u.laptop.does("signet wait")
	u.desktop.does("signet up")
	u.inStep()
	u.same(t)
	want(t, p.typed(u.laptop), `letter .*conflict.*`)
	var texts []string
	copies, _ := filepath.Glob(docsOf(u.laptop, "letter*"))
	for _, c := range copies {
		texts = append(texts, read(t, c))
	}
	slices.Sort(texts)
	if !slices.Equal(texts, []string{"Dear desktop,\n", "Dear laptop,\n"}) {
		t.Errorf("kept: %q", texts)
	}
	u.laptop.types("signet status --check")
	if code, _ := u.laptop.prompt(); code != 5 {
		t.Errorf("status --check: exit code %d", code)
	}
	for _, c := range copies {
		if strings.Contains(c, "conflict") {
			os.Remove(c)
		}
	}
	u.inStep()
	u.laptop.does("signet status --check")
}

func (u *use) ignore(t *testing.T, p *page) {
	for _, name := range []string{"code/target/app", "scratch/x", "a.tmp"} {
		if err := os.MkdirAll(filepath.Dir(docsOf(u.laptop, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, docsOf(u.laptop, name), "here")
	}
	u.inStep()
	before := contents(t, docsOf(u.desktop))
	shown := p.typed(u.laptop)
	want(t, shown, `would be added: target/`)
	want(t, shown, `added: /scratch/`)
	want(t, shown, `ignored then: 3; they stay`)
	want(t, shown, `\.signetignore:16: \*\.tmp`)
	u.inStep()
	for name := range before {
		if _, ok := contents(t, docsOf(u.desktop))[name]; !ok {
			t.Errorf("a rule deleted %s", name)
		}
	}
	shown = p.typed(u.laptop)
	want(t, shown, `target/app: ignored by .*:2: target/`)
	want(t, shown, `letter.txt: not ignored`)
	want(t, p.typed(u.laptop), `not ignored any more: 1`)
	// The next pages compare folders.
	for _, name := range []string{".signetignore", "code", "scratch", "a.tmp"} {
		os.RemoveAll(docsOf(u.laptop, name))
	}
	u.inStep()
	u.inStep()
	os.RemoveAll(docsOf(u.laptop, "code"))
	os.RemoveAll(docsOf(u.laptop, "scratch"))
	u.inStep()
	u.same(t)
}

func (u *use) selects(t *testing.T, p *page) {
	for _, name := range []string{"photos/2024/a", "photos/2025/b"} {
		if err := os.MkdirAll(filepath.Dir(docsOf(u.laptop, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, docsOf(u.laptop, name), name)
	}
	u.inStep()
	shown := p.typed(u.desktop)
	want(t, shown, `photos/: 2 files .* would go from this disk`)
	want(t, shown, `photos: not selected \(2 files, 26 B\)`)
	want(t, shown, `Documents/photos: not selected`)
	if _, err := os.Lstat(docsOf(u.desktop, "photos")); err == nil {
		t.Error("what is not selected is on the disk still")
	}
	want(t, p.typed(u.desktop), `photos/2025/: 1 files`)
	if got := contents(t, docsOf(u.desktop)); got["photos/2025/b"] != "photos/2025/b" || got["photos/2024/a"] != "" {
		t.Errorf("the desktop has %v", got)
	}
	p.typed(u.desktop)
	u.same(t)
}

func (u *use) heldDeletions(t *testing.T, p *page) {
	held := func(w *terminal) {
		t.Helper()
		w.types("signet wait")
		if code, shown := w.prompt(); code != 5 {
			t.Fatalf("wait: exit code %d:\n%s", code, shown)
		}
	}
	vanish := func() {
		t.Helper()
		entries, err := os.ReadDir(docsOf(u.laptop))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != ".signet" {
				os.RemoveAll(docsOf(u.laptop, e.Name()))
			}
		}
		held(u.laptop)
	}
	before := contents(t, docsOf(u.desktop))
	vanish()
	want(t, p.typed(u.laptop), `deletions held`)
	p.typed(u.laptop)
	u.inStep()
	u.same(t)
	back := func() {
		t.Helper()
		now := contents(t, docsOf(u.desktop))
		for name, text := range before {
			if now[name] != text {
				t.Errorf("%s did not come back", name)
			}
		}
	}
	back()
	vanish()
	p.typed(u.laptop)
	held(u.desktop)
	if len(contents(t, docsOf(u.desktop))) == 0 {
		t.Error("the other device deleted all before anybody said so there")
	}
	p.typed(u.desktop)
	equal(t, docsOf(u.laptop), docsOf(u.desktop))
	u.laptop.does("signet restore ~/Documents")
	u.inStep()
	back()
	// All that was ever deleted there: the conflict copy of before, too.
	copies, _ := filepath.Glob(docsOf(u.laptop, "*(conflict *"))
	for _, c := range copies {
		os.Remove(c)
	}
	u.inStep()
}

func (u *use) serviceSees(t *testing.T, p *page) {
	want(t, p.typed(u.laptop), `no alarms`)
	want(t, p.typed(u.server), `(?s)running +true.* 0 problems`)
}

func (u *use) storage(t *testing.T, p *page) {
	want(t, p.typed(u.server), `(?s)dead in packs +\d+ bytes.*reclaimable +0 bytes`)
	want(t, p.typed(u.server), `(?s)would free 0 bytes.*freed 0 bytes`)
	want(t, p.typed(u.server), `ring_[a-z2-7]+ +\d+ +none +\d`)
}

func (u *use) backUp(t *testing.T, p *page) {
	want(t, p.typed(u.server), `copied now`)
	for i := range 3 {
		write(t, docsOf(u.laptop, "letter.txt"), fmt.Sprintf("Dear backup %d,\n", i))
		u.inStep()
	}
	u.desktop.does("signet down") // so that it is the laptop that gives back
	u.serving.interrupt()
	if code, shown := u.serving.prompt(); code != 130 {
		t.Fatalf("the service ends with %d:\n%s", code, shown)
	}
	want(t, p.typed(u.server), `recovering +\d logs`)
	u.serve("~/signet-restored")
	u.laptop.does("signet wait")
	u.desktop.does("signet up")
	u.inStep()
	u.same(t)
	u.laptop.does("signet status --check")
	want(t, p.typed(u.laptop), `(?s)rollback: the service went back.*ended`)
	p.typed(u.server)
	want(t, p.typed(u.laptop), `objects of the service, .* are what they are called\n.* files on this device, .* are as they were hashed`)
}

func (u *use) moving(t *testing.T, p *page) {
	before := contents(t, docsOf(u.desktop))
	p.typed(u.laptop)
	u.desktop.does("signet wait")
	if n := len(contents(t, docsOf(u.desktop))); n != len(before) {
		t.Errorf("%d of %d files are left on the other device", n, len(before))
	}
	write(t, filepath.Join(u.laptop.m.home, "Papers", "new.txt"), "new\n")
	equal(t, filepath.Join(u.laptop.m.home, "Papers"), docsOf(u.desktop))
}

func (u *use) lostDevice(t *testing.T, p *page) {
	want(t, p.typed(u.laptop), `desktop +revoked`)
	write(t, filepath.Join(u.laptop.m.home, "Papers", "secret.txt"), "not for the lost one\n")
	u.laptop.does("signet wait")
	u.desktop.types("signet wait")
	if code, shown := u.desktop.prompt(); code != 7 {
		t.Errorf("the revoked device's wait: exit code %d:\n%s", code, shown)
	}
	if _, err := os.Stat(docsOf(u.desktop, "secret.txt")); err == nil {
		t.Error("the revoked device got a new file")
	}
}

func (u *use) recovery(t *testing.T, p *page) {
	want(t, p.typed(u.laptop), `the kit works`)
	kit := read(t, filepath.Join(u.laptop.m.home, "kit.txt"))
	u.laptop.does("signet down")
	// The desktop is a new machine.
	u.desktop.does("signet down")
	u.desktop.does("rm -r ~/Documents ~/.local && mkdir ~/Documents")
	write(t, filepath.Join(u.desktop.m.home, "kit.txt"), kit)
	p.typed(u.desktop)
	u.desktop.does("signet wait")
	equal(t, filepath.Join(u.laptop.m.home, "Papers"), docsOf(u.desktop))
}

// coldCopy comes last: the service does not survive it.
func (u *use) coldCopy(t *testing.T, p *page) {
	if err := os.Mkdir(filepath.Join(u.desktop.m.home, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, p.typed(u.desktop), `Documents exported to .*disk/documents, place bank`)
	shown := p.typed(u.desktop)
	want(t, shown, `were read`)
	want(t, shown, `(?s)export bank.*warning: the only current export, for "bank", is still with this device`)
	want(t, p.typed(u.desktop), `nothing is on this device alone`)
	u.serving.interrupt()
	u.serving.prompt()
	for _, name := range []string{"disk", "kit.txt"} {
		if err := os.Rename(filepath.Join(u.desktop.m.home, name), filepath.Join(u.nas.m.home, name)); err != nil {
			t.Fatal(err)
		}
	}
	u.nas.does("rm -r ~/.local")
	want(t, p.typed(u.nas), `export of Documents, .*place bank`)
	equal(t, docsOf(u.desktop), filepath.Join(u.nas.m.home, "back"))
}
