package disk

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"signet/core/tree"
)

func TestPlaceGivesContentModeAndTimeUnderAFreeName(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		for _, mtime := range []int64{0, 1, -1, -5_000_000_001, 7258118400_000_000_001} { // up to the year 2200
			s, err := b.Stage("")
			b.must(err)
			_, err = s.WriteAt([]byte("end"), 1<<20) // a hole before it
			b.must(err)
			b.must(s.Finish(0o7755, mtime))
			b.must(b.SyncStaged(context.Background(), []*Staged{s}))
			st, err := b.Place(s, "f")
			b.must(err)
			if st.MTime != mtime || st.Mode != 0o755 || st.Size != 1<<20+3 || st.Type != tree.File {
				t.Errorf("mtime %d: placed %+v", mtime, st)
			}
			if now := b.stat("f"); now != st {
				t.Errorf("Place said %+v, Stat %+v", st, now)
			}
			b.must(b.SyncFolders(context.Background()))
			b.must(os.Remove(b.path("f")))
		}
	})
}

func TestPlaceDoesNotOverwriteANameTakenAtTheLastInstant(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		s := b.stage("ours")
		b.when("place", func() { b.write("f", "user's") })
		_, err := b.Place(s, "f")
		b.wantErr(err, ErrExists)
		b.wantContent("f", "user's")
		_, err = b.Place(s, "f (conflict)")
		b.must(err)
		b.wantContent("f (conflict)", "ours")
	})
}

func TestPlaceRefusesWhatAPowerCutCouldTakeAway(t *testing.T) {
	b := newBox(t, t.TempDir())
	s, err := b.Stage("")
	b.must(err)
	if b.SyncStaged(context.Background(), []*Staged{s}) == nil {
		t.Error("an unfinished file was synced")
	}
	b.must(s.Finish(0o644, 0))
	if _, err := b.Place(s, "f"); err == nil {
		t.Error("an unsynced file was placed")
	}
	b.must(s.Discard())
	b.must(s.Discard())
	b.wantGone("f")
	if l := b.fs.list(stagingPath, new(scratch)); len(l.Entries) != 0 {
		t.Errorf("staging has %v", l.Entries)
	}
}

func TestManyStagedFilesAreSyncedAtOnceAndAllPlaced(t *testing.T) {
	b := newBox(t, t.TempDir())
	var all []*Staged
	for range 3 * syncEach {
		s, err := b.Stage("")
		b.must(err)
		b.must(s.Finish(0o644, 0))
		all = append(all, s)
	}
	b.must(b.SyncStaged(context.Background(), all))
	for i, s := range all {
		dir := "d" + string(rune('a'+i))
		_, err := b.Mkdir(dir, 0o755)
		b.must(err)
		_, err = b.Place(s, dir+"/f")
		b.must(err)
	}
	b.must(b.SyncFolders(context.Background()))
	if len(b.dirty) != 0 {
		t.Errorf("still unsynced: %v", b.dirty)
	}
}

func TestSyncFoldersCopesWithAFolderThatIsGone(t *testing.T) {
	b := newBox(t, t.TempDir())
	_, err := b.Mkdir("d", 0o755)
	b.must(err)
	_, err = b.Mkdir("d/e", 0o755)
	b.must(err)
	b.must(os.Rename(b.path("d"), b.path("moved")))
	b.must(b.SyncFolders(context.Background()))
}

func TestAStagedFileGoesOnByItsName(t *testing.T) {
	b := newBox(t, t.TempDir())
	s, err := b.Stage("big-1")
	b.must(err)
	_, err = s.WriteAt([]byte("half"), 0)
	b.must(err)
	b.must(s.Suspend())
	other, err := b.Stage("")
	b.must(err)
	b.must(other.Suspend()) // as a crash leaves it
	b.must(b.CleanStaging(func(name string) bool { return name == "big-1" }))
	if l := b.fs.list(stagingPath, new(scratch)); len(l.Entries) != 1 {
		t.Errorf("staging has %v", l.Entries)
	}
	s, err = b.Stage("big-1")
	b.must(err)
	got := make([]byte, 4)
	if _, err := s.ReadAt(got, 0); err != nil || string(got) != "half" {
		t.Errorf("read %q, %v", got, err)
	}
	b.must(s.Discard())
}

