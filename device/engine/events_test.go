package engine_test

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"signet"
	"signet/core/region"
	"signet/core/tree"
)

// changes writes entries of some operations each, in a folder for every hundred
// operations: files made, edited, moved, deleted.
func (v *victim) changes(id signet.RegionID, entries, each int) {
	v.t.Helper()
	var dir signet.NodeID
	var last []signet.NodeID // made by the entry before
	for n := range entries {
		must(v.t, v.Put(v.t.Context(), id, func(t *tree.Tree) (ops []tree.Op, err error) {
			var made []signet.NodeID
			for i := range each {
				op := tree.Op{Kind: tree.Create, Type: tree.File, Parent: dir, Name: fmt.Sprint(n, " ", i), Mode: 0o644, Size: 1, Content: make([]byte, 150)}
				rand.Read(op.Node[:])
				rand.Read(op.Hash[:])
				var old tree.Node
				if i >= 4*each/10 && len(last) > i-4*each/10 {
					old, _ = t.Node(last[i-4*each/10])
				}
				switch {
				case n*each%100 < each && i == 0:
					dir = op.Node
					op = tree.Op{Kind: tree.Create, Node: dir, Type: tree.Dir, Parent: signet.RootNode, Name: op.Name, Mode: 0o755}
				case old.ID == signet.NodeID{}:
					made = append(made, op.Node)
				case i < 6*each/10:
					op = tree.Op{Kind: tree.Edit, Node: old.ID, Type: tree.File, BaseContent: old.Content.Revision, Size: int64(n), Hash: op.Hash, Content: op.Content}
				case i < 7*each/10:
					op = tree.Op{Kind: tree.Move, Node: old.ID, BasePlace: old.Place.Revision, Parent: dir, Name: op.Name}
				default:
					op = tree.Op{Kind: tree.Delete, Node: old.ID, BaseContent: old.Content.Revision, BasePlace: old.Place.Revision, BaseAttr: old.Attr.Revision}
				}
				ops = append(ops, op)
			}
			last = made
			return ops, nil
		}))
	}
}

func TestEventsAreToldWhileTheDeviceWorks(t *testing.T) {
	v := newVictim(t, found(t))
	id, _, err := v.MakeRegion(t.Context(), "docs")
	must(t, err)
	v.changes(id, 20, 10)
	n := 0
	must(t, v.Events(id, func(e tree.Event, op *tree.Op) error {
		if n++; n != 100 {
			return nil
		}
		if op == nil || e.Position != 10 {
			t.Errorf("the event is of entry %d, its operation %v", e.Position, op)
		}
		// Neither who reads nor who writes waits for the end.
		must(t, v.WithRegion(id, func(*region.Region) error { return nil }))
		return v.mkdir(id, "meanwhile")
	}))
	if n != 201 { // the region's name is one
		t.Errorf("%d events", n)
	}
	stop := errors.New("enough")
	if err := v.Events(id, func(tree.Event, *tree.Op) error { n++; return stop }); err != stop || n != 202 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestEventsAreThoseOfTheVerifiedRecords(t *testing.T) {
	v := newVictim(t, found(t))
	id, _, err := v.MakeRegion(t.Context(), "docs")
	must(t, err)
	v.changes(id, 5, 10)
	disk, err := sql.Open("sqlite", "file:"+v.index)
	must(t, err)
	defer disk.Close()
	change := func(q string, args ...any) {
		t.Helper()
		_, err := disk.Exec(q, args...)
		must(t, err)
	}
	log := signet.Journal(id).String()
	var head, blob []byte
	must(t, disk.QueryRow("SELECT head, blob FROM records WHERE log = ? AND pos = 3", log).Scan(&head, &blob))
	events := func() (n int, err error) {
		err = v.Events(id, func(tree.Event, *tree.Op) error { n++; return nil })
		return n, err
	}
	for what, do := range map[string]func(){
		"a head": func() {
			change("UPDATE records SET head = (SELECT head FROM records WHERE log = ?1 AND pos = 4) WHERE log = ?1 AND pos = 3", log)
		},
		"a blob": func() {
			change("UPDATE records SET blob = (SELECT blob FROM records WHERE log = ?1 AND pos = 4) WHERE log = ?1 AND pos = 3", log)
		},
	} {
		do()
		if n, err := events(); n != 21 || !errors.Is(err, signet.ErrNotVerified) {
			t.Errorf("%s of another entry: %d events, %v", what, n, err)
		}
		change("UPDATE records SET head = ?, blob = ? WHERE log = ? AND pos = 3", head, blob, log)
	}
	if n, err := events(); n != 51 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	change("DELETE FROM records WHERE log = ? AND pos >= 3", log)
	if n, err := events(); n != 21 || err == nil {
		t.Errorf("where the end is not there: %d events, %v", n, err)
	}
}

func BenchmarkEventsOf6000Changes(b *testing.B) {
	for _, each := range []int{2, 10} {
		b.Run(fmt.Sprintf("%d a entry", each), func(b *testing.B) {
			v := newVictim(b, found(b))
			id, _, err := v.MakeRegion(b.Context(), "docs")
			must(b, err)
			v.changes(id, 6000/each, each)
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				must(b, v.Events(id, func(tree.Event, *tree.Op) error { n++; return nil }))
				if n != 6001 { // its name is one
					b.Fatalf("%d events", n)
				}
			}
		})
	}
}
