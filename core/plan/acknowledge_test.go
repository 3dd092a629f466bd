package plan

import (
	"testing"

	"signet/core/tree"
)

func TestAcknowledgeLeavesARestoreToTheDisk(t *testing.T) {
	old := Base{Type: tree.File, Size: 3, SHA256: [32]byte{1}}
	op := tree.Op{Kind: tree.Edit, Type: tree.File, Size: 5, SHA256: [32]byte{2}}
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
