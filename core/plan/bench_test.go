package plan

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"signet/core/tree"
)

// BenchmarkIdle plans where nothing changed, 20,200 nodes.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b, "ann")
	d := w.devices[0]
	for i := range 200 {
		dir := id{1, byte(i)}
		d.disk[dir] = Local{Name: fmt.Sprint(i), Type: tree.Dir, Mode: 0o755}
		for j := range 100 {
			d.disk[id{2, byte(i), byte(j)}] = Local{Parent: dir, Name: fmt.Sprint(j), Type: tree.File,
				SHA256: sha256.Sum256(fmt.Append(nil, i, " ", j)), Mode: 0o644}
		}
	}
	for up := d.plan().Up; len(up) > 0; {
		n := min(tree.MaxOps, len(up))
		d.commit(up[:n], false)
		up = up[n:]
	}
	d.pull()
	d.note(d.plan())
	for b.Loop() {
		if p := d.plan(); !p.Empty() {
			b.Fatal(p.text())
		}
	}
}
