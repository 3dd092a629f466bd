package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"signet"
	"signet/core/tree"
)

// displaced is a file that we replaced or deleted. A program that had it open
// may save to it still; then what it saved becomes a file of its own.
type displaced struct {
	Displaced
	node  signet.NodeID
	since time.Time // when that was; zero if a daemon or pass before this one did it
	at    time.Time // when it was looked at last

	// What it was called, and the folders it was in: where it comes back to if
	// its node is gone.
	name    string
	folders []signet.NodeID
}

// A notedFile is a displaced file that a program had open for writing. It is
// noted before it is displaced, so that who comes after a kill looks for it.
type notedFile struct {
	Node    signet.NodeID   `json:"node"`
	Path    []byte          `json:"path"` // in the volume
	Stat    tree.Stat       `json:"stat"` // before it was displaced
	Name    []byte          `json:"name"`
	Folders []signet.NodeID `json:"folders"`

	again time.Time // when to look for it once more, where that was not the last time; zero: it is among the displaced, or gone
}

func displacedNote(volume string) string { return "displaced/" + volume }

// displace has do put a file into the trash, and keeps an eye on it: always, or
// only while a program has it open for writing. A crash after the note and
// before do leaves a note of nothing, which the next opening drops. One that was opened
// between the two is noted after do; were we killed just there, what is saved to it would
// be in the trash.
func (v *volume) displace(it *item, path string, always bool, do func() (Displaced, error)) error {
	if it.stat.Type != tree.File {
		_, err := do()
		return err
	}
	d := displaced{node: it.id, since: v.d.Now(), at: v.d.Now(), name: it.name, folders: v.index.folders(it)}
	note := notedFile{Node: it.id, Path: []byte(path), Stat: it.stat, Name: []byte(it.name), Folders: d.folders}
	open := v.writing(path)
	if open {
		v.noted = append(v.noted, note)
		if err := v.saveNoted(); err != nil {
			return err
		}
	}
	old, err := do()
	switch {
	case err != nil && open:
		v.noted = v.noted[:len(v.noted)-1]
	case err == nil && (always || open || old.Writing()):
		d.Displaced = old
		v.displaced = append(v.displaced, d)
		if !open && old.Writing() { // opened since it was asked
			v.noted = append(v.noted, note)
			_ = v.saveNoted() // it is displaced, and watched for as long as we run
		}
	}
	return err
}

// writing reports whether a program has a file open for writing.
func (v *volume) writing(path string) bool {
	f, err := v.disk.Read(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Writing()
}

func (v *volume) saveNoted() error {
	if len(v.noted) == 0 {
		return v.d.Store.SetNote(displacedNote(v.id), nil)
	}
	b, err := json.Marshal(v.noted)
	if err != nil {
		return fmt.Errorf("displaced files: %w", err)
	}
	return v.d.Store.SetNote(displacedNote(v.id), b)
}

// loadNoted finds what was displaced before this opening and is noted.
func (v *volume) loadNoted() error {
	b, err := v.d.Store.Note(displacedNote(v.id))
	if err != nil || b == nil {
		return err
	}
	v.noted = nil
	if err := json.Unmarshal(b, &v.noted); err != nil {
		return fmt.Errorf("displaced files: %w", err)
	}
	for i := range v.noted {
		v.find(&v.noted[i])
	}
	return nil
}

// find looks for what was displaced and noted. Where the disk fails it is looked for
// again: forgotten, what was saved to it would be in the trash alone.
func (v *volume) find(n *notedFile) {
	n.again = time.Time{}
	switch old, err := v.disk.Displaced(trashID(n.Node), string(n.Path), n.Stat); {
	case err == nil:
		v.displaced = append(v.displaced, displaced{old, n.Node, time.Time{}, v.d.Now(), string(n.Name), n.Folders})
	case v.d.Classify(err) != NotThere:
		n.again = v.d.Now().Add(settleMost)
	}
}

// openStill is when to look at what was replaced and was written to since, or is
// open for that; zero where nothing is.
func (v *volume) openStill() (due time.Time) {
	for _, d := range v.displaced {
		if changed, err := d.Changed(); err == nil && (changed || d.Writing()) {
			due = earliest(due, d.at.Add(settleWait))
		}
	}
	return due
}

// rescue looks once more at what was replaced or deleted, when the settle time
// is over, and again as long as a program has it open for writing: a daemon for
// ever, a single pass for a minute, and the next pass once more. It says when it
// has to look again.
func (v *volume) rescue() (again time.Time, err error) {
	now := v.d.Now()
	for i := range v.noted {
		if n := &v.noted[i]; !n.again.IsZero() && !n.again.After(now) {
			v.find(n)
		}
	}
	left, open := v.displaced[:0], map[signet.NodeID]bool{}
	for _, d := range v.displaced {
		if due := d.at.Add(settleWait); due.After(now) {
			again = earliest(again, due)
			left = append(left, d)
			continue
		}
		changed, err := d.Changed()
		switch {
		case err != nil: // it stays in the trash, for whoever misses it
		case changed && v.bringUp(d):
		case !changed && !d.Writing():
		case v.ended != nil || now.Sub(d.since) < settleMost:
			d.at = now
			again = earliest(again, now.Add(settleWait))
			left = append(left, d)
		default: // it stays noted, and is looked for once more
			for i := range v.noted {
				if n := &v.noted[i]; n.Node == d.node {
					n.again = now.Add(settleMost)
				}
			}
		}
	}
	clear(v.displaced[len(left):])
	v.displaced = left
	for _, d := range left {
		open[d.node] = true
	}
	n := len(v.noted)
	if v.noted = slices.DeleteFunc(v.noted, func(f notedFile) bool { return !open[f.Node] && f.again.IsZero() }); len(v.noted) < n {
		err = v.saveNoted()
	}
	for _, f := range v.noted {
		if !f.again.IsZero() {
			again = earliest(again, f.again)
		}
	}
	return again, err
}

// bringUp makes a file of its own of what was saved to something displaced. Where
// that cannot be done now (a full disk), it is tried again.
func (v *volume) bringUp(d displaced) bool {
	folder, name := signet.RootNode, d.name
	if it := v.index.items[d.node]; it != nil {
		folder, name = it.parent, it.name
	} else if n := slices.IndexFunc(d.folders, func(f signet.NodeID) bool { return v.index.items[f] != nil }); n >= 0 {
		folder = d.folders[n] // what was deleted comes back where it was, or as near as there is a folder
	}
	conflict := func() string { return tree.ConflictName(name, v.d.Now().UnixMilli(), v.d.Self.Label, newNode()) }
	if v.index.kids[folder][name] != nil {
		name = conflict()
	}
	p, ok := v.index.place(folder, name)
	if ok && d.Rescue(p) != nil { // somebody has the name by now
		name = conflict()
		p, ok = v.index.place(folder, name)
		ok = ok && d.Rescue(p) == nil
	}
	if ok {
		v.lookAtName(folder, name)
	}
	return ok
}
