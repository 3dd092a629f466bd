package plan

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"

	"signet/core/tree"
)

// volume is a device whose disk has so many folders of so many files each,
// and whose journal has the same.
func volume(b *testing.B, dirs, files int) *device {
	w := newWorld(b, "ann")
	d := w.devices[0]
	fill(d, dirs, files)
	commitAll(d, Make(d.input()).Up)
	d.note(Make(d.input()))
	return d
}

func fill(d *device, dirs, files int) {
	for i := range dirs {
		dir := id{1, byte(i), byte(i >> 8)}
		d.disk[dir] = Local{Name: fmt.Sprint(i), Type: tree.Dir, Mode: 0o755}
		for j := range files {
			d.disk[id{2, byte(i), byte(i >> 8), byte(j), byte(j >> 8), byte(j >> 16)}] = Local{Parent: dir, Name: fmt.Sprintf("%06d", j), Type: tree.File,
				Hash: sha256.Sum256(fmt.Append(nil, i, " ", j)), Mode: 0o644}
		}
	}
}

func commitAll(d *device, up []tree.Op) {
	for len(up) > 0 {
		n := min(tree.MaxOps, len(up))
		pos := uint64(len(d.w.journal) + 1)
		var items []tree.Item
		for _, op := range up[:n] {
			op.PlaintextID = op.Hash
			it, err := tree.NewItem(op)
			if err != nil {
				d.w.t.Fatalf("%v", err)
			}
			items = append(items, it)
		}
		b, err := tree.NewBatch(d.name, items)
		if err != nil {
			d.w.t.Fatalf("%v", err)
		}
		d.w.journal = append(d.w.journal, entry{e: tree.Entry{Hash: sha256.Sum256(fmt.Append(nil, pos)), Position: pos,
			Time: int64(pos) * 60000, Device: d.id}, b: b})
		up = up[n:]
	}
	d.pull()
}

func (d *device) input() Input {
	return Input{Base: table[Base](d.base), Local: table[Local](d.disk), Remote: d.tree, Device: d.id, Position: uint64(d.pos),
		Complete: func(id) bool { return true }}
}

// BenchmarkIdle plans where nothing changed, 100,100 nodes, and nothing is
// remembered.
func BenchmarkIdle(b *testing.B) {
	d := volume(b, 100, 1000)
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		if p := Make(d.input()); !p.Empty() || len(p.Agree) > 0 || p.Guard.Total != 100_000 {
			b.Fatal(p.text())
		}
	}
}

// BenchmarkOne plans for one changed file among 100,100 nodes.
func BenchmarkOne(b *testing.B) {
	for _, c := range []struct {
		name        string
		dirs, files int
	}{{"folders of 1000", 100, 1000}, {"one folder", 1, 100_000}} {
		b.Run(c.name, func(b *testing.B) {
			d := volume(b, c.dirs, c.files)
			next := Make(d.input()).Next
			n := id{2, 0, 0, 7}
			b.Run("edited here", func(b *testing.B) {
				b.ReportAllocs()
				old := d.disk[n]
				for i := 0; b.Loop(); i++ {
					l := old
					l.Hash[0]++
					d.disk[n] = l
					in := d.input()
					in.Last, in.Touched = next, map[id]bool{n: true}
					p := Make(in)
					if len(p.Up) != 1 {
						b.Fatal(p.text())
					}
				}
				d.disk[n] = old
			})
			b.Run("deleted here", func(b *testing.B) {
				b.ReportAllocs()
				old := d.disk[n]
				delete(d.disk, n)
				for b.Loop() {
					in := d.input()
					in.Last, in.Touched, in.Files = next, map[id]bool{n: true}, c.dirs*c.files
					if p := Make(in); len(p.Up) != 1 || p.Guard.Total != in.Files {
						b.Fatal(p.text())
					}
				}
				d.disk[n] = old
			})
			b.Run("made elsewhere", func(b *testing.B) {
				b.ReportAllocs()
				up := tree.Op{Kind: tree.Create, Node: id{3}, Parent: id{1}, Name: "x", Type: tree.File}
				commitAll(d, []tree.Op{up})
				for b.Loop() {
					in := d.input()
					in.Last = next
					if p := Make(in); len(p.Down) != 1 {
						b.Fatal(p.text())
					}
				}
			})
		})
	}
}

// BenchmarkFirst plans for 100,100 nodes that only the disk, or only the
// journal, has.
func BenchmarkFirst(b *testing.B) {
	b.Run("up", func(b *testing.B) {
		d := newWorld(b, "ann").devices[0]
		fill(d, 100, 1000)
		b.ReportAllocs()
		for b.Loop() {
			if p := Make(d.input()); len(p.Up) != 100_100 {
				b.Fatal(len(p.Up))
			}
		}
	})
	b.Run("down", func(b *testing.B) {
		d := volume(b, 100, 1000)
		clear(d.disk)
		clear(d.base)
		b.ReportAllocs()
		for b.Loop() {
			if p := Make(d.input()); len(p.Down) != 100_100 {
				b.Fatal(len(p.Down))
			}
		}
	})
}

// BenchmarkIgnored plans where 100,000 nodes of the journal are ignored and not
// on disk, and as many are.
func BenchmarkIgnored(b *testing.B) {
	d := volume(b, 200, 1000)
	for n, l := range d.disk {
		if n[1]%2 == 1 || l.Parent[1]%2 == 1 {
			delete(d.disk, n)
			delete(d.base, n)
		}
	}
	in := d.input()
	in.Ignored = func(r tree.Ref) bool { return r.ID()[1]%2 == 1 }
	p := Make(in)
	if !p.Empty() || len(p.Forget)+len(p.Held) > 0 {
		b.Fatal(p.text())
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			Make(in)
		}
	})
	b.Run("one edited here", func(b *testing.B) {
		n := id{2, 0, 0, 7}
		l := d.disk[n]
		l.Hash[0]++
		d.disk[n] = l
		in := in
		in.Last, in.Touched = p.Next, map[id]bool{n: true}
		for b.Loop() {
			if p := Make(in); len(p.Up) != 1 {
				b.Fatal(p.text())
			}
		}
	})
}
