package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"signet"
	"signet/core/wire"
	"signet/spec/vectors"
)

var update = flag.Bool("update", false, "write the vectors of spec/vectors anew, with fresh randomness")

// outcome names what a vector expects.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrKeyCommitment):
		return "key-commitment"
	case errors.Is(err, signet.ErrNotVerified):
		return "not-verified"
	}
	return err.Error()
}

func number(c vectors.Case, field string) uint64 {
	n, err := strconv.ParseUint(c.Fields[field], 10, 64)
	if err != nil {
		panic(c.Name + ": " + field + ": " + err.Error())
	}
	return n
}

func bytes32(c vectors.Case, file string) [32]byte { return [32]byte(c.Files[file]) }

func seedOf(c vectors.Case, file string) *Seed {
	s, err := SeedFromBytes(c.Files[file])
	if err != nil {
		panic(c.Name + ": " + err.Error())
	}
	return s
}

func contextOf(c vectors.Case) Context {
	return Context{
		Org: bytes32(c, "org"), OwnerKind: OwnerKind(number(c, "owner-kind")), Owner: bytes32(c, "owner"),
		Generation:    signet.Generation(number(c, "generation")),
		RecipientKind: RecipientKind(number(c, "recipient-kind")), Recipient: bytes32(c, "recipient"),
		RecipientGeneration: signet.Generation(number(c, "recipient-generation")), Giver: bytes32(c, "giver"),
	}
}

// same is "ok" where got is what the vector says, so that a vector that opens
// to something else fails.
func same(c vectors.Case, file string, got []byte) string {
	if !bytes.Equal(got, c.Files[file]) {
		return fmt.Sprintf("%s is %x", file, got)
	}
	return "ok"
}

func runEnvelope(c vectors.Case) string {
	switch c.Fields["what"] {
	case "envelope":
		p, err := FromSeed(bytes32(c, "recipient-seed"))
		if err != nil {
			return err.Error()
		}
		kind := OwnerKind(number(c, "owner-kind"))
		commit := newSecret(bytes32(c, "committed-secret")).Commit(kind)
		seed, secret, err := OpenEnvelope(contextOf(c), p, c.Files["envelope"], seedOf(c, "committed-seed").Public(), commit)
		if err != nil {
			return outcome(err)
		}
		return same(c, "payload", append(seed.Bytes(), secret.Bytes()...))
	case "back-link":
		b := BackContext{bytes32(c, "org"), OwnerKind(number(c, "owner-kind")), bytes32(c, "owner"), signet.Generation(number(c, "generation"))}
		prev, err := OpenBack(b, seedOf(c, "seed"), c.Files["link"], seedOf(c, "committed-seed").Public())
		if err != nil {
			return outcome(err)
		}
		return same(c, "previous", prev.Bytes())
	case "operations":
		b, err := OpenOps(seedOf(c, "seed"), c.Files["context"], c.Files["blob"])
		if err != nil {
			return outcome(err)
		}
		return same(c, "plaintext", b)
	case "derive":
		var prev *Seed
		if _, ok := c.Files["previous"]; ok {
			prev = seedOf(c, "previous")
		}
		s, err := nextSeed(bytes32(c, "fresh"), prev)
		if err != nil {
			return err.Error()
		}
		if r := same(c, "seed", s.Bytes()); r != "ok" {
			return r
		}
		pub := s.Public()
		sum := sha256.Sum256(pub[:])
		return same(c, "public-sha256", sum[:])
	case "secret":
		s := newSecret(bytes32(c, "secret"))
		return same(c, "derived", derived(s, c.Fields["name"]))
	}
	return "unknown kind of vector"
}

// derived is all that a secret names, one after the other.
func derived(s *Secret, name string) []byte {
	a, b, d, e := s.Commit(OfRing), s.Commit(OfRegion), s.RegionClaim(name, 1), s.DigestKey()
	return slices.Concat(a[:], b[:], d[:], e[:])
}

func runContent(c vectors.Case) string {
	switch c.Fields["what"] {
	case "object":
		ref := Ref{Object: bytes32(c, "id"), Key: bytes32(c, "key"), Size: uint32(number(c, "size"))}
		p, err := OpenPiece(nil, ref, c.Files["object"])
		if err != nil {
			return outcome(err)
		}
		return same(c, "piece", p)
	case "fingerprint":
		s := newSecret(bytes32(c, "secret"))
		sum, id := s.Sum(c.Files["piece"]), s.PlaintextID(c.Files["piece"])
		return same(c, "fingerprint", append(binary.BigEndian.AppendUint64(nil, sum), id[:]...))
	case "file-hash":
		sum := FileHash(counted(int(number(c, "length"))))
		return same(c, "hash", sum[:])
	case "padme":
		if got := padme(int(number(c, "length"))); uint64(got) != number(c, "padded") {
			return strconv.Itoa(got)
		}
		return "ok"
	}
	return "unknown kind of vector"
}