func TestReplaceKeepsWhatItDisplaced(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		old := b.write("d/f", "old")
		st, item, err := b.Replace(b.stage("new"), "d/f", old, "op-1")
		b.must(err)
		b.wantContent("d/f", "new")
		if st != b.stat("d/f") {
			t.Errorf("Replace said %+v, Stat %+v", st, b.stat("d/f"))
		}
		b.wantContent(trashPath+"/op-1/d/f", "old")
		if changed, err := b.TrashChanged(item); changed || err != nil {
			t.Errorf("changed %v, %v", changed, err)
		}
		b.must(b.TrashDrop(item))
		if got := b.trash(); len(got) != 0 {
			t.Errorf("trash has %v", got)
		}
		b.wantGone(trashPath + "/op-1")
	})
}

func TestReplaceNoticesAnEditThatRestoredSizeAndTime(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		old := b.write("f", "old")
		for b.stat("f").CTime == old.CTime { // a kernel's clock may tick slowly
			b.must(os.WriteFile(b.path("f"), []byte("edi"), 0o644))
			b.must(os.Chtimes(b.path("f"), time.Time{}, time.Unix(0, old.MTime)))
		}
		s := b.stage("new")
		_, _, err := b.Replace(s, "f", old, "k")
		b.wantErr(err, ErrChanged)
		b.wantContent("f", "edi")
		b.must(s.Discard())
	})
}

func TestReplacePutsBackWhatWasSavedAtTheInstant(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		for name, edit := range map[string]func(){
			"renamed over":  func() { b.save("f", "user's") },
			"written":       func() { b.write("f", "user's") },
			"a link now":    func() { b.must(os.Remove(b.path("f"))); b.must(os.Symlink("user's", b.path("f"))) },
			"a folder now":  func() { b.must(os.Remove(b.path("f"))); b.write("f/user's", "") },
			"other content": func() { b.write("f", "old but longer") },
		} {
			b.must(os.RemoveAll(b.path("f")))
			old := b.write("f", "old")
			b.hook = nil
			var want tree.Stat
			b.when("swap", func() { edit(); want = b.stat("f") })
			s := b.stage("new")
			_, _, err := b.Replace(s, "f", old, "k")
			if !errors.Is(err, ErrChanged) && !errors.Is(err, ErrExists) && !errors.Is(err, ErrNotFolder) {
				t.Errorf("%s: %v", name, err)
			}
			if got := b.stat("f"); !unmoved(got, want) {
				t.Errorf("%s: path is %+v; want %+v", name, got, want)
			}
			if items := b.trash(); len(items) != 0 {
				t.Errorf("%s: trash has %v", name, items)
			}
			_, err = b.Place(s, "copy") // the staged file is still good for a conflict copy
			b.must(err)
			b.wantContent("copy", "new")
			b.must(os.Remove(b.path("copy")))
		}
	})
}

func TestReplaceOfWhatVanishedAtTheInstantChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		old := b.write("f", "old")
		b.when("swap", func() { b.must(os.Remove(b.path("f"))) })
		s := b.stage("new")
		_, _, err := b.Replace(s, "f", old, "k")
		b.wantErr(err, ErrChanged)
		b.wantGone("f")
		if items := b.trash(); len(items) != 0 {
			t.Errorf("trash has %v", items)
		}
		_, err = b.Place(s, "f")
		b.must(err)
	})
}

func TestAWriterThatStillHasTheDisplacedFileOpenIsNoticed(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		old := b.write("f", "old")
		app, err := os.OpenFile(b.path("f"), os.O_RDWR, 0)
		b.must(err)
		_, item, err := b.Replace(b.stage("new"), "f", old, "k")
		b.must(err)
		_, err = app.WriteAt([]byte("EDIT"), 0)
		b.must(err)
		b.must(app.Close())
		if changed, err := b.TrashChanged(item); !changed || err != nil {
			t.Fatalf("changed %v, %v", changed, err)
		}
		b.wantErr(b.TrashDrop(item), ErrChanged)
		_, err = b.TrashRestore(item, "f (conflict)")
		b.must(err)
		b.wantContent("f (conflict)", "EDIT")
		b.wantContent("f", "new")
	})
}

