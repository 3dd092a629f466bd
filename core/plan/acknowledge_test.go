package plan

import (
	"testing"

	"signet/core/tree"
)

func TestAcknowledgeLeavesARestoreToTheDisk(t *testing.T) {
	old := Base{Type: tree.File, Size: 3, Hash: [32]byte{1}}
	op := tree.Op{Kind: tree.Edit, Type: tree.File, Size: 5, Hash: [32]byte{2}}
	done := tree.Outcome{Result: tree.Applied}
	if b, ok := Acknowledge(old, Local{}, op, done); !ok || b.Size != 5 {
		t.Errorf("an edit that the disk has already: %+v, %v", b, ok)
	}
	// The disk still has the old bytes: with a base of the new ones they would
	// look like an edit, which would undo the restore.
	op.Restored = true
	if b, ok := Acknowledge(old, Local{}, op, done); ok || b != old {
		t.Errorf("a restore: %+v, %v; the disk has still to follow", b, ok)
	}
}

func TestCarriedNotesOnlyWhatTheDiskShows(t *testing.T) {
	want := tree.Node{Type: tree.File, Size: 3, Hash: [32]byte{1}, Mode: 0o644, MTime: 7}
	l := Local{Name: "f", Type: tree.File, Size: 3, Hash: [32]byte{1}, Mode: 0o644, MTime: 7}
	for name, c := range map[string]struct {
		change func(l *Local)
		ok     bool
	}{
		"as wanted":      {func(*Local) {}, true},
		"other bytes":    {func(l *Local) { l.Hash[0]++ }, false},
		"other time":     {func(l *Local) { l.MTime++ }, false},
		"other mode":     {func(l *Local) { l.Mode = 0o755 }, false},
		"nothing at all": {func(l *Local) { *l = Local{} }, false},
	} {
		l := l
		c.change(&l)
		if b, ok := Carried(Base{}, l, Action{Verb: Fetch, Name: "f", Remote: want}); ok != c.ok {
			t.Errorf("%s: %+v, %v", name, b, ok)
		}
	}
}