func runManifest(c vectors.Case) string {
	var err error
	switch c.Fields["what"] {
	case "content":
		_, err = ParseContent(c.Files["bytes"])
	case "page":
		var left int64
		_, left, err = parsePage(nil, int64(number(c, "left")), c.Files["bytes"])
		if err == nil && left != 0 {
			err = errPage("%d bytes are left", left)
		}
	case "root":
		_, err = parseRoot(c.Files["bytes"])
	case "glimpse":
		_, err = ParseGlimpse(c.Files["bytes"])
	default:
		return "unknown kind of vector"
	}
	return outcome(err)
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
		return // written; the next run without -update reads them
	}
	vectors.Run(t, "envelope", runEnvelope)
	vectors.Run(t, "content", runContent)
	vectors.Run(t, "manifest", runManifest)
}

// A vectorWriter writes cases as files.
type vectorWriter struct {
	t   *testing.T
	dir string
}

func (v vectorWriter) write(name, about, expect string, fields map[string]string, files map[string][]byte) {
	v.t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "about: %s\nexpect: %s\n", about, expect)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "%s: %s\n", k, fields[k])
	}
	for _, k := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "-- %s.hex --\n", k)
		for line := range slices.Chunk(files[k], 32) {
			fmt.Fprintln(&b, hex.EncodeToString(line))
		}
	}
	dir := filepath.Join("..", "..", "spec", "vectors", v.dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".txtar"), b.Bytes(), 0o644); err != nil {
		v.t.Fatal(err)
	}
}

func writeVectors(t *testing.T) {
	writeEnvelopeVectors(t)
	writeContentVectors(t)
	writeManifestVectors(t)
}

