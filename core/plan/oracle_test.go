package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The oracle says what two devices must have in the end: from what both had, and
// what each has made of that without knowing of the other. It compares these three
// and no more: there are no plans in it, no operations, revisions, stamps or bases,
// and it shares no code with the planner and the replay. It is slow and naive, so
// that it can be read beside spec/operations.md.

// A thing is what is on a disk under one number, the top being 0. A number is an
// inode, until sameAs says what it was before.
type thing struct {
	in   int
	name string
	what byte   // 'f' a file, 'd' a folder, 'l' a link
	text string // in a file; where a link leads
	mode uint32
	time int // of a file; two are never written at once
}

type shelf map[int]thing

// A shelfDeed is what a user does to a path of a shelf.
type shelfDeed struct{ verb, path, arg string }

func (x shelfDeed) String() string { return strings.TrimSpace(x.verb + " " + x.path + " " + x.arg) }

// at is what is at a path.
func (s shelf) at(path string) (n int, ok bool) {
	if path == "" {
		return 0, true
	}
	up, name := s.split(path)
	for n, t := range s {
		if t.in == up && t.name == name {
			return n, true
		}
	}
	return 0, false
}

// split is the folder that a path is in, -1 if there is none, and its last name.
func (s shelf) split(path string) (up int, name string) {
	dirs := strings.Split(path, "/")
	for _, dir := range dirs[:len(dirs)-1] {
		next := -1
		for n, t := range s {
			if t.in == up && t.name == dir && t.what == 'd' {
				next = n
			}
		}
		if up = next; up < 0 {
			break
		}
	}
	return up, dirs[len(dirs)-1]
}

// can reports whether a user can do that.
func (s shelf) can(x shelfDeed) bool {
	n, there := s.at(x.path)
	up, _ := s.split(x.path)
	t := s[n]
	switch x.verb {
	case "write", "save":
		return up >= 0 && (!there || t.what == 'f')
	case "mkdir", "link":
		return up >= 0 && !there
	case "chmod":
		return there && t.what != 'l'
	case "mv":
		to, taken := s.at(x.arg)
		up, _ := s.split(x.arg)
		return there && up >= 0 && !s.inside(up, n) && n != to && (!taken || t.what == 'f' && s[to].what == 'f')
	}
	return there
}

// do does it; what is new gets the number fresh.
func (s shelf) do(x shelfDeed, fresh int) {
	n, there := s.at(x.path)
	up, name := s.split(x.path)
	switch x.verb {
	case "write":
		if !there {
			s[fresh] = thing{up, name, 'f', x.arg, 0o644, fresh}
			return
		}
		t := s[n]
		t.text, t.time = x.arg, fresh
		s[n] = t
	case "save":
		delete(s, n)
		s[fresh] = thing{up, name, 'f', x.arg, 0o644, fresh}
	case "mkdir":
		s[fresh] = thing{up, name, 'd', "", 0o755, 0}
	case "link":
		s[fresh] = thing{up, name, 'l', x.arg, 0, 0}
	case "mv":
		t := s[n]
		if to, taken := s.at(x.arg); taken {
			delete(s, to)
		}
		t.in, t.name = s.split(x.arg)
		s[n] = t
	case "chmod":
		mode, _ := strconv.ParseUint(x.arg, 8, 32)
		t := s[n]
		t.mode = uint32(mode)
		s[n] = t
	case "rm":
		gone := map[int]bool{}
		for k := range s {
			gone[k] = s.inside(k, n)
		}
		maps.DeleteFunc(s, func(k int, _ thing) bool { return gone[k] })
	}
}

// inside reports whether k is n or in it.
func (s shelf) inside(k, n int) bool {
	for ; k != 0; k = s[k].in {
		if k == n {
			return true
		}
	}
	return false
}

func (s shelf) depth(n int) (d int) {
	for ; n != 0; n = s[n].in {
		d++
	}
	return d
}

// inOrder is all numbers, folders before what is in them.
func (s shelf) inOrder() []int {
	return slices.SortedFunc(maps.Keys(s), func(a, b int) int {
		return cmp.Or(cmp.Compare(s.depth(a), s.depth(b)), cmp.Compare(a, b))
	})
}

