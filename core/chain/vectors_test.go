package chain_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signet"
	"signet/core/chain"
	"signet/core/key"
	"signet/spec/vectors"
)

// Signatures of ML-DSA are random, so the vectors are written once and kept. A
// run with -update writes them; the next run reads what was written.
var update = flag.Bool("update", false, "write spec/vectors/chain anew")

const vectorDir = "../../spec/vectors/chain"

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	vectors.Run(t, "chain", func(c vectors.Case) string {
		pub, err := key.ParsePublic(c.Files["key"])
		if err != nil {
			return err.Error()
		}
		if b, ok := c.Files["evidence"]; ok {
			return verdict(openEvidence(b, pub))
		}
		log, err := signet.ParseLogID(c.Fields["log"])
		if err != nil {
			return err.Error()
		}
		_, err = chain.Open(c.Files["checkpoint"], log, pub)
		return verdict(err)
	})
}

func openEvidence(b []byte, pub *key.Public) error {
	e, err := chain.ParseEvidence(b)
	if err != nil {
		return err
	}
	return e.Verify(pub)
}

func verdict(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, chain.ErrMalformed):
		return "malformed"
	case errors.Is(err, chain.ErrOtherLog):
		return "other-log"
	case errors.Is(err, chain.ErrOtherKeys):
		return "other-keys"
	case errors.Is(err, key.ErrSignature):
		return "signature"
	case errors.Is(err, signet.ErrNotVerified):
		return "not-verified"
	}
	return err.Error()
}

func writeVectors(t *testing.T) {
	p, tree := signer(t, 1), grow(9, 9, "")
	tip := string(sign(t, p, tree, 5, 1_790_000_000_123, false).Bytes())
	full := string(sign(t, p, tree, 5, 1_790_000_000_123, true).Bytes())
	swap := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%q is not in the checkpoint", old)
		}
		return strings.Replace(s, old, new, 1)
	}
	flip := func(s string, fromEnd int) string {
		b := []byte(s)
		i := len(b) - fromEnd
		if b[i]++; !strings.ContainsRune("BCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxyz123456789", rune(b[i])) {
			b[i] = 'A'
		}
		return string(b)
	}
	for _, v := range []struct{ name, about, expect, note string }{
		{"ok-tip", "a tip", "ok", tip},
		{"ok-full", "a full checkpoint", "ok", full},
		{"flipped-ed25519", "a full checkpoint, one character of the Ed25519 signature changed", "signature", flip(full, len(full)-strings.Index(full, "— full ")-30)},
		{"flipped-mldsa", "a full checkpoint, one character of the ML-DSA signature changed", "signature", flip(full, 400)},
		{"flipped-tip", "a tip, one character of the signature changed", "signature", flip(tip, 30)},
		{"other-size", "a size that was not signed", "signature", swap(tip, "\n5\n", "\n6\n")},
		{"other-time", "a time that was not signed", "signature", swap(tip, "time 1790000000123", "time 1790000000124")},
		{"other-log", "a checkpoint of another log, rightly signed", "other-log", otherLogNote(t, p)},
		{"other-keys", "signed by keys that are not the log's", "other-keys", string(sign(t, signer(t, 2), tree, 5, 1_790_000_000_123, true).Bytes())},
		{"tip-named-full", "a tip's signature in a line that says full", "malformed", swap(tip, "— tip", "— full")},
		{"full-named-tip", "a full checkpoint's signatures in a line that says tip", "malformed", swap(full, "— full", "— tip")},
		{"tip-signature-under-full-label", "a full checkpoint whose Ed25519 half was signed under the label of tips", "signature", crossLabel(t, p, full)},
		{"two-signatures", "two signature lines", "malformed", tip + tip[strings.Index(tip, "— "):]},
		{"trailing-line", "a line after the signature", "malformed", tip + "more\n"},
		{"extra-text-line", "a fifth line of text", "malformed", swap(tip, "\n\n", "\nmore\n\n")},
		{"no-final-newline", "the last newline is missing", "malformed", strings.TrimSuffix(tip, "\n")},
		{"leading-zero", "a size with a leading zero", "malformed", swap(tip, "\n5\n", "\n05\n")},
		{"plus-sign", "a time with a sign", "malformed", swap(tip, "time 1", "time +1")},
		{"negative-time", "a negative time", "malformed", swap(tip, "time 1", "time -1")},
		{"size-over-limit", "a size above 2^48", "malformed", swap(tip, "\n5\n", "\n281474976710657\n")},
		{"carriage-return", "a carriage return inside base64", "malformed", flipCR(tip)},
		{"unpadded-root", "a root without padding", "malformed", swap(tip, "=\n", "\n")},
		{"empty-log-with-root", "size 0 with a root that is not that of the empty log", "malformed", swap(tip, "\n5\n", "\n0\n")},
		{"unknown-origin", "another origin", "malformed", swap(tip, "signet/checkpoint/", "signet/checkpoints/")},
	} {
		write(t, v.name, fmt.Sprintf("about: %s\nlog: %s\nexpect: %s\n%s-- checkpoint --\n%s\n", v.about, testLog, v.expect, keyFile(p), v.note))
	}
	writeEvidence(t, p)
}