func TestReplaceLinkAndReplaceOfALink(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		link, err := b.Symlink("../outside", "l")
		b.must(err)
		if link.Type != tree.Link || link.Target != "../outside" {
			t.Errorf("made %+v", link)
		}
		_, err = b.Symlink("x", "l")
		b.wantErr(err, ErrExists)
		second, item, err := b.ReplaceLink("second", "l", link, "k")
		b.must(err)
		if second.Target != "second" || item.Stat.Target != "../outside" {
			t.Errorf("now %+v, was %+v", second, item.Stat)
		}
		_, _, err = b.ReplaceLink("third", "l", link, "k")
		b.wantErr(err, ErrChanged)
		_, _, err = b.Replace(b.stage("file"), "l", second, "k")
		b.must(err)
		b.wantContent("l", "file")
	})
}

func TestMkdirSetsExactlyTheModeAndRefusesATakenName(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		s, err := b.Mkdir("d", 0o777)
		b.must(err)
		if s.Mode != 0o777 || s.Type != tree.Dir {
			t.Errorf("made %+v", s)
		}
		_, err = b.Mkdir("d", 0o755)
		b.wantErr(err, ErrExists)
		_, err = b.Mkdir("no/parent", 0o755)
		b.wantErr(err, os.ErrNotExist)
		b.write("d/f", "x")
		b.wantErr(b.RemoveDir("d"), ErrNotEmpty)
		b.must(os.Remove(b.path("d/f")))
		b.must(b.RemoveDir("d"))
		b.wantGone("d")
		b.write("f", "x")
		b.wantErr(b.RemoveDir("f"), ErrNotFolder)
		b.wantContent("f", "x")
	})
}

func TestMoveTakesAnEditAlongButNothingElse(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		old := b.write("a/f", "old")
		b.write("b/x", "")
		b.must(os.WriteFile(b.path("a/f"), []byte("edited"), 0o644))
		now, err := b.Move("a/f", "b/f", old)
		b.must(err)
		b.wantContent("b/f", "edited")
		b.wantGone("a/f")
		if now != b.stat("b/f") {
			t.Errorf("Move said %+v", now)
		}
		_, err = b.Move("b/f", "b/x", old)
		b.wantErr(err, ErrExists)
		_, err = b.Move("a/gone", "b/y", old)
		b.wantErr(err, ErrChanged)
		other := b.write("b/other", "")
		_, err = b.Move("b/f", "b/y", other)
		b.wantErr(err, ErrChanged)

		b.when("move", func() { b.save("b/f", "user's") })
		_, err = b.Move("b/f", "b/y", old)
		b.wantErr(err, ErrChanged)
		b.wantContent("b/f", "user's")
		b.wantGone("b/y")

		d := b.stat("b")
		_, err = b.Move("b", "c", d)
		b.must(err)
		b.wantContent("c/f", "user's")
		b.hook = nil
		b.when("move", func() { b.must(os.Mkdir(b.path("e"), 0o755)) })
		_, err = b.Move("c", "e", d)
		b.wantErr(err, ErrExists)
	})
}

func TestSetMetaChangesOnlyWhatWasExpected(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		st := b.write("f", "x")
		now, err := b.SetMeta("f", st, 0o4755, -7)
		b.must(err)
		if now.Mode != 0o755 || now.MTime != -7 || now != b.stat("f") {
			t.Errorf("now %+v", now)
		}
		_, err = b.SetMeta("f", st, 0o600, 0)
		b.wantErr(err, ErrChanged)
		if b.stat("f") != now {
			t.Errorf("changed to %+v", b.stat("f"))
		}
		_, err = b.SetMeta("gone", st, 0o600, 0)
		b.wantErr(err, ErrChanged)
		d, err := b.Mkdir("d", 0o700)
		b.must(err)
		if d, err = b.SetMeta("d", d, 0o750, 5); err != nil || d.Mode != 0o750 || d.MTime != 5 {
			t.Errorf("folder %+v, %v", d, err)
		}
	})
}

