package ring_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"signet"
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
	"signet/core/wire"
	"signet/spec/vectors"
)

// Signatures of ML-DSA are random, so the vectors are written once and kept. A
// run with -update writes them; the next run reads what was written.
var update = flag.Bool("update", false, "write spec/vectors/{statement,invitation} anew")

const vectorDir = "../../spec/vectors"

func TestVectors(t *testing.T) {
	if *update {
		writeStatements(t)
		writeInvitations(t)
		return
	}
	vectors.Run(t, "statement", func(c vectors.Case) string {
		s, err := after(c)
		if err != nil {
			return "history: " + err.Error()
		}
		return verdict(apply(s, c))
	})
	vectors.Run(t, "invitation", func(c vectors.Case) string {
		s, err := after(c)
		if err != nil {
			return "history: " + err.Error()
		}
		now, err := strconv.ParseInt(c.Fields["now"], 10, 64)
		if err != nil {
			return err.Error()
		}
		i, err := ring.ParseInvitation(c.Files["invitation"])
		if err != nil {
			return verdict(err)
		}
		return verdict(s.VerifyInvitation(i, now))
	})
}

// after is the directory that the statements named in a case's field make.
func after(c vectors.Case) (*ring.State, error) {
	cases, err := vectors.Load("statement")
	if err != nil {
		return nil, err
	}
	s := ring.NewState(signet.OrgID{})
	for name := range strings.FieldsSeq(c.Fields["after"]) {
		for _, v := range cases {
			if v.Name == name {
				err = errors.Join(err, apply(s, v))
			}
		}
	}
	return s, err
}

func apply(s *ring.State, c vectors.Case) error {
	leaf, err := ring.ParseLeaf(c.Files["leaf"])
	if err != nil {
		return err
	}
	return s.Apply(leaf, c.Files["statement"], c.Files["envelopes"])
}

func verdict(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, wire.ErrMalformed):
		return "malformed"
	case errors.Is(err, key.ErrSignature):
		return "signature"
	case errors.Is(err, ring.ErrExpired):
		return "expired"
	case errors.Is(err, signet.ErrConflict):
		return "conflict"
	case errors.Is(err, signet.ErrStale):
		return "stale"
	case errors.Is(err, signet.ErrNotAllowed):
		return "not-allowed"
	case errors.Is(err, signet.ErrNotVerified):
		return "not-verified"
	}
	return err.Error()
}

// A recorder writes what a World's statements say.
type recorder struct {
	*ringtest.World
	names []string // of the statements that the World holds
}

func (r *recorder) write(name, about, expect string, leaf ring.Leaf, head, blob []byte) {
	header := "about: " + about + "\nexpect: " + expect + "\n"
	if len(r.names) > 0 {
		header += "after: " + strings.Join(r.names, " ") + "\n"
	}
	writeCase(r.T, "statement", name, header, []file{{"leaf", leaf.Append(nil)}, {"statement", head}, {"envelopes", blob}})
}

// ok puts a statement into the World, and writes it.
func (r *recorder) ok(name, about string, put error) {
	r.T.Helper()
	r.Must(put)
	last := r.Log[len(r.Log)-1]
	leaf, err := ring.ParseLeaf(last.Leaf)
	r.Must(err)
	r.write(name, about, "ok", leaf, last.Head, last.Blob)
	r.names = append(r.names, name)
}

// bad writes a statement that must be refused.
func (r *recorder) bad(name, about, expect string, st *ring.Statement, by string, blob []byte) {
	r.T.Helper()
	r.Must(st.Sign(r.Signer(by), nil))
	r.write(name, about, expect, ring.LeafOf(st, r.Now+1), st.Bytes(), blob)
}

func withGen(st *ring.Statement, n int, ids ...signet.DeviceID) (*ring.Statement, []byte) {
	blob := ringtest.Envelopes(ids...)
	st.Gen = &ring.NewGeneration{Number: signet.Generation(n), Public: key.Encryption{byte(n)}, BackLink: []byte("back"), Envelopes: ring.BlobHash(blob)}
	return st, blob
}