func otherLogNote(t *testing.T, p *key.Private) string {
	c, err := chain.Sign(p, otherLog, 5, grow(5, 5, "").Root(), 1_790_000_000_123, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(c.Bytes())
}

// crossLabel is the full note with its Ed25519 half replaced by one made under
// the tip label.
func crossLabel(t *testing.T, p *key.Private, full string) string {
	tip := sign(t, p, grow(9, 9, ""), 5, 1_790_000_000_123, false)
	f := sign(t, p, grow(9, 9, ""), 5, 1_790_000_000_123, true)
	a := noteSig(t, string(tip.Bytes()))
	b := noteSig(t, string(f.Bytes()))
	copy(b[4:], a[4:])
	return full[:strings.Index(full, "— full ")] + "— full " + b64(b) + "\n"
}

func flipCR(tip string) string {
	i := len(tip) - 30
	return tip[:i] + "\r" + tip[i:]
}

func writeEvidence(t *testing.T, p *key.Private) {
	mine, theirs := grow(9, 9, ""), grow(9, 4, "theirs")
	const now = 1_790_000_000_123
	a, b := sign(t, p, mine, 6, now, true), sign(t, p, theirs, 6, now, true)
	c, d := sign(t, p, theirs, 9, now+1, true), sign(t, p, mine, 3, now+chain.ClockSlack+1, false)
	evidence := func(a, b *chain.Checkpoint, tree *chain.Tree) []byte {
		e, err := chain.NewFork(a, b, tree)
		if err != nil {
			t.Fatal(err)
		}
		return e.Bytes()
	}
	split, rewritten, backwards := evidence(a, b, nil), evidence(a, c, theirs), evidence(a, d, nil)
	lie := bytes.Clone(rewritten)
	lie[len(lie)-1] ^= 1
	reorder, same := bytes.Clone(split[:3]), bytes.Clone(split[:3])
	half := (len(split) - 3) / 2
	reorder = append(append(reorder, split[3+half:]...), split[3:3+half]...)
	same = append(append(same, split[3:3+half]...), split[3:3+half]...)
	foreign := evidence(sign(t, signer(t, 2), mine, 6, now, true), sign(t, signer(t, 2), theirs, 6, now, true), nil)
	format := bytes.Clone(split)
	format[1] = 9
	for _, v := range []struct {
		name, about, expect string
		b                   []byte
	}{
		{"evidence-ok-split", "one size, two roots", "ok", split},
		{"evidence-ok-rewritten", "the larger tree begins otherwise", "ok", rewritten},
		{"evidence-ok-backwards", "a smaller size, signed over a minute later", "ok", backwards},
		{"evidence-bad-proof", "a proof with one bit flipped", "not-verified", lie},
		{"evidence-reordered", "the two checkpoints in the wrong order", "not-verified", reorder},
		{"evidence-same", "one checkpoint twice", "not-verified", same},
		{"evidence-other-keys", "two checkpoints by other keys", "other-keys", foreign},
		{"evidence-unknown-format", "format 9", "not-verified", format},
		{"evidence-trailing-byte", "a byte after the end", "not-verified", append(bytes.Clone(split), 0)},
	} {
		write(t, v.name, fmt.Sprintf("about: %s\nexpect: %s\n%s-- evidence.hex --\n%s", v.about, v.expect, keyFile(p), wrap(v.b)))
	}
}

func keyFile(p *key.Private) string { return "-- key.hex --\n" + wrap(p.Public().Bytes()) }

func wrap(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(len(b), 50)
		s.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return s.String()
}

func write(t *testing.T, name, content string) {
	if err := os.MkdirAll(vectorDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(vectorDir, name+".txtar"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
