package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"signet/core/tree"
	"signet/device/engine"
)

// A user works on a device's disk, as people and their programs do.
type user struct {
	*device
	rnd *rand.Rand
	nth int
}

var names = []string{"a", "b", "c", "d", "docs", "x.txt", "ä", "Z"}

// somewhere is a path that may or may not be there, at most three deep.
func (u *user) somewhere() string {
	p := u.word(u.rnd)
	for range u.rnd.IntN(3) {
		p += "/" + u.word(u.rnd)
	}
	return p
}

// word is one of the names that users give.
func (r *run) word(rnd *rand.Rand) string {
	list := names
	if r.cased() {
		list = r.words
	}
	return list[rnd.IntN(len(list))]
}

// some is a path of what is there, of a type (0: any); "" where there is none.
func (u *user) some(t tree.Type) string {
	var all []string
	u.look(func() {
		u.disk.walk("", func(p string, _ uint64, n *node) {
			if t == 0 || n.stat.Type == t {
				all = append(all, p)
			}
		})
	})
	if len(all) == 0 {
		return ""
	}
	return all[u.rnd.IntN(len(all))]
}

// content is one that nobody wrote before.
func (u *user) content() string {
	u.nth++
	n := u.rnd.IntN(200)
	if u.rnd.IntN(40) == 0 {
		n = 200_000 + u.rnd.IntN(300_000)
	}
	return fmt.Sprintf("%s%d:", u.name, u.nth) + strings.Repeat(string(rune('a'+u.rnd.IntN(26))), n)
}

// look is a step in which nothing is changed.
func (u *user) look(f func()) { u.world.do(u.name+".user", "looks", nil, f) }

// read is what a file has; nothing where there is none.
func (u *user) read(p string) (c string) {
	u.look(func() {
		if _, n := u.disk.find(p); n != nil {
			c = n.content()
		}
	})
	return c
}

func (u *user) step(what string, f func()) {
	u.world.do(u.name+".user", what, nil, func() {
		f()
		u.disk.changed()
	})
}

// gone notes that the user himself did away with a file.
func (u *user) gone(n *node) {
	if n != nil {
		u.removed[n.content()] = true
	}
	if n != nil && n.stat.Type == tree.File && !u.disk.anywhere(n.content()) {
		u.forgive(n.content())
	}
}

// anywhere reports whether a live file has a content.
func (d *disk) anywhere(c string) bool {
	for _, n := range d.nodes {
		if n.stat.Type == tree.File && n.content() == c {
			return true
		}
	}
	return false
}

// contents are those of the live files.
func (d *disk) contents() map[string]bool {
	m := map[string]bool{}
	for _, n := range d.nodes {
		if n.stat.Type == tree.File && len(n.data) > 0 {
			m[n.content()] = true
		}
	}
	return m
}

// saved notes what a user has saved, which is owed from then on. Nobody saves nothing:
// that is a copy of what a power cut left.
func (u *user) saved(c, p string) {
	if c != "" && !u.torn[c] {
		u.owed[c] = u.name + ":" + p
	}
}

// folders makes the folders above a path, where nothing else is in the way.
func (u *user) folders(p string) bool {
	folder, _ := split(p)
	if folder == "" {
		return true
	}
	if !u.folders(folder) {
		return false
	}
	if _, n := u.disk.find(folder); n != nil {
		return n.stat.Type == tree.Dir
	}
	return u.disk.link(folder, u.disk.create(tree.Stat{Type: tree.Dir, Mode: 0o755}, nil)) == nil
}

// create makes a new file in one step, as a rename does.
func (u *user) create(p, c string) {
	u.step(fmt.Sprintf("create %s: %.12q", p, c), func() {
		if !u.folders(p) {
			return
		}
		p = u.disk.spelt(p) // programs write to what is there, whatever they call it
		if _, n := u.disk.find(p); n != nil {
			if n.stat.Type == tree.Dir {
				return
			}
			u.disk.remove(p)
			u.gone(n)
		}
		u.written[c] = true
		u.disk.link(p, u.disk.create(tree.Stat{Type: tree.File, Mode: 0o644}, []byte(c)))
		u.saved(c, p)
	})
}

