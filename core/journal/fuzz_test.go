package journal_test

import (
	"bytes"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
	"signet/spec/vectors"
)

func seeds(f *testing.F, name string) {
	cases, err := vectors.Load("journal-entry")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if b, ok := c.Files[name]; ok {
			f.Add(b)
		}
	}
}

// Whatever the service orders, a replay neither panics nor gives it effect;
// and what is read of a header says all that its bytes do: signed again from
// its fields, it is the same.
func FuzzEntryHead(f *testing.F) {
	seeds(f, "head")
	w := ringtest.New(f)
	r := w.Found("a")
	w.Draw(r, "a+b")
	j := w.Region(r, "a")
	f.Fuzz(func(t *testing.T, head []byte) {
		before, valid := j.State.Size(), j.State.Latest()
		rec := signet.Record{Head: head, Blob: make([]byte, 9)}
		if e, err := j.State.Check(head, rec.Blob, j.Now); err == nil {
			t.Fatalf("an entry of another world is valid: %v", e.Header)
		}
		if j.State.Size() != before || j.State.Latest() != valid {
			t.Fatal("a check changed the state")
		}
		h, err := journal.IDOf(head)
		if err != nil {
			return
		}
		again := journal.EncodeHeader(&h)
		if len(head) < 2+len(again) || !bytes.Equal(head[2:2+len(again)], again) {
			t.Fatal("read and written differ")
		}
	})
}

// A blob is accepted for an entry only if it is, byte for byte, the one that
// its writer made.
func FuzzEntryBlob(f *testing.F) {
	seeds(f, "blob")
	w := ringtest.New(f)
	r := w.Found("a")
	j := w.Region(r, "a")
	rec := j.Sign(j.Draft(journal.Content, "a"), "a")
	f.Add(rec.Blob)
	f.Fuzz(func(t *testing.T, blob []byte) {
		if _, err := j.State.Check(rec.Head, blob, j.Now); err == nil && !bytes.Equal(blob, rec.Blob) {
			t.Fatal("another blob is taken")
		}
		if _, err := journal.ClaimOf(j.Log[0].Head, blob); err == nil && !bytes.Equal(blob, j.Log[0].Blob) {
			t.Fatal("another founding is taken")
		}
	})
}

// The bodies of authority entries have one spelling.
func FuzzEntryBody(f *testing.F) {
	f.Add((&journal.Founding{Public: key.Encryption{1}}).Append(nil))
	f.Add((&journal.NewKey{Number: 2, BackLink: []byte("back")}).Append(nil))
	f.Add((&journal.Grievance{To: ring.Recipient{Kind: ring.ToRing, Generation: 1}}).Append(nil))
	f.Add((&journal.Right{Role: journal.Reader}).Append(nil))
	endings := []journal.Type{journal.Condemn, journal.Spare, journal.Collect}
	for _, t := range endings {
		f.Add((&journal.Ending{Days: 7, Objects: []signet.ObjectID{{1}, {2}}}).Append(nil, t))
	}
	f.Add((&journal.Limit{Days: 7, Keep: []journal.Stretch{{First: 1, End: 2}, {First: 4, End: 9}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := journal.ParseLimit(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Fatal("a horizon is read and written differently")
		}
		if x, err := journal.ParseFounding(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Fatal("a founding is read and written differently")
		}
		if x, err := journal.ParseNewKey(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Fatal("a rekey is read and written differently")
		}
		if x, err := journal.ParseGrievance(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Fatal("a complaint is read and written differently")
		}
		if x, err := journal.ParseRight(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Fatal("a grant is read and written differently")
		}
		for _, typ := range endings {
			if x, err := journal.ParseEnding(typ, b); err == nil && !bytes.Equal(x.Append(nil, typ), b) {
				t.Fatalf("a %s is read and written differently", typ)
			}
		}
	})
}

func FuzzParseLeaf(f *testing.F) {
	f.Add(journal.Leaf{Hash: signet.Hash{1}, Time: 2}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := journal.ParseLeaf(b)
		if err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Fatal("read and written differ")
		}
	})
}
