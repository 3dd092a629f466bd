package chain_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/spec/vectors"
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func noteSig(t testing.TB, n string) []byte {
	f := strings.Fields(n[strings.Index(n, "— "):])
	b, err := base64.StdEncoding.DecodeString(f[2])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What opens, opens as the same bytes and for the log that it names.
func FuzzOpenCheckpoint(f *testing.F) {
	p := signer(f, 1)
	cases, err := vectors.Load("chain")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if b, ok := c.Files["checkpoint"]; ok {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, log := range []signet.LogID{testLog, otherLog} {
			c, err := chain.Open(b, log, p.Public())
			if err != nil {
				continue
			}
			if !bytes.Equal(c.Bytes(), b) || !strings.HasPrefix(string(b), "signet/checkpoint/"+log.String()+"\n") {
				t.Fatalf("%q was read as %s", b, c)
			}
			again, err := chain.Open(c.Bytes(), log, p.Public())
			if err != nil || again.Hash() != c.Hash() {
				t.Fatalf("%q does not open twice: %v", b, err)
			}
		}
	})
}

// A fuzzer cannot sign, so it would never get past the signature: here the
// target signs whatever text it is given.
func FuzzSignedTextHasOneSpelling(f *testing.F) {
	p := signer(f, 1)
	f.Add("5", "0", "tip", "")
	f.Add("05", "-1", "tip", "\r")
	f.Add("281474976710656", "01", "full", "more\n")
	id := key.Sum(key.LabelLogKeys, []byte("tip"), p.Public().Bytes())
	root := grow(5, 5, "").Root()
	f.Fuzz(func(t *testing.T, size, ms, name, more string) {
		text := "signet/checkpoint/" + testLog.String() + "\n" + size + "\n" + b64(root[:]) + "\ntime " + ms + "\n"
		sig, err := p.Sign(key.LabelTip, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		raw := text + "\n— " + name + " " + b64(append(id[:4:4], sig...)) + "\n" + more
		c, err := chain.Open([]byte(raw), testLog, p.Public())
		if err != nil {
			return
		}
		again, err := chain.Sign(p, testLog, c.Size, c.Root, c.Time, c.Full)
		if err != nil || !bytes.Equal(again.Bytes(), []byte(raw)) {
			t.Fatalf("%q opens, and is signed again as %q (%v)", raw, again.Bytes(), err)
		}
	})
}

func FuzzParseEvidence(f *testing.F) {
	p := signer(f, 1)
	cases, err := vectors.Load("chain")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		if b, ok := c.Files["evidence"]; ok {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := chain.ParseEvidence(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Bytes(), b) {
			t.Fatalf("%x is written as %x", b, e.Bytes())
		}
		_ = e.Verify(p.Public()) // must not panic
	})
}