// overwrite opens a file, writes it in place with a moment in which it is half
// done, and closes it. What it opened may have another name by then, or none.
func (u *user) overwrite(p, c string) {
	var id uint64
	u.step("open "+p, func() {
		if n, x := u.disk.find(p); x != nil && x.stat.Type == tree.File {
			id = n
			u.disk.open[id]++
		}
	})
	if id == 0 {
		return
	}
	for i, part := range []string{c[:len(c)/2], c} {
		if u.rnd.IntN(4) == 0 {
			time.Sleep(time.Duration(u.rnd.IntN(3000)) * time.Millisecond)
		}
		u.step(fmt.Sprintf("write %d of 2 to %s: %.12q", i+1, p, c), func() {
			if u.disk.open[id] == 0 {
				return // the power was cut
			}
			if i == 1 {
				if u.disk.open[id]--; u.disk.open[id] == 0 {
					delete(u.disk.open, id)
				}
			}
			if u.writeTo(id, p, part) && i == 1 {
				u.saved(c, p)
			}
		})
	}
}

// writeTo writes an open file, which may lie in the trash by now. One that the
// user removed is nowhere.
func (u *user) writeTo(id uint64, p, c string) bool {
	now := u.disk.now()
	u.written[c] = true
	write := func(n *node) {
		n.data, n.wrote = []byte(c), time.Now()
		n.stat.Size, n.stat.MTime, n.stat.CTime = int64(len(c)), now, now
	}
	if old := u.disk.nodes[id]; old != nil {
		u.disk.set(id, write)
		u.disk.tell(p, engine.Written)
		u.gone(old)
		return true
	}
	for _, key := range sortedKeys(u.disk.trash) {
		if old := u.disk.trash[key]; old.stat.Inode == id {
			x := *old
			write(&x)
			u.disk.trash[key] = &x
			return true
		}
	}
	return false
}

// verb does one of the things that people do.
func (u *user) verb() {
	u.verbs.Add(1)
	kinds := 20
	if u.shape.truncates {
		kinds++
	}
	switch u.rnd.IntN(kinds) {
	case 0, 1, 2, 3:
		u.create(u.somewhere(), u.content())
	case 4, 5:
		if p := u.some(tree.File); p != "" {
			u.overwrite(p, u.content())
		}
	case 6: // save by renaming
		if p := u.some(tree.File); p != "" {
			u.create(p, u.content())
		}
	case 7: // append
		if p := u.some(tree.File); p != "" {
			u.overwrite(p, u.read(p)+"+"+u.content())
		}
	case 8:
		u.touch(u.some(tree.File), func(s *tree.Stat) { s.MTime -= int64(1+u.rnd.IntN(1000)) * int64(time.Second) })
	case 9:
		u.touch(u.some(tree.File), func(s *tree.Stat) { s.Mode ^= 0o111 })
	case 10, 11:
		if p := u.some(0); u.cased() && u.rnd.IntN(3) == 0 {
			u.rename(p, u.respelt(p))
		} else {
			u.rename(p, u.somewhere())
		}
	case 12:
		u.swap(u.some(0), u.some(0))
	case 13:
		u.rotate(u.some(tree.File), u.some(tree.File), u.some(tree.File))
	case 14: // copy
		if p := u.some(tree.File); p != "" {
			u.create(u.somewhere(), u.read(p))
		}
	case 15, 16:
		u.remove(u.some(0))
	case 17:
		p := u.somewhere()
		u.step("mkdir "+p, func() {
			if _, n := u.disk.find(p); n == nil && u.folders(p) {
				u.disk.link(p, u.disk.create(tree.Stat{Type: tree.Dir, Mode: 0o755}, nil))
			}
		})
	case 18: // another type
		if p := u.some(0); p != "" {
			u.remove(p)
			switch u.rnd.IntN(3) {
			case 0:
				u.create(p, u.content())
			case 1:
				u.create(p+"/"+u.word(u.rnd), u.content())
			case 2:
				u.symlink(p)
			}
		}
	case 19:
		u.symlink(u.somewhere())
	case 20:
		u.truncate(u.some(tree.File))
	}
}

// truncate takes away the end of a file, in place.
func (u *user) truncate(p string) {
	if p == "" {
		return
	}
	c := u.read(p)
	c = c[:u.rnd.IntN(len(c)+1)]
	u.step(fmt.Sprintf("truncate %s: %.12q", p, c), func() {
		if id, n := u.disk.find(p); n != nil && n.stat.Type == tree.File && u.writeTo(id, p, c) {
			u.saved(c, p)
		}
	})
}