func writeStatements(t *testing.T) {
	w := ringtest.New(t)
	r := &recorder{World: w}
	r.ok("ok-root", "the organisation's first statement", w.Try(w.Root("a"), "a", nil, nil))
	r.bad("second-root", "a root where there is one", "conflict", w.Root("z"), "z", nil)
	id, err := w.Genesis("a", ring.Claim{Kind: ring.ClaimRoot}, nil)
	r.ok("ok-genesis-owner", "the ring of the device that made the organisation", err)
	st, blob := w.GenesisOf("z", ring.Claim{Kind: ring.ClaimRoot})
	r.bad("claimed-twice", "a second ring that claims the root", "conflict", st, "z", blob)
	writeBytes(t, r, id)

	newcomer := w.Device("b")
	st, blob = w.AddOf(id, "a", newcomer, signNewcomer(w, "b", w.State.Org(), signet.RingID{7}))
	r.bad("add-reverse-for-another-ring", "the newcomer signed for another ring", "signature", st, "a", blob)
	st, blob = w.AddOf(id, "a", newcomer, signNewcomer(w, "b", signet.OrgID{7}, id))
	r.bad("add-reverse-for-another-organisation", "the newcomer signed for another organisation", "signature", st, "a", blob)
	swapped := *newcomer
	swapped.Seal[9] ^= 1
	st, blob = w.AddOf(id, "a", &swapped, signNewcomer(w, "b", w.State.Org(), id))
	r.bad("add-swapped-key", "the newcomer's encryption key is not the one that it signed", "signature", st, "a", blob)
	st, _ = w.AddOf(id, "a", newcomer, signNewcomer(w, "b", w.State.Org(), id))
	blob = ringtest.Envelopes(w.ID("a"))
	st.Envelopes = ring.BlobHash(blob)
	r.bad("add-sealed-to-another", "the key is not sealed to the newcomer", "not-verified", st, "a", blob)
	st, blob = w.AddOf(id, "z", newcomer, signNewcomer(w, "b", w.State.Org(), id))
	r.bad("add-by-a-stranger", "signed by a device that belongs to no ring", "not-allowed", st, "z", blob)
	r.ok("ok-add", "a second device", w.Add(id, "a", "b"))
	st, blob = w.AddOf(id, "a", newcomer, signNewcomer(w, "b", w.State.Org(), id))
	r.bad("add-twice", "a device that belongs to the ring already", "conflict", st, "a", blob)

	revoke := func(by, gone string) *ring.Statement {
		st := w.Next(ring.Revoke, id, by)
		st.Gone = w.ID(gone)
		return st
	}
	st, blob = withGen(revoke("a", "b"), 2, w.IDs("a", "b")...)
	r.bad("revoke-sealed-to-the-revoked", "the next key is sealed to the device that goes", "not-allowed", st, "a", blob)
	r.bad("revoke-without-key", "a device that stays makes no next key", "not-allowed", revoke("a", "b"), "a", nil)
	st, blob = withGen(w.Next(ring.Rekey, id, "a"), 2, w.IDs("a")...)
	r.bad("rekey-leaves-one-out", "a device of the ring gets no key", "not-allowed", st, "a", blob)
	st, blob = withGen(w.Next(ring.Rekey, id, "a"), 2, w.IDs("a", "b", "ghost")...)
	r.bad("rekey-to-a-ghost", "a device that is not of the ring gets the key", "not-allowed", st, "a", blob)
	st, blob = withGen(w.Next(ring.Rekey, id, "a"), 3, w.IDs("a", "b")...)
	r.bad("rekey-skips-a-number", "generation 3 after 1", "conflict", st, "a", blob)
	st, blob = withGen(w.Next(ring.Rekey, id, "a"), 2, w.IDs("a", "b")...)
	st.Seq++
	r.bad("skipped", "a sequence number left out", "conflict", st, "a", blob)
	st, blob = withGen(w.Next(ring.Rekey, id, "a"), 2, w.IDs("a", "b")...)
	st.Prev[0] ^= 1
	r.bad("other-previous", "names another previous statement", "conflict", st, "a", blob)
	st, blob = withGen(w.Next(ring.Rekey, id, "a"), 2, w.IDs("a", "b")...)
	r.bad("other-signer", "signed by another device than it names", "signature", st, "b", blob)
	st, blob = withGen(w.Next(ring.Rekey, id, "a"), 2, w.IDs("a", "b")...)
	r.bad("other-envelopes", "the envelopes beside it are not those it names", "not-verified", st, "a", append(blob, 0))
	w.Now += 1000 // what the journal vectors hold happens meanwhile
	r.ok("ok-policy", "only the prime device adds", w.Try(policy(w, id, "a"), "a", nil, nil))
	st, blob = w.AddOf(id, "b", w.Device("c"), signNewcomer(w, "c", w.State.Org(), id))
	r.bad("add-against-policy", "another than the prime device adds", "not-allowed", st, "b", blob)
	r.ok("ok-revoke", "a device goes, the next key is made at once", w.Revoke(id, "a", "b"))
	st, blob = withGen(w.Next(ring.Rekey, id, "b"), 3, w.IDs("a")...)
	r.bad("revoked-signer", "signed by a device that was revoked", "not-allowed", st, "b", blob)

	r.ok("ok-allow-connector", "a connector may admit", w.Connect("con", "a"))
	i := w.Invitation("con", "m", w.Now+1000)
	st, blob = w.GenesisOf("m", ring.Claim{Kind: ring.ClaimInvitation, Admit: i, Public: ringtest.Key("m").Public()})
	w.Must(st.Sign(w.Signer("m"), ringtest.Key("n")))
	r.write("claim-by-another-key", "the invitation's signature is another key's", "signature", ring.LeafOf(st, w.Now+1), st.Bytes(), blob)
	w.Must(st.Sign(w.Signer("m"), ringtest.Key("m")))
	r.write("claim-too-late", "redeemed after the invitation ran out", "expired", ring.LeafOf(st, w.Now+2000), st.Bytes(), blob)
	_, err = w.Redeem("m", i, "m")
	r.ok("ok-genesis-invited", "a member's ring", err)
}

