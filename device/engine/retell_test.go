package engine_test

import (
	"crypto/rand"
	"fmt"
	"testing"

	"signet"
	"signet/core/tree"
	"signet/device/engine"
)

func TestRetellStopsWhereItIsToldTo(t *testing.T) {
	v := newVictim(t, found(t))
	id, _, err := v.MakeRegion(t.Context(), "docs")
	must(t, err)
	v.changes(id, 10, 10)
	times, err := v.LeafTimes(id)
	must(t, err)
	if uint64(len(times)) != v.entries(id) {
		t.Errorf("%d times of %d entries", len(times), v.entries(id))
	}
	var before, after int
	got, err := v.Retell(id, func(tr *tree.Tree, e tree.Entry, b *tree.Batch) {
		if before++; int(e.Position) != after { // the entry before was told
			t.Errorf("operations of entry %d before %d was told", e.Position, after)
		}
	}, func(e engine.Told) error {
		if e.Time != times[e.Position] || e.Entry != nil && e.Of.Position != e.Position {
			t.Errorf("entry %d: %+v", e.Position, e.Of)
		}
		if after++; e.Position == 5 {
			return engine.ErrEnough
		}
		return nil
	})
	if err != nil || after != 6 || before != 6 {
		t.Fatalf("%d told, %d before: %v", after, before, err)
	}
	n := 0
	must(t, v.Events(id, func(e tree.Event, _ *tree.Op) error {
		if e.Position <= 5 && e.Type == tree.File && e.Kind == "create" {
			n++
		}
		return nil
	}))
	if n == 0 || got.Len() == 0 || got.Len() > n+1 {
		t.Errorf("%d nodes after %d creations", got.Len(), n)
	}
}

func BenchmarkRetellOf100000Nodes(b *testing.B) {
	v := newVictim(b, found(b))
	id, _, err := v.MakeRegion(b.Context(), "docs")
	must(b, err)
	var in tree.Op // the folder that files go to
	add := func(each, entries int) {
		for n := range entries {
			must(b, v.Put(b.Context(), id, func(t *tree.Tree) (ops []tree.Op, err error) {
				if each > 1 || n%100 == 0 {
					in = tree.Op{Kind: tree.Create, Type: tree.Dir, Parent: signet.RootNode, Name: fmt.Sprint(each, " ", n), Mode: 0o755}
					rand.Read(in.Node[:])
					ops = append(ops, in)
				}
				for i := range each {
					op := tree.Op{Kind: tree.Create, Type: tree.File, Parent: in.Node, Name: fmt.Sprint("a file ", n, i), Mode: 0o644, Size: 1, Content: make([]byte, 150)}
					rand.Read(op.Node[:])
					rand.Read(op.Hash[:])
					ops = append(ops, op)
				}
				return ops, nil
			}))
		}
	}
	add(999, 100)
	add(1, 10_000)
	for name, do := range map[string]func(){
		"retell": func() {
			_, err := v.Retell(id, nil, func(engine.Told) error { return nil })
			must(b, err)
		},
		"contents": func() {
			must(b, v.Contents(id, tree.DefaultKeep, func(tree.Span, int64, tree.Why) error { return nil }))
		},
		"times": func() {
			_, err := v.LeafTimes(id)
			must(b, err)
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do()
			}
		})
	}
}