func (u *user) symlink(p string) {
	target := u.word(u.rnd)
	u.step("symlink "+p, func() {
		if _, n := u.disk.find(p); n == nil && u.folders(p) {
			u.disk.link(p, u.disk.create(tree.Stat{Type: tree.Link, Mode: 0o777, Target: target}, nil))
		}
	})
}

func (u *user) touch(p string, f func(*tree.Stat)) {
	if p == "" {
		return
	}
	u.step("touch "+p, func() {
		if id, n := u.disk.find(p); n != nil && n.stat.Type == tree.File {
			now := u.disk.now()
			u.disk.set(id, func(n *node) { f(&n.stat); n.stat.CTime = now })
			u.disk.tell(p, engine.Touched)
		}
	})
}

func (u *user) rename(from, to string) { u.renameThen(from, to, func() {}) }

func (u *user) renameThen(from, to string, then func()) {
	if from == "" {
		return
	}
	u.step("rename "+from+" -> "+to, func() {
		if u.renameNow(from, to) {
			u.hides(from, u.disk.spelt(to))
			then()
		}
	})
}

// hides notes the files that were moved, and those of them that were moved to where they
// may be ignored. The region keeps these, unless a new file takes their name: that is an
// edit, as editors save.
func (u *user) hides(from, to string) {
	note := func(p string, _ uint64, n *node) {
		if n.stat.Type != tree.File {
			return
		}
		was := from + strings.TrimPrefix(p, to)
		if c := n.content(); !slices.Contains(u.moved[c], was) {
			u.moved[c] = append(u.moved[c], was)
		}
		for _, r := range u.rules {
			if leaves(r, p, false) {
				u.hid[n.content()] = was
			}
		}
	}
	if id, n := u.disk.find(to); n != nil {
		note(to, id, n)
		u.disk.walk(to, note)
	}
}

// renameNow reports whether it moved something: what is at to may be what was in the way.
func (u *user) renameNow(from, to string) bool {
	if _, n := u.disk.find(from); n == nil || !u.folders(to) {
		return false
	}
	over, err := u.disk.move(from, to)
	if err == nil {
		u.gone(over)
	}
	return err == nil
}

func (u *user) swap(a, b string) { u.rotate(a, b) }

// rotate gives each of some names what the one before it has, by way of a
// third name.
func (u *user) rotate(paths ...string) {
	for i, p := range paths {
		for _, q := range paths[:i] {
			if p == "" || p == q || strings.HasPrefix(p+"/", q+"/") || strings.HasPrefix(q+"/", p+"/") {
				return
			}
		}
	}
	if paths[0] == "" {
		return
	}
	const aside = "aside"
	at, was := aside, append(slices.Clone(paths), aside)
	u.rename(paths[0], aside)
	for _, p := range paths[1:] {
		u.rename(p, paths[0])
		paths[0] = p
	}
	u.renameThen(at, paths[0], func() {
		// Whatever of them is ignored, now or by rules still to come, another has its name.
		took := func(from string) bool {
			return slices.ContainsFunc(was, func(p string) bool { return from == p || strings.HasPrefix(from, p+"/") })
		}
		for c, from := range u.hid {
			if took(from) {
				u.hid[c] = replaced
			}
		}
		for c, names := range u.moved {
			if slices.ContainsFunc(names, took) && !slices.Contains(names, replaced) {
				u.moved[c] = append(names, replaced)
			}
		}
	})
}

// replaced stands for the path of what was moved while another took its name.
const replaced = ""

// remove takes a file, or a folder with all below it, one name at a time.
func (u *user) remove(p string) {
	if p == "" {
		return
	}
	var all []string
	u.look(func() { u.disk.walk(p, func(p string, _ uint64, _ *node) { all = append(all, p) }) })
	for i := len(all) - 1; i >= 0; i-- {
		u.removeOne(all[i])
	}
	u.removeOne(p)
}

func (u *user) removeOne(p string) {
	u.step("remove "+p, func() {
		if n, err := u.disk.remove(p); err == nil {
			u.gone(n)
		}
	})
}