func TestTrashMovesAsideAndRestores(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		for i, want := range []string{"op", "op.2", "op.3"} {
			st := b.write("d/f", "content")
			item, err := b.Trash("d/f", st, "op")
			b.must(err)
			if item.ID != want || item.Path != "d/f" {
				t.Errorf("item %d is %+v", i, item)
			}
			b.wantGone("d/f")
		}
		st := b.write("g", "was a folder")
		_, err := b.Trash("g", st, "op")
		b.must(err)
		st = b.write("h", "h")
		_, err = b.Trash("h", st, "op")
		b.must(err)
		b.must(os.Remove(b.path(trashPath + "/op/h")))
		b.must(b.SyncFolders(context.Background()))
		items := b.trash()
		if len(items) != 4 {
			t.Fatalf("trash has %v", items)
		}
		if _, err := b.Trash("d", b.stat("d"), "op"); !errors.Is(err, ErrNotFile) {
			t.Errorf("a folder was trashed: %v", err)
		}
		f, fst, err := b.OpenTrash(items[0])
		b.must(err)
		if fst.Size != items[0].Stat.Size {
			t.Errorf("opened %+v", fst)
		}
		b.must(f.Close())
		_, err = b.TrashRestore(items[0], "back")
		b.must(err)
		_, err = b.TrashRestore(items[1], "back")
		b.wantErr(err, ErrExists)
	})
}

func TestTrashPutsBackWhatChangedAtTheInstant(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		st := b.write("f", "old")
		b.when("trash", func() { b.save("f", "user's") })
		_, err := b.Trash("f", st, "op")
		b.wantErr(err, ErrChanged)
		b.wantContent("f", "user's")

		// And again, with the name taken before it can be put back: both stay.
		st, b.hook = b.stat("f"), nil
		b.when("trash", func() { b.save("f", "second") })
		b.when("trashed", func() { b.write("f", "third") })
		item, err := b.Trash("f", st, "op")
		b.wantErr(err, ErrChanged)
		b.wantContent("f", "third")
		b.wantContent(item.file(), "second")

		st, b.hook = b.stat("f"), nil
		b.when("trash", func() { b.must(os.Remove(b.path("f"))) })
		_, err = b.Trash("f", st, "op2")
		b.wantErr(err, ErrChanged)
	})
}

func TestTrashExpireRemovesTheOldAndFollowsNoLink(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		b.must(os.Mkdir(b.dir+".outside", 0o755))
		b.must(os.WriteFile(b.dir+".outside/precious", nil, 0o644))
		link, err := b.Symlink(b.dir+".outside", "l")
		b.must(err)
		_, err = b.Trash("l", link, "old")
		b.must(err)
		st := b.write("d/e/f", "x")
		_, err = b.Trash("d/e/f", st, "old")
		b.must(err)
		b.must(os.Symlink(b.dir+".outside", b.path(trashPath+"/old/d/evil")))
		n, err := b.TrashExpire(time.Now().Add(-time.Hour))
		if n != 0 || err != nil {
			t.Errorf("removed %d, %v too early", n, err)
		}
		if n, err = b.TrashExpire(time.Now().Add(time.Hour)); n != 3 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		b.wantGone(trashPath + "/old")
		if _, err := os.Stat(b.dir + ".outside/precious"); err != nil {
			t.Error(err)
		}
	})
}