// writeBytes writes what is wrong with a statement's bytes alone.
func writeBytes(t *testing.T, r *recorder, id signet.RingID) {
	st := r.Next(ring.SignOut, id, "a")
	r.Must(st.Sign(r.Signer("a"), nil))
	leaf := ring.LeafOf(st, r.Now+1)
	good := st.Bytes()
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	body := len(good) - key.BothSize - 2
	for _, v := range []struct {
		name, about, expect string
		head                []byte
	}{
		{"flipped-ed25519", "a bit of the Ed25519 signature flipped", "signature", flip(body + 7)},
		{"flipped-mldsa", "a bit of the ML-DSA signature flipped", "signature", flip(len(good) - 60)},
		{"unknown-suite", "suite 0", "malformed", flip(3)},
		{"unknown-format", "format 0", "malformed", flip(4)},
		{"unknown-type", "type 7 with the body of type 6", "malformed", flip(5)},
		{"trailing-byte", "a byte after the end", "malformed", append(bytes.Clone(good), 0)},
		{"cut", "the last byte is missing", "malformed", good[:len(good)-1]},
		{"flipped-body", "a bit of the body flipped: the leaf names another", "not-verified", flip(body - 40)},
		{"withheld", "a statement of a known ring is withheld", "not-verified", nil},
	} {
		r.write(v.name, v.about, v.expect, leaf, v.head, nil)
	}
	leaf.Time = r.Now - 1
	r.write("time-goes-back", "the leaf's time is before that of the last", "not-verified", leaf, good, nil)
}

func writeInvitations(t *testing.T) {
	w := ringtest.New(t)
	w.Found("a")
	w.Must(w.Connect("con", "a"))
	const history = "after: ok-root ok-genesis-owner ok-add ok-policy ok-revoke ok-allow-connector\n"
	// The organisation is that of the statement vectors, whose root is written
	// already: its id depends on no signature.
	good := w.Invitation("con", "m", w.Now+1000)
	spoil := func(at int) []byte {
		b := bytes.Clone(good.Bytes())
		b[at] ^= 1
		return b
	}
	n := len(good.Bytes())
	other := *good
	other.Org[0] ^= 1
	w.Must(other.Sign(w.Signer("con")))
	for _, v := range []struct {
		name, about, expect string
		later               int64
		b                   []byte
	}{
		{"ok-connector", "signed by a connector", "ok", 0, good.Bytes()},
		{"ok-officer", "signed by a device of the owner's ring", "ok", 0, w.Invitation("a", "m", w.Now+1000).Bytes()},
		{"last-moment", "its last millisecond", "ok", 1000, good.Bytes()},
		{"expired", "a millisecond after", "expired", 1001, good.Bytes()},
		{"revoked-officer", "signed by a device of the owner's ring that was revoked", "not-allowed", 0, w.Invitation("b", "m", w.Now+1000).Bytes()},
		{"stranger", "signed by nobody who may", "not-allowed", 0, w.Invitation("z", "m", w.Now+1000).Bytes()},
		{"other-organisation", "to another organisation", "not-allowed", 0, other.Bytes()},
		{"flipped-ed25519", "a bit of the Ed25519 signature flipped", "signature", 0, spoil(n - key.BothSize + 9)},
		{"flipped-mldsa", "a bit of the ML-DSA signature flipped", "signature", 0, spoil(n - 80)},
		{"flipped-claim", "another key than was signed", "signature", 0, spoil(3 + 32 + 1)},
		{"flipped-expiry", "another expiry than was signed", "signature", 0, spoil(3 + 32 + 32 + 1 + 32 + 7)},
		{"unknown-role", "role 0", "malformed", 0, spoil(3 + 32 + 32)},
		{"unknown-type", "another type of statement", "malformed", 0, spoil(2)},
		{"trailing-byte", "a byte after the end", "malformed", 0, append(bytes.Clone(good.Bytes()), 0)},
		{"cut", "the last byte is missing", "malformed", 0, good.Bytes()[:n-1]},
	} {
		writeCase(t, "invitation", v.name, fmt.Sprintf("about: %s\n%snow: %d\nexpect: %s\n", v.about, history, w.Now+v.later, v.expect),
			[]file{{"invitation", v.b}})
	}
}

type file struct {
	name string
	b    []byte
}

func writeCase(t testing.TB, format, name, header string, files []file) {
	t.Helper()
	var s strings.Builder
	s.WriteString(header)
	for _, f := range files {
		fmt.Fprintf(&s, "-- %s.hex --\n", f.name)
		for b := f.b; len(b) > 0; b = b[min(len(b), 50):] {
			s.WriteString(hex.EncodeToString(b[:min(len(b), 50)]) + "\n")
		}
	}
	dir := filepath.Join(vectorDir, format)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".txtar"), []byte(s.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