// sameAs gives what has the place, and is of the kind, of something that was there
// before and is nowhere now the number of that: saving is often done by deleting.
// It is none of those that the user knew to be deleted by the other.
func (s shelf) sameAs(base shelf, known map[int]bool) shelf {
	out, became := shelf{}, map[int]int{}
	for _, n := range s.inOrder() {
		t, number := s[n], n
		if to, ok := became[t.in]; ok {
			t.in = to
		}
		if _, old := base[n]; !old {
			for m, b := range base {
				if _, here := s[m]; !here && !known[m] && b.in == t.in && b.name == t.name && b.what == t.what {
					number = m
				}
			}
		}
		became[n], out[number] = number, t
	}
	return out
}

// A fate is what became of a thing.
type fate struct {
	thing
	gone int // 0: it lives; else the thing whose deletion took it along, or itself
	turn int // whose the place is: 0 as before, 1 the first's, 2 the second's
	born int // the same for the thing
}

// merging is base as the first made it, and the second's changes on their way in.
type merging struct {
	base, a, b shelf
	fates      map[int]*fate
	twins      map[int]int // new things of the second that are one with one of the first
	known      bool
	copies     int // their numbers are below 0
}

// merge says what both have in the end. The first one's changes are in the journal
// before the second one's; known if the second knew them when its own were sent.
func merge(base, first, second shelf, known bool) *merging {
	lost := map[int]bool{}
	a := first.sameAs(base, nil)
	for n := range base {
		if _, here := a[n]; !here && known {
			lost[n] = true
		}
	}
	m := &merging{base: base, a: a, b: second.sameAs(base, lost), fates: map[int]*fate{}, twins: map[int]int{}, known: known}
	for n, t := range base {
		m.fates[n] = &fate{thing: t}
		if _, here := a[n]; !here {
			m.fates[n].gone = m.root(n, a)
		}
	}
	for n, t := range a {
		if _, old := base[n]; !old {
			m.fates[n] = &fate{thing: t, turn: 1, born: 1}
			continue
		}
		m.fates[n].thing = t
		if m.moved(n, a) {
			m.fates[n].turn = 1
		}
	}
	m.folders()
	m.moves()
	m.contents()
	m.attributes()
	m.deletes()
	return m
}

// root is the topmost thing that went from a side together with n.
func (m *merging) root(n int, side shelf) int {
	for {
		up := m.base[n].in
		if _, here := side[up]; here || up == 0 {
			return n
		}
		n = up
	}
}

func (m *merging) moved(n int, side shelf) bool {
	t, b := side[n], m.base[n]
	return t.in != b.in || t.name != b.name
}

// A change says what a side made of a thing that it did not delete. The time goes
// with the content where that changed.
type change struct{ content, place, mode, time bool }

func (m *merging) change(n int, side shelf) change {
	t, here := side[n]
	b := m.base[n]
	if !here {
		return change{}
	}
	c := change{content: t.text != b.text, place: m.moved(n, side), mode: t.mode != b.mode}
	c.time = t.time != b.time && !c.content
	return c
}

// wake makes a thing live, with the folders around it.
func (m *merging) wake(n int) {
	for ; n != 0; n = m.fates[n].in {
		m.fates[n].gone = 0
	}
}

// wakeAll is wake, and wakes what went with it and was in it.
func (m *merging) wakeAll(n int) {
	went := m.fates[n].gone
	m.wake(n)
	if went == 0 {
		return
	}
	for more := true; more; {
		more = false
		for k, f := range m.fates {
			if f.gone == went && m.inside(k, n) && m.fates[f.in].gone == 0 {
				f.gone, more = 0, true
			}
		}
	}
}

func (m *merging) inside(k, n int) bool {
	for ; k != 0; k = m.fates[k].in {
		if k == n {
			return true
		}
	}
	return false
}

// twin is a new thing of the first one's that a new one of the second's is one
// with: what is there first under that name, if it is the same.
func (m *merging) twin(t thing) (n int, ok bool) {
	for _, k := range slices.Sorted(maps.Keys(m.fates)) {
		f := m.fates[k]
		if f.gone != 0 || f.in != t.in || f.name != t.name {
			continue
		}
		if !ok || f.turn < m.fates[n].turn {
			n, ok = k, true
		}
	}
	if !ok {
		return 0, false
	}
	f := m.fates[n]
	return n, f.born == 1 && f.what == t.what && f.text == t.text
}

// create brings in a new thing of the second's.
func (m *merging) create(n int) {
	t := m.b[n]
	t.in = m.now(t.in)
	m.wake(t.in)
	if k, ok := m.twin(t); ok {
		m.twins[n] = k
		return
	}
	m.fates[n] = &fate{thing: t, turn: 2, born: 2}
}