func TestAFolderSwappedForALinkLeadsNowhere(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		outside := b.dir + ".outside"
		ops := map[string]func(st tree.Stat) error{
			"place":  func(tree.Stat) error { _, err := b.Place(b.stage("evil"), "d/new"); return err },
			"swap":   func(st tree.Stat) error { _, _, err := b.Replace(b.stage("evil"), "d/f", st, "k"); return err },
			"move":   func(st tree.Stat) error { _, err := b.Move("d/f", "d/moved", st); return err },
			"trash":  func(st tree.Stat) error { _, err := b.Trash("d/f", st, "k"); return err },
			"mkdir":  func(tree.Stat) error { b.at("mkdir"); _, err := b.Mkdir("d/new", 0o755); return err },
			"link":   func(tree.Stat) error { b.at("link"); _, err := b.Symlink("x", "d/new"); return err },
			"set":    func(st tree.Stat) error { b.at("set"); _, err := b.SetMeta("d/f", st, 0o777, 1); return err },
			"open":   func(tree.Stat) error { b.at("open"); _, _, err := b.OpenFile("d/f"); return err },
			"rmdir":  func(tree.Stat) error { b.at("rmdir"); return b.RemoveDir("d/empty") },
			"list":   func(tree.Stat) error { b.at("list"); return b.List("d").Err },
			"stat":   func(tree.Stat) error { b.at("stat"); _, err := b.Stat("d/f"); return err },
			"listin": func(tree.Stat) error { b.at("listin"); return b.List("d/empty").Err },
		}
		for step, op := range ops {
			b.hook = nil
			for _, dir := range []string{b.path("d"), outside} {
				b.must(os.RemoveAll(dir))
				b.must(os.MkdirAll(dir+"/empty", 0o755))
				b.must(os.WriteFile(dir+"/f", []byte("same size"), 0o644))
			}
			st := b.stat("d/f")
			b.when(step, func() {
				b.must(os.RemoveAll(b.path("was")))
				b.must(os.Rename(b.path("d"), b.path("was")))
				b.must(os.Symlink(outside, b.path("d")))
			})
			if err := op(st); err == nil {
				t.Errorf("%s: done through a link", step)
			}
			names, err := os.ReadDir(outside)
			if err != nil || len(names) != 2 {
				t.Errorf("%s: outside has %v, %v", step, names, err)
			}
			if got, err := os.ReadFile(outside + "/f"); err != nil || string(got) != "same size" {
				t.Errorf("%s: outside has %q, %v", step, got, err)
			}
			if fi, err := os.Stat(outside + "/f"); err != nil || fi.Mode().Perm() != 0o644 {
				t.Errorf("%s: outside has mode %v, %v", step, fi.Mode(), err)
			}
		}
	})
}

func TestStagingThatIsALinkIsRefused(t *testing.T) {
	b := newBox(t, t.TempDir())
	outside := t.TempDir()
	b.must(os.Remove(b.path(stagingPath)))
	b.must(os.Symlink(outside, b.path(stagingPath)))
	_, err := b.Stage("")
	b.wantErr(err, ErrNotFolder)
	if names, err := os.ReadDir(outside); err != nil || len(names) != 0 {
		t.Errorf("outside has %v, %v", names, err)
	}
}

func TestIntactNoticesATornRead(t *testing.T) {
	onEach(t, func(t *testing.T, b *box) {
		b.write("f", "one")
		for name, change := range map[string]func(){
			"nothing":      func() {},
			"written":      func() { b.write("f", "two!") },
			"renamed over": func() { b.save("f", "one") },
			"removed":      func() { b.must(os.Remove(b.path("f"))) },
		} {
			b.write("f", "one")
			f, st, err := b.OpenFile("f")
			b.must(err)
			change()
			err = b.Intact("f", f, st)
			if (name == "nothing") != (err == nil) || err != nil && !errors.Is(err, ErrChanged) {
				t.Errorf("%s: %v", name, err)
			}
			f.Close()
		}
	})
}

func TestAnInodeUsedAgainIsAnotherFile(t *testing.T) {
	a := tree.Stat{Type: tree.File, Dev: 1, Inode: 2, Birth: 3}
	b := a
	b.Birth = 4
	if identical(a, b) {
		t.Error("two births, one file")
	}
	b.Birth = 0
	if !identical(a, b) {
		t.Error("a file system without births has no files")
	}
	if runtime.GOOS == "windows" || a.Birth == 0 {
		return
	}
	box := newBox(t, t.TempDir())
	old := box.write("f", "x")
	if old.Birth == 0 {
		return // this file system does not tell
	}
	box.must(os.Remove(box.path("f")))
	for range 50 { // ext4 gives the number out again at once, or soon
		box.write("f", "x")
		if box.stat("f").Inode == old.Inode {
			break
		}
		box.must(os.Rename(box.path("f"), box.path("f"+strings.Repeat("x", 1+int(box.stat("f").Inode%50)))))
	}
	box.write("f", "x")
	_, err := box.Move("f", "g", old)
	box.wantErr(err, ErrChanged)
}