// counted is n bytes that count from 0 to 250, over and over.
func counted(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func fill(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func writeEnvelopeVectors(t *testing.T) {
	v := vectorWriter{t, "envelope"}
	p := must(FromSeed([32]byte(fill(1))))
	seed, secret := must(SeedFromBytes(fill(2))), must(SecretFromBytes(fill(3)))
	c := Context{[32]byte(fill(4)), OfRegion, [32]byte(fill(5)), 7, ToRing, [32]byte(fill(6)), 9, [32]byte(fill(8))}
	env := must(SealEnvelope(c, p.Public(), seed, secret))
	envelope := func(name, about, expect string, change func(fields map[string]string, files map[string][]byte)) {
		fields := map[string]string{"what": "envelope", "owner-kind": "2", "generation": "7", "recipient-kind": "2", "recipient-generation": "9"}
		files := map[string][]byte{
			"recipient-seed": fill(1), "committed-seed": fill(2), "committed-secret": fill(3), "org": fill(4), "owner": fill(5),
			"recipient": fill(6), "giver": fill(8), "envelope": env, "payload": append(fill(2), fill(3)...),
		}
		change(fields, files)
		if expect != "ok" {
			delete(files, "payload")
		}
		v.write(name, about, expect, fields, files)
	}
	type M = map[string][]byte
	type F = map[string]string
	envelope("envelope", "an envelope of a region's generation 7 to a ring's generation 9", "ok", func(F, M) {})
	envelope("envelope-other-generation", "moved to another generation", "not-verified", func(f F, _ M) { f["generation"] = "8" })
	envelope("envelope-other-giver", "said to be another device's", "not-verified", func(_ F, m M) { m["giver"] = fill(9) })
	envelope("envelope-other-recipient", "opened with another key", "not-verified", func(_ F, m M) { m["recipient-seed"] = fill(9) })
	envelope("envelope-format", "of an unknown format", "not-verified", func(_ F, m M) { m["envelope"] = flip(env, 0) })
	envelope("envelope-bit", "with one bit flipped", "not-verified", func(_ F, m M) { m["envelope"] = flip(env, len(env)-1) })
	envelope("envelope-short", "with its last byte missing", "not-verified", func(_ F, m M) { m["envelope"] = env[:len(env)-1] })
	envelope("envelope-other-seed", "holding another seed than the generation's", "key-commitment", func(_ F, m M) { m["committed-seed"] = fill(9) })
	envelope("envelope-other-secret", "holding another secret than the owner's", "key-commitment", func(_ F, m M) { m["committed-secret"] = fill(9) })

	prev := must(SeedFromBytes(fill(10)))
	link := must(SealBack(BackContext{[32]byte(fill(4)), OfRing, [32]byte(fill(5)), 2}, seed, prev))
	back := func(name, about, expect, generation string, committed []byte) {
		v.write(name, about, expect, F{"what": "back-link", "owner-kind": "1", "generation": generation},
			M{"org": fill(4), "owner": fill(5), "seed": fill(2), "previous": fill(10), "committed-seed": committed, "link": link})
	}
	back("back-link", "the seed of generation 1 under that of generation 2", "ok", "2", fill(10))
	back("back-link-other-generation", "moved to another generation", "not-verified", "3", fill(10))
	back("back-link-other-seed", "holding another seed than the previous generation's", "key-commitment", "2", fill(11))

	blob := must(SealOps(seed, []byte("context"), []byte("operations, nineteen")))
	ops := func(name, about, expect string, context string, blob []byte) {
		v.write(name, about, expect, F{"what": "operations"},
			M{"seed": fill(2), "context": []byte(context), "blob": blob, "plaintext": []byte("operations, nineteen")})
	}
	ops("operations", "an operations blob of 20 bytes", "ok", "context", blob)
	ops("operations-other-context", "in another place", "not-verified", "contexu", blob)
	ops("operations-commitment", "with a bit of the commitment flipped", "not-verified", "context", flip(blob, 34))
	ops("operations-salt", "with a bit of the salt flipped", "not-verified", "context", flip(blob, 2))
	ops("operations-suite", "of an unknown suite", "not-verified", "context", flip(blob, 0))
	record := must(SealRecord(seed, []byte("context"), []byte("operations, nineteen")))
	ops("operations-record", "a record in place of operations", "not-verified", "context", record)

	for _, g := range []struct {
		name string
		prev *Seed
	}{{"seed-first", nil}, {"seed-next", prev}} {
		s := must(nextSeed([32]byte(fill(12)), g.prev))
		pub := s.Public()
		sum := sha256.Sum256(pub[:])
		m := M{"fresh": fill(12), "seed": s.Bytes(), "public-sha256": sum[:]}
		if g.prev != nil {
			m["previous"] = g.prev.Bytes()
		}
		v.write(g.name, "how a generation's seed and its key pair are derived", "ok", F{"what": "derive"}, m)
	}
	v.write("secret", "ring commitment, region commitment, claim of the second region of a name, digest key", "ok",
		F{"what": "secret", "name": "Documents"}, M{"secret": fill(3), "derived": derived(secret, "Documents")})
}

// forged seals an inner plaintext that no honest writer makes.
func forged(k, commit [32]byte, inner []byte) (Ref, []byte) {
	h := append([]byte{suite, chunkFormat}, chunkCommitment(commit)...)
	o := chunkKey(k).Seal(bytes.Clone(h), nil, inner, h)
	return Ref{Object: sha256.Sum256(o), Key: k}, o
}

func writeContentVectors(t *testing.T) {
	v := vectorWriter{t, "content"}
	k := [32]byte(fill(1))
	object := func(name, about, expect string, size int, ref Ref, o, piece []byte) {
		m := map[string][]byte{"id": ref.Object[:], "key": ref.Key[:], "object": o}
		if expect == "ok" {
			m["piece"] = piece
		}
		v.write(name, about, expect, map[string]string{"what": "object", "size": strconv.Itoa(size)}, m)
	}
	hello := []byte("a piece of 20 bytes!")
	zeros := make([]byte, 3000)
	ref, o := forged(k, k, inner(nil, hello, true))
	object("object", "a piece of 20 bytes, not compressed", "ok", 20, ref, o, hello)
	object("object-size", "longer than its reference says", "not-verified", 19, ref, o, nil)
	object("object-bit", "with one bit flipped, under its old id", "not-verified", 20, ref, flip(o, 50), nil)
	bad, badRef := flip(o, 50), ref
	badRef.Object = sha256.Sum256(bad)
	object("object-bit-own-id", "with one bit flipped, under the id of what it now is", "not-verified", 20, badRef, bad, nil)
	bad = flip(o, 1)
	badRef.Object = sha256.Sum256(bad)
	object("object-format", "of an unknown format", "not-verified", 20, badRef, bad, nil)
	ref, o = forged(k, k, inner(nil, zeros, true))
	object("object-zstd", "3,000 zero bytes, compressed", "ok", len(zeros), ref, o, zeros)
	object("object-zstd-bomb", "a frame of 3,000 bytes where the reference says 2,999", "not-verified", 2999, ref, o, nil)
	ref, o = forged(k, k, inner(nil, nil, true))
	object("object-empty", "a piece of no bytes", "ok", 0, ref, o, nil)
	ref, o = forged(k, [32]byte(fill(2)), inner(nil, hello, true))
	object("object-two-keys", "opens under its key and commits to another", "not-verified", 20, ref, o, nil)
	in := inner(nil, hello, true)
	in[len(in)-1] = 2
	ref, o = forged(k, k, in)
	object("object-flag", "with an unknown flag", "not-verified", 20, ref, o, nil)
	in = inner(nil, make([]byte, 17), false)
	in[17] = 1
	ref, o = forged(k, k, in)
	object("object-padding-set", "with padding that is not zero", "not-verified", 17, ref, o, nil)
	in = slices.Concat(make([]byte, 30), []byte{0, 0, 0, 17, 0})
	ref, o = forged(k, k, in)
	object("object-padding-long", "padded further than Padmé says", "not-verified", 17, ref, o, nil)
	in = slices.Concat(make([]byte, 18), []byte{0, 0, 0, 19, 0})
	ref, o = forged(k, k, in)
	object("object-padding-short", "with a length beyond its end", "not-verified", 19, ref, o, nil)

	for _, n := range []int{0, 1, 9, 17, 100, 1000, 131073, 1 << 20, 3 << 20} {
		v.write(fmt.Sprintf("padme-%07d", n), "a padded length", "ok",
			map[string]string{"what": "padme", "length": strconv.Itoa(n), "padded": strconv.Itoa(padme(n))}, nil)
	}
	for _, n := range []int{0, 1, 1 << 18, LongFile - 1, LongFile, LongFile + 1} {
		sum := FileHash(counted(n))
		v.write(fmt.Sprintf("file-hash-%08d", n), "the file hash of bytes that count from 0 to 250, over and over", "ok",
			map[string]string{"what": "file-hash", "length": strconv.Itoa(n)}, map[string][]byte{"hash": sum[:]})
	}
	s := newSecret([32]byte(fill(3)))
	for name, p := range map[string][]byte{"fingerprint": []byte("0123456789abcdefg"), "fingerprint-empty": nil} {
		sum, id := s.Sum(p), s.PlaintextID(p)
		v.write(name, "rolling sum and keyed id of a piece", "ok", map[string]string{"what": "fingerprint"},
			map[string][]byte{"secret": fill(3), "piece": p, "fingerprint": append(binary.BigEndian.AppendUint64(nil, sum), id[:]...)})
	}
}

func writeManifestVectors(t *testing.T) {
	v := vectorWriter{t, "manifest"}
	ref := func(b byte, size uint32) Ref {
		return Ref{Object: [32]byte(fill(b)), Key: [32]byte(fill(b + 1)), Size: size}
	}
	content := func(name, about, expect string, c Content, change func([]byte) []byte) {
		var w wire.Writer
		c.Hash, c.PlaintextID = [32]byte(fill(1)), [32]byte(fill(2))
		c.Append(&w)
		v.write(name, about, expect, map[string]string{"what": "content"}, map[string][]byte{"bytes": change(w.B)})
	}
	as := func(b []byte) []byte { return b }
	piece, page, root := ref(3, 1000), ref(5, pageHeader+2*pieceSize), ref(7, 1000)
	content("content-empty", "an empty file", "ok", Content{}, as)
	content("content-piece", "a file of one piece", "ok", Content{Size: 1000, Piece: &piece}, as)
	content("content-pages", "a file of two manifest pages", "ok", Content{Size: 1 << 20, Pages: []Ref{page, page}}, as)
	content("content-root", "a file of more manifest pages", "ok", Content{Size: 1 << 40, Root: &root}, as)
	content("content-empty-size", "no bytes, but a length", "not-verified", Content{Size: 1}, as)
	content("content-piece-long", "one piece above the limit", "not-verified", Content{Size: MaxPiece + 1, Piece: &piece}, as)
	content("content-page-length", "a manifest page of a length that none has", "not-verified", Content{Size: 1 << 20, Pages: []Ref{piece}}, as)
	content("content-nine-pages", "nine pages inline", "not-verified", Content{Size: 1 << 20, Pages: slices.Repeat([]Ref{page}, 9)}, as)
	content("content-form", "an unknown form", "not-verified", Content{}, func(b []byte) []byte { b[72] = 9; return b })
	content("content-trailing", "a byte left over", "not-verified", Content{}, func(b []byte) []byte { return append(b, 0) })
	content("content-negative", "a negative length", "not-verified", Content{Size: -1, Root: &root}, as)

	glimpse := func(name, about, expect string, g Glimpse, change func([]byte) []byte) {
		var w wire.Writer
		g.Node, g.Parent, g.Reading = signet.NodeID(fill(11)[:16]), signet.NodeID(fill(12)[:16]), [8]byte(fill(13)[:8])
		g.Append(&w)
		v.write(name, about, expect, map[string]string{"what": "glimpse"}, map[string][]byte{"bytes": change(w.B)})
	}
	const long = 64<<20 + 1 // 513 pieces, the last of one byte
	at := func(i ...uint32) (list []Placed) {
		for _, i := range i {
			list = append(list, Placed{i, ref(3, 0)})
		}
		return list
	}
	glimpse("glimpse", "two pieces, one of them the last", "ok", Glimpse{Size: long, Pieces: at(7, 512)}, as)
	glimpse("glimpse-beyond", "a piece behind the last", "not-verified", Glimpse{Size: long, Pieces: at(7, 513)}, as)
	glimpse("glimpse-twice", "a piece twice", "not-verified", Glimpse{Size: long, Pieces: at(7, 7)}, as)
	glimpse("glimpse-order", "not in order", "not-verified", Glimpse{Size: long, Pieces: at(7, 8)}, func(b []byte) []byte { b[glimpseHeader+3] = 9; return b })
	glimpse("glimpse-none", "no pieces", "not-verified", Glimpse{Size: long}, as)
	glimpse("glimpse-many", "more pieces than one may show", "not-verified", Glimpse{Size: long, Pieces: func() (list []Placed) {
		for i := range uint32(MaxGlimpse + 1) {
			list = append(list, at(i)...)
		}
		return list
	}()}, as)
	glimpse("glimpse-short-file", "a file that is not long", "not-verified", Glimpse{Size: LongFile - 1, Pieces: at(7)}, as)
	glimpse("glimpse-huge-file", "a file longer than any", "not-verified", Glimpse{Size: MaxSize + 1, Pieces: at(7)}, as)
	glimpse("glimpse-format", "an unknown format", "not-verified", Glimpse{Size: long, Pieces: at(7)}, func(b []byte) []byte { return flip(b, 0) })
	glimpse("glimpse-short", "its last byte missing", "not-verified", Glimpse{Size: long, Pieces: at(7)}, func(b []byte) []byte { return b[:len(b)-1] })
	glimpse("glimpse-trailing", "a byte left over", "not-verified", Glimpse{Size: long, Pieces: at(7)}, func(b []byte) []byte { return append(b, 0) })

	pages := func(name, about, expect string, left int, b []byte) {
		v.write(name, about, expect, map[string]string{"what": "page", "left": strconv.Itoa(left)}, map[string][]byte{"bytes": b})
	}
	two := []Piece{{ref(3, 1000), 77, [32]byte(fill(9))}, {ref(5, 24), prime - 1, [32]byte(fill(10))}}
	b := appendPage(nil, two)
	pages("page", "two pieces", "ok", 1024, b)
	pages("page-too-much", "more bytes than the file has", "not-verified", 1023, b)
	pages("page-too-little", "fewer bytes than the file has", "not-verified", 1025, b)
	pages("page-format", "an unknown format", "not-verified", 1024, flip(b, 0))
	pages("page-none", "no pieces", "not-verified", 0, appendPage(nil, nil))
	pages("page-short", "its last byte missing", "not-verified", 1024, b[:len(b)-1])
	pages("page-trailing", "a byte left over", "not-verified", 1024, append(bytes.Clone(b), 0))
	two[1].Sum = prime
	pages("page-sum", "a rolling sum out of range", "not-verified", 1024, appendPage(nil, two))
	two[1].Sum, two[1].Size = 0, 0
	pages("page-empty-piece", "a piece of no bytes", "not-verified", 1000, appendPage(nil, two))

	roots := func(name, about, expect string, b []byte) {
		v.write(name, about, expect, map[string]string{"what": "root"}, map[string][]byte{"bytes": b})
	}
	nine := slices.Repeat([]Ref{page}, 9)
	roots("root", "a list of nine pages", "ok", appendRoot(nil, nine))
	roots("root-eight", "a list of eight pages, which belong in the operation", "not-verified", appendRoot(nil, nine[:8]))
	roots("root-trailing", "a byte left over", "not-verified", append(appendRoot(nil, nine), 0))
	nine[4].Size++
	roots("root-page-length", "a page of a length that none has", "not-verified", appendRoot(nil, nine))
}