// now is the number that a folder of the second's has.
func (m *merging) now(n int) int {
	if k, ok := m.twins[n]; ok {
		return k
	}
	return n
}

func (m *merging) folders() {
	for _, n := range m.b.inOrder() {
		if _, old := m.base[n]; !old && m.b[n].what == 'd' {
			m.create(n)
		}
	}
}

// moves: the first one's place holds. A folder cannot be in itself.
func (m *merging) moves() {
	for _, n := range m.b.inOrder() {
		if _, old := m.base[n]; !old || !m.moved(n, m.b) {
			continue
		}
		if m.change(n, m.a).place {
			continue
		}
		f, up := m.fates[n], m.now(m.b[n].in)
		if m.inside(up, n) {
			continue
		}
		m.wake(up)
		f.in, f.name, f.turn = up, m.b[n].name, 2
		m.wakeAll(n)
	}
}

// contents: nothing that was saved is lost. Where both saved, the second one's is
// a conflict copy.
func (m *merging) contents() {
	for _, n := range m.b.inOrder() {
		t := m.b[n]
		b, old := m.base[n]
		if !old {
			if t.what != 'd' {
				m.create(n)
			}
			continue
		}
		if t.text == b.text {
			continue
		}
		f := m.fates[n]
		switch {
		case !m.change(n, m.a).content:
			m.wake(n)
			f.text = t.text
		case f.text != t.text:
			m.wake(f.in)
			m.copies--
			m.fates[m.copies] = &fate{thing: thing{f.in, f.name + " CC", t.what, t.text, f.mode, t.time}, turn: 2, born: 2}
		}
	}
}

// attributes: the last one's hold, unless who set them knew of the other's.
func (m *merging) attributes() {
	for _, n := range m.b.inOrder() {
		if _, old := m.base[n]; !old {
			continue
		}
		a, b := m.change(n, m.a), m.change(n, m.b)
		if m.known {
			if a.content && b.content && m.a[n].text != m.b[n].text {
				continue // the second one's is another thing now
			}
			// Attributes that both changed are the first one's, all of them.
			at, bt, t := m.a[n].time, m.b[n].time, m.base[n].time
			if both := a.mode && b.mode || at != t && bt != t; both && (a.mode || a.time) {
				continue
			}
			b.time = b.time && !a.content
		}
		if b.mode || b.time {
			m.wakeAll(n)
		}
		if b.mode {
			m.fates[n].mode = m.b[n].mode
		}
	}
}

// deletes: what the first one changed stays, with the folders around it; what was
// in a folder that the first one moved or changed stays too.
func (m *merging) deletes() {
	var all []int
	for _, n := range m.base.inOrder() {
		if _, here := m.b[n]; !here {
			all = append(all, n)
		}
	}
	stays := map[int]bool{}
	for _, n := range all {
		_, here := m.a[n]
		stays[n] = m.change(n, m.a) != change{} || here && stays[m.base[n].in] || !here && m.known // what is gone already is not deleted again
	}
	for _, n := range slices.Backward(all) {
		empty := true
		for _, f := range m.fates {
			empty = empty && (f.in != n || f.gone != 0)
		}
		if f := m.fates[n]; f.gone == 0 && !stays[n] && empty {
			f.gone = n
		}
	}
}

// lines are what a disk shows. Of things of one name the one that was there first
// has it.
func (m *merging) lines() []string {
	var out []string
	var walk func(n int, prefix string)
	walk = func(n int, prefix string) {
		first := map[string]int{}
		for _, k := range slices.Sorted(maps.Keys(m.fates)) {
			if f := m.fates[k]; f.gone == 0 && f.in == n {
				if o, taken := first[f.name]; !taken || f.turn < m.fates[o].turn {
					first[f.name] = k
				}
			}
		}
		for k, f := range m.fates {
			if f.gone != 0 || f.in != n {
				continue
			}
			path := prefix + f.name
			if first[f.name] != k {
				path += " CC"
			}
			out = append(out, shelfLine(path, f.what, f.text, f.mode))
			if f.what == 'd' {
				walk(k, path+"/")
			}
		}
	}
	walk(0, "")
	slices.Sort(out)
	return out
}

func shelfLine(path string, what byte, text string, mode uint32) string {
	switch what {
	case 'd':
		return fmt.Sprintf("%s/ %o", path, mode)
	case 'l':
		return fmt.Sprintf("%s -> %s", path, text)
	}
	return fmt.Sprintf("%s: %s %o", path, text, mode)
}
