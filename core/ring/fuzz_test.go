package ring_test

import (
	"bytes"
	"testing"

	"signet"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
	"signet/spec/vectors"
)

// seeds adds a file of every vector of a format.
func seeds(f *testing.F, format, name string) {
	cases, err := vectors.Load(format)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if b, ok := c.Files[name]; ok {
			f.Add(b)
		}
	}
}

// What parses is written back as the same bytes, and does not panic a replay.
func FuzzParseStatement(f *testing.F) {
	seeds(f, "statement", "statement")
	w := ringtest.New(f)
	w.Found("a")
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := ring.Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(st.Bytes(), b) || !st.Canonical() {
			t.Fatal("read and written differ")
		}
		_, _ = w.State.Check(b, nil, w.Now)
	})
}

func FuzzParseInvitation(f *testing.F) {
	seeds(f, "invitation", "invitation")
	w := ringtest.New(f)
	w.Found("a")
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := ring.ParseInvitation(b)
		if err != nil {
			return
		}
		if !bytes.Equal(i.Bytes(), b) {
			t.Fatal("read and written differ")
		}
		_ = w.State.VerifyInvitation(i, w.Now) // must not panic
		// Signed again from its fields, all but the signature is the same.
		again := &ring.Invitation{Org: i.Org, Claim: i.Claim, Role: i.Role, Label: i.Label, Expiry: i.Expiry, Issuer: i.Issuer}
		if err := again.Sign(w.Signer("a")); err != nil {
			t.Fatal(err)
		}
		if n := len(b) - key.BothSize; len(again.Bytes()) != len(b) || !bytes.Equal(again.Bytes()[:n], b[:n]) {
			t.Fatal("fields do not say what the bytes do")
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	w := ringtest.New(f)
	r := w.Found("a")
	c := &ring.Record{Org: w.State.Org(), Ring: r, Subject: r, Version: 1, Generation: 1, Sealed: []byte("sealed"), Signer: w.ID("a")}
	b, err := c.Sign(w.Signer("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ring.ParseRecord(b)
		if err != nil {
			return
		}
		_ = w.State.VerifyRecord(c)
		again := &ring.Record{Org: c.Org, Ring: c.Ring, Subject: c.Subject, Version: c.Version, Generation: c.Generation, Sealed: c.Sealed, Signer: c.Signer}
		out, err := again.Sign(w.Signer("a"))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b) - 64; len(out) != len(b) || !bytes.Equal(out[:n], b[:n]) {
			t.Fatal("fields do not say what the bytes do")
		}
	})
}

func FuzzParseEnvelopes(f *testing.F) {
	seeds(f, "statement", "envelopes")
	f.Add(ring.AppendEnvelopes(nil, []ring.Envelope{{Recipient: ring.Recipient{Kind: ring.ToRing, ID: [32]byte{1}, Generation: 2}, Sealed: []byte("s")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ring.ParseEnvelopes(b)
		if err == nil && !bytes.Equal(ring.AppendEnvelopes(nil, list), b) {
			t.Fatal("read and written differ")
		}
	})
}

func FuzzParseDevice(f *testing.F) {
	w := ringtest.New(f)
	f.Add(w.Device("a").Append(nil))
	f.Add(w.Connector("con").Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ring.ParseDevice(b)
		if err == nil && !bytes.Equal(d.Append(nil), b) {
			t.Fatal("read and written differ")
		}
	})
}

func FuzzParseLeaf(f *testing.F) {
	f.Add(ring.Leaf{Ring: signet.RingID{1}, Seq: 2, Hash: signet.Hash{3}, Time: 4}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ring.ParseLeaf(b)
		if err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Fatal("read and written differ")
		}
	})
}

func FuzzParseInvite(f *testing.F) {
	in := ring.Invite{URL: "https://h:8443", Secret: [32]byte{1}, Pin: make([]byte, 32), Label: "Anna"}
	f.Add(in.String())
	f.Fuzz(func(t *testing.T, s string) {
		i, err := ring.ParseInvite(s)
		if err != nil {
			return
		}
		again, err := ring.ParseInvite(i.String())
		if err != nil || again.String() != i.String() {
			t.Fatalf("%q reads as %q: %v", s, i.String(), err)
		}
	})
}
